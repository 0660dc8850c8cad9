"""The records of flow samples: which packet was sampled, and what the router knew about it.

sFlow v5 §5, enterprise 0: sampled_header (1), sampled_ipv4 (3) and sampled_ipv6 (4) tell the
packet; extended_gateway (1003) its AS numbers, extended_nat (1007) and extended_nat_port (1020) its
translated addresses and ports. Others (switch, router, user, MPLS, …) hold nothing that is metered
and are stepped over by their length.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.sflow.octets import Items, Octets
from collectors.sflow.packets import (
    V4_MAPPED,
    Outcome,
    Packets,
    SampledHeaders,
    read_packets,
)

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]

HEADER, SAMPLED_IPV4, SAMPLED_IPV6, GATEWAY, NAT, NAT_PORTS = 1, 3, 4, 1003, 1007, 1020
"""Data formats of the records that are read, of enterprise 0."""

AS_SEGMENTS_MAX = 16
"""Most segments of an AS path that are read; of a longer one the destination's AS is not known."""
_AS_SEQUENCE = 2
"""Type of a segment whose last number is the path's origin (sFlow v5 §5, as_path_type)."""

_HEADER = np.dtype([(n, ">u4") for n in ("protocol", "frame", "stripped", "octets")])
_WORDS_V4 = ("octets", "protocol", "source", "destination", "source_port", "destination_port",
             "flags", "tos")  # fmt: skip
_SAMPLED_V4 = np.dtype([(name, ">u4") for name in _WORDS_V4])
_SAMPLED_V6 = np.dtype(
    [("octets", ">u4"), ("protocol", ">u4"), ("source_high", ">u8"), ("source_low", ">u8"),
     ("destination_high", ">u8"), ("destination_low", ">u8"), ("source_port", ">u4"),
     ("destination_port", ">u4"), ("flags", ">u4"), ("tos", ">u4")]
)  # fmt: skip
_ADDRESS_V4 = np.dtype([("type", ">u4"), ("low", ">u4")])
_ADDRESS_V6 = np.dtype([("type", ">u4"), ("high", ">u8"), ("low", ">u8")])
_TRANSLATED = np.dtype([("source", ">u4"), ("destination", ">u4")])
_GATEWAY = np.dtype([(n, ">u4") for n in ("own_as", "source_as", "peer_as", "segments")])
_SEGMENT = np.dtype([("type", ">u4"), ("count", ">u4")])


def sampled_packets(octets: Octets, records: Items, samples: int) -> Packets:
    """Return the packet of each sample, from its header, else from what the agent parsed of it."""
    packets = Packets.unread(samples)
    packets.outcome[:] = Outcome.NOT_IP
    header = records.first(HEADER, samples)
    have = np.flatnonzero(header >= 0)
    if len(have):
        _put(packets, have, _of_headers(octets, records, header[have]))
    for kind, read in ((SAMPLED_IPV4, _of_v4), (SAMPLED_IPV6, _of_v6)):
        place = records.first(kind, samples)
        have = np.flatnonzero((place >= 0) & (packets.outcome != Outcome.IP))
        if len(have):
            _put(packets, have, read(octets, records, place[have]))
    return packets


def _put(packets: Packets, where: Int64s, found: Packets) -> None:
    """Write found packets to their places."""
    for field in dataclasses.fields(Packets):
        getattr(packets, field.name)[where] = getattr(found, field.name)


def _of_headers(octets: Octets, records: Items, place: Int64s) -> Packets:
    """Return the packets of sampled_header records; a header is never longer than its record."""
    start, end = records.start[place], records.end[place]
    head = octets.read(start, _HEADER)
    begins = start + _HEADER.itemsize
    packets = read_packets(
        octets,
        SampledHeaders(
            protocol=head["protocol"].astype(np.int64),
            frame_octets=head["frame"].astype(np.int64) - head["stripped"],
            start=begins,
            end=np.minimum(end, begins + head["octets"]),
        ),
    )
    packets.outcome[begins > end] = Outcome.CUT
    return packets


def _of_v4(octets: Octets, records: Items, place: Int64s) -> Packets:
    """Return the packets of sampled_ipv4 records."""
    found = octets.read(records.start[place], _SAMPLED_V4)
    packets = _parsed(found, records, place)
    packets.source_low[:] = found["source"].astype(np.uint64) | V4_MAPPED
    packets.destination_low[:] = found["destination"].astype(np.uint64) | V4_MAPPED
    return packets


def _of_v6(octets: Octets, records: Items, place: Int64s) -> Packets:
    """Return the packets of sampled_ipv6 records."""
    found = octets.read(records.start[place], _SAMPLED_V6)
    packets = _parsed(found, records, place)
    for name in ("source_high", "source_low", "destination_high", "destination_low"):
        getattr(packets, name)[:] = found[name]
    return packets


def _parsed(found: NDArray[np.void], records: Items, place: Int64s) -> Packets:
    """Return what sampled_ipv4 and sampled_ipv6 have in common; the length is the IP packet's."""
    packets = Packets.unread(len(found))
    is_whole = records.end[place] - records.start[place] >= found.dtype.itemsize
    packets.outcome[:] = np.where(is_whole, Outcome.IP, Outcome.CUT)
    packets.octets[:] = found["octets"]
    packets.protocol[:] = found["protocol"] & 0xFF
    packets.tos[:] = found["tos"] & 0xFF
    packets.source_port[:] = found["source_port"] & 0xFFFF
    packets.destination_port[:] = found["destination_port"] & 0xFFFF
    return packets


def as_numbers(octets: Octets, records: Items, samples: int) -> tuple[Int64s, Int64s]:
    """Return the AS of each sample's source and destination, 0 where not told or the router's own.

    The destination's is the last of the AS path; a path that ends with a set (RFC 4271 §4.3) does
    not say which of its members it is.
    """
    source, destination = np.zeros(samples, np.int64), np.zeros(samples, np.int64)
    place = records.first(GATEWAY, samples)
    have = np.flatnonzero(place >= 0)
    if not len(have):
        return source, destination
    end = records.end[place[have]]
    at = _behind_address(octets, records.start[place[have]])
    head = octets.read(at, _GATEWAY)
    at = at + _GATEWAY.itemsize
    whole = at <= end
    source[have[whole]] = head["source_as"][whole]
    left = np.where(whole, head["segments"].astype(np.int64), 0)
    left[left > AS_SEGMENTS_MAX] = 0
    for _ in range(AS_SEGMENTS_MAX):
        going = np.flatnonzero((left > 0) & (at + _SEGMENT.itemsize <= end))
        if not len(going):
            break
        segment = octets.read(at[going], _SEGMENT)
        count = segment["count"].astype(np.int64)
        behind = at[going] + _SEGMENT.itemsize + 4 * count
        tells = (left[going] == 1) & (segment["type"] == _AS_SEQUENCE) & (count > 0)
        tells &= behind <= end[going]
        destination[have[going[tells]]] = octets.word(behind[tells] - 4)
        at[going] = behind
        left[going] -= 1
    return source, destination


def _behind_address(octets: Octets, at: Int64s) -> Int64s:
    """Return the place behind an address (sFlow v5 §5: type, then none, 4 or 16 octets)."""
    kind = octets.word(at)
    behind: Int64s = at + 4 + np.select([kind == 1, kind == 2], [4, 16], 0)
    return behind


def translated(octets: Octets, records: Items, samples: int) -> dict[str, NDArray[Any]]:
    """Return translated addresses and ports of each sample by Flows column, 0 where there is none.

    An address or port that was not translated is equal to that in the header (sFlow v5 §5).
    """
    columns: dict[str, NDArray[Any]] = {
        f"nat_{end}_{half}": np.zeros(samples, np.uint64)
        for end in ("source", "destination")
        for half in ("high", "low")
    }
    place = records.first(NAT, samples)
    have = np.flatnonzero(place >= 0)
    at, end = records.start[place[have]], records.end[place[have]]
    for side in ("source", "destination") if len(have) else ():
        behind = _behind_address(octets, at)
        kind = np.where(behind <= end, octets.word(at), 0)
        v4, v6 = octets.read(at, _ADDRESS_V4), octets.read(at, _ADDRESS_V6)
        is_v4, is_v6 = kind == 1, kind == 2
        columns[f"nat_{side}_low"][have[is_v4]] = v4["low"][is_v4].astype(np.uint64) | V4_MAPPED
        columns[f"nat_{side}_high"][have[is_v6]] = v6["high"][is_v6]
        columns[f"nat_{side}_low"][have[is_v6]] = v6["low"][is_v6]
        at = behind
    place = records.first(NAT_PORTS, samples)
    have = np.flatnonzero(place >= 0)
    start = records.start[place[have]]
    ports = octets.read(start, _TRANSLATED)
    is_whole = start + _TRANSLATED.itemsize <= records.end[place[have]]
    for side in ("source", "destination"):
        column = columns[f"nat_{side}_port"] = np.zeros(samples, np.uint16)
        column[have[is_whole]] = ports[side][is_whole] & 0xFFFF
    return columns
