"""Sampled packet headers into addresses, ports and octets: one mask per protocol, no packet alone.

What counts is the outermost IP packet: it is what the router forwarded, and what its NetFlow would
report. Down to it lead Ethernet (also with LLC/SNAP), any VLAN tags, MPLS labels and PPPoE; a
tunnel inside it (GRE, VXLAN, IP in IP) is not entered, nor is a pseudowire (RFC 4385).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.sflow.octets import Octets

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]
Bools = NDArray[np.bool_]

V4_MAPPED = np.uint64(0xFFFF_0000_0000)
"""Low 64 bits of ``::ffff:0.0.0.0`` (RFC 4291 §2.5.5.2)."""

LAYERS_MAX = 16
"""Most tags, labels and sessions in front of an IP header, and most IPv6 extension headers."""

ETHERNET, IPV4, IPV6, MPLS = 1, 11, 12, 13
"""Header protocols (sFlow v5 §5, header_protocol) that are read."""

_IPV4, _IPV6, _PPPOE = 0x0800, 0x86DD, 0x8864
_MPLS = (0x8847, 0x8848)
_VLANS = (0x8100, 0x88A8, 0x9100, 0x9200)
_LENGTH_MAX = 1_500
"""A greater number where Ethernet has its type is a type, else a length (IEEE 802.3 §3.2.6)."""
_NOT_IP, _CUT, _TOO_DEEP = -1, -2, -3

_FIRST = {IPV4: _IPV4, IPV6: _IPV6, MPLS: _MPLS[0]}
_PPP_TYPES = {0x0021: _IPV4, 0x0057: _IPV6, 0x0281: _MPLS[0], 0x0283: _MPLS[1]}
"""PPP protocol -> EtherType of the same (RFC 1332 §2, RFC 5072 §2, RFC 3032 §4.3)."""
_SNAP = 0xAAAA0300_0000
"""LLC with SNAP and the organisation of EtherTypes (RFC 1042)."""

_HEADER_V4 = np.dtype(
    [("version", "u1"), ("tos", "u1"), ("total", ">u2"), ("id", ">u2"), ("fragment", ">u2"),
     ("ttl", "u1"), ("protocol", "u1"), ("checksum", ">u2"), ("source", ">u4"),
     ("destination", ">u4")]
)  # fmt: skip
_HEADER_V6 = np.dtype(
    [("word", ">u4"), ("payload", ">u2"), ("next", "u1"), ("hops", "u1"), ("source_high", ">u8"),
     ("source_low", ">u8"), ("destination_high", ">u8"), ("destination_low", ">u8")]
)  # fmt: skip
_PORTS = np.dtype([("source", ">u2"), ("destination", ">u2")])

_WITH_PORTS = (6, 17, 33, 132, 136)
"""TCP, UDP, DCCP, SCTP and UDP-Lite begin with their ports."""
_FRAGMENT, _AUTHENTICATION, _NO_NEXT = 44, 51, 59
_OPTIONS = (0, 43, 60, 135, 139, 140)
"""Extension headers whose second octet is a length in 8 octets (RFC 8200 §4, RFC 7045 §3)."""


class Outcome:
    """What became of a sampled header; all but IP are counted under these names."""

    IP, NOT_IP, CUT, TOO_DEEP, MALFORMED, UNKNOWN = range(6)


REASONS = {
    Outcome.CUT: "sflow_header_truncated",
    Outcome.TOO_DEEP: "sflow_header_layers",
    Outcome.MALFORMED: "sflow_header_malformed",
    Outcome.UNKNOWN: "sflow_header_protocol",
}
"""Outcome -> reason of refusal; NOT_IP is none, such frames are no subscriber's."""


@dataclasses.dataclass(frozen=True, slots=True)
class SampledHeaders:
    """Sampled headers as columns, int64 [n]: where each lies in the payload, and of what frame.

    protocol is the header_protocol; frame_octets the frame's length on the wire without what the
    agent stripped before (FCS, or tags in front): start + frame_octets is where the frame ends.
    """

    protocol: Int64s
    frame_octets: Int64s
    start: Int64s
    end: Int64s


@dataclasses.dataclass(slots=True)
class Packets:
    """IP packets as columns [n]; outcome says which rows hold one.

    octets is the length of the IP packet; protocol, behind IPv6 extension headers, the last one's
    next header (element 4 of IPFIX says the same). Ports are 0 where the packet has none, is not
    the first fragment, or was sampled too short.
    """

    outcome: Int64s
    octets: Int64s
    protocol: Int64s
    tos: Int64s
    source_port: Int64s
    destination_port: Int64s
    source_high: UInt64s
    source_low: UInt64s
    destination_high: UInt64s
    destination_low: UInt64s

    @classmethod
    def unread(cls, count: int) -> Packets:
        """Return columns of packets of which nothing is known yet."""
        columns: dict[str, NDArray[Any]] = {
            field.name: np.zeros(count, np.uint64 if field.type == "UInt64s" else np.int64)
            for field in dataclasses.fields(cls)
        }
        columns["outcome"][:] = Outcome.UNKNOWN
        return cls(**columns)


def read_packets(octets: Octets, headers: SampledHeaders) -> Packets:
    """Return the outermost IP packet of each sampled header."""
    packets = Packets.unread(len(headers.start))
    kind, at = _find_ip(octets, headers)
    packets.outcome[kind == _NOT_IP] = Outcome.NOT_IP
    packets.outcome[kind == _CUT] = Outcome.CUT
    packets.outcome[kind == _TOO_DEEP] = Outcome.TOO_DEEP
    for ether_type, read in ((_IPV4, _read_v4), (_IPV6, _read_v6)):
        mine = np.flatnonzero(kind == ether_type)
        if len(mine):
            left = headers.start[mine] + headers.frame_octets[mine] - at[mine]
            read(octets, packets, mine, (at[mine], headers.end[mine], left))
    return packets


def _find_ip(octets: Octets, headers: SampledHeaders) -> tuple[Int64s, Int64s]:
    """Return what lies below the lower layers (an EtherType, or a negative answer), and where."""
    kind = np.full(len(headers.start), _NOT_IP, np.int64)
    at = headers.start.copy()
    ethernet = np.flatnonzero(headers.protocol == ETHERNET)
    kind[ethernet] = octets.half(at[ethernet] + 12)
    at[ethernet] += 14
    for protocol, ether_type in _FIRST.items():
        kind[headers.protocol == protocol] = ether_type
    kind[(headers.protocol == ETHERNET) & (at > headers.end)] = _CUT
    unread = ~np.isin(headers.protocol, (ETHERNET, *_FIRST))
    for _ in range(LAYERS_MAX):
        going = np.flatnonzero(_is_layer(kind))
        if not len(going):
            break
        _step(octets, kind, at, going)
        past = going[(at[going] > headers.end[going]) & (kind[going] != _NOT_IP)]
        kind[past] = _CUT
    kind[_is_layer(kind)] = _TOO_DEEP
    known = (kind == _IPV4) | (kind == _IPV6) | (kind < 0)
    kind[~known] = _NOT_IP
    kind[unread] = 0
    return kind, at


def _is_layer(kind: Int64s) -> Bools:
    """Return which kinds are a layer to step over."""
    is_length = (kind >= 0) & (kind <= _LENGTH_MAX)
    is_label = (kind == _MPLS[0]) | (kind == _MPLS[1])
    layer: Bools = is_length | is_label | (kind == _PPPOE) | np.isin(kind, _VLANS)
    return layer


def _step(octets: Octets, kind: Int64s, at: Int64s, going: Int64s) -> None:
    """Step over one layer of those that are going."""
    now, here = kind[going], at[going]
    vlan = np.isin(now, _VLANS)
    mine = going[vlan]
    kind[mine] = octets.half(here[vlan] + 2)
    at[mine] += 4
    label = np.isin(now, _MPLS)
    mine = going[label]
    at[mine] += 4
    bottom = octets.octet(here[label] + 2) & 1 == 1
    # Nothing says what is below the labels but its first half octet (RFC 4928 §3, RFC 4385 §3).
    version = octets.octet(here[label] + 4) >> 4
    below = np.select([version == 4, version == 6], [_IPV4, _IPV6], _NOT_IP)
    kind[mine] = np.where(bottom, below, now[label])
    session = now == _PPPOE
    mine = going[session]
    protocol = octets.half(here[session] + 6)
    kind[mine] = _NOT_IP
    for ppp, ether_type in _PPP_TYPES.items():
        kind[mine[protocol == ppp]] = ether_type
    at[mine] += 8
    length = now <= _LENGTH_MAX
    mine = going[length]
    snap = octets.word(here[length]) << 16 | octets.half(here[length] + 4)
    kind[mine] = np.where(snap == _SNAP, octets.half(here[length] + 6), _NOT_IP)
    at[mine] += 8


def _read_v4(
    octets: Octets, packets: Packets, mine: Int64s, places: tuple[Int64s, Int64s, Int64s]
) -> None:
    """Read the IPv4 headers (RFC 791 §3.1) of some packets.

    places is where each begins, where its sampled octets end, and how many octets the frame has
    from there: the length of a packet whose own length is 0, as offload leaves it in long segments.
    """
    at, end, left = places
    header = octets.read(at, _HEADER_V4)
    header_octets = (header["version"].astype(np.int64) & 15) * 4
    total = header["total"].astype(np.int64)
    total = np.where(total == 0, np.maximum(left, header_octets), total)
    sound = (header["version"] >> 4 == 4) & (header_octets >= 20) & (total >= header_octets)
    cut = at + _HEADER_V4.itemsize > end
    packets.outcome[mine] = np.select([cut, sound], [Outcome.CUT, Outcome.IP], Outcome.MALFORMED)
    packets.octets[mine] = total
    packets.protocol[mine] = header["protocol"]
    packets.tos[mine] = header["tos"]
    packets.source_low[mine] = header["source"].astype(np.uint64) | V4_MAPPED
    packets.destination_low[mine] = header["destination"].astype(np.uint64) | V4_MAPPED
    is_first = header["fragment"] & 0x1FFF == 0
    _read_ports(octets, packets, mine[is_first], (at + header_octets)[is_first], end[is_first])


def _read_v6(
    octets: Octets, packets: Packets, mine: Int64s, places: tuple[Int64s, Int64s, Int64s]
) -> None:
    """Read the IPv6 headers (RFC 8200 §3) of some packets; places as for `_read_v4`.

    A payload length of 0 is a jumbogram's (RFC 2675 §3) or an offloaded segment's.
    """
    at, end, left = places
    header = octets.read(at, _HEADER_V6)
    payload = header["payload"].astype(np.int64)
    is_long = (payload == 0) & (header["next"] != _NO_NEXT)
    total = np.where(is_long, np.maximum(left, 40), 40 + payload)
    sound = header["word"] >> 28 == 6
    cut = at + _HEADER_V6.itemsize > end
    packets.outcome[mine] = np.select([cut, sound], [Outcome.CUT, Outcome.IP], Outcome.MALFORMED)
    packets.octets[mine] = total
    packets.tos[mine] = header["word"] >> 20 & 0xFF
    for side in ("source", "destination"):
        getattr(packets, f"{side}_high")[mine] = header[f"{side}_high"]
        getattr(packets, f"{side}_low")[mine] = header[f"{side}_low"]
    protocol, below, is_first = _step_over_extensions(
        octets, header["next"].astype(np.int64), at + _HEADER_V6.itemsize, end
    )
    packets.protocol[mine] = protocol
    _read_ports(octets, packets, mine[is_first], below[is_first], end[is_first])


def _step_over_extensions(
    octets: Octets, protocol: Int64s, at: Int64s, end: Int64s
) -> tuple[Int64s, Int64s, Bools]:
    """Return the upper protocols, where they begin, and which are not of a later fragment.

    The walk ends where the sampled octets do, at a header that is encrypted, or after LAYERS_MAX.
    """
    protocol, at = protocol.copy(), at.copy()
    is_first = np.ones(len(at), np.bool_)
    for _ in range(LAYERS_MAX):
        is_extension = np.isin(protocol, (*_OPTIONS, _FRAGMENT, _AUTHENTICATION))
        going = np.flatnonzero(is_extension & is_first & (at + 8 <= end))
        if not len(going):
            break
        now, here = protocol[going], at[going]
        length = octets.octet(here + 1)
        is_fragment = now == _FRAGMENT
        is_first[going] = ~is_fragment | (octets.half(here + 2) & 0xFFF8 == 0)
        protocol[going] = octets.octet(here)
        at[going] += np.select(
            [is_fragment, now == _AUTHENTICATION], [8, (length + 2) * 4], (length + 1) * 8
        )
    return protocol, at, is_first


def _read_ports(octets: Octets, packets: Packets, mine: Int64s, at: Int64s, end: Int64s) -> None:
    """Read the ports of packets whose upper header begins at these places."""
    have = np.isin(packets.protocol[mine], _WITH_PORTS) & (at + _PORTS.itemsize <= end)
    ports = octets.read(at[have], _PORTS)
    packets.source_port[mine[have]] = ports["source"]
    packets.destination_port[mine[have]] = ports["destination"]
