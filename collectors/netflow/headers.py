"""Datagram headers as columns, for all datagrams of a block at once.

NetFlow v1: 16 octets; v5 and v7: 24; v9: 20 (RFC 3954 §5.1); IPFIX: 16 (RFC 7011 §3.1); those of
sFlow are `collectors.sflow.headers`. Header counts are not believed: nothing is allocated by them,
and v9 sets are read to the datagram's end.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from collectors.datagrams import DatagramBlock
from collectors.netflow.templates import FIXED, IPFIX, V1, V5, V7, V9, VERSIONS
from collectors.sflow.headers import SFLOW5, AgentHeaders, read_agents

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

NO_UPTIME = -1
"""Uptime of a datagram whose header has none (IPFIX)."""

_HEADER_OCTETS = 24


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """What records inherit from their datagram, int64 [n] each; one row per datagram.

    origin indexes (address, port, version, domain), session indexes what shares templates.
    received_at and export_at are ms since 1970, uptime is ms since boot mod 2^32 or NO_UPTIME,
    header_rate is v5's sampling rate (0: none). skew is what to take off the exporter's times
    because its clock is wrong, ms.
    """

    origin: Int64s
    session: Int64s
    received_at: Int64s
    export_at: Int64s
    uptime: Int64s
    header_rate: Int64s
    skew: Int64s


@dataclasses.dataclass(frozen=True, slots=True)
class Headers:
    """Columns [n] of the datagrams of a block; `start` and `end` bound sets, records or samples.

    count and record_octets are of versions without templates (else 0), count also of sFlow, whose
    version is SFLOW5 and whose domain the sub-agent; refused holds (datagram, reason) of what is
    not read at all, remarks of what is read in spite of something wrong.
    """

    version: Int64s
    domain: Int64s
    sequence: Int64s
    count: Int64s
    record_octets: Int64s
    start: Int64s
    end: Int64s
    export_at: Int64s
    uptime: Int64s
    header_rate: Int64s
    is_readable: Bools
    refused: tuple[tuple[int, str], ...]
    remarks: tuple[tuple[int, str], ...]


def read_headers(block: DatagramBlock, payload: NDArray[np.uint8]) -> Headers:
    """Return the header columns; payload is the block's buffer as octets."""
    n = len(block)
    at = np.minimum(block.offsets[:, None] + np.arange(_HEADER_OCTETS), max(len(payload) - 1, 0))
    octets = payload[at] if len(payload) else np.zeros((n, _HEADER_OCTETS), np.uint8)
    half = octets.view(">u2").astype(np.int64)
    word = octets.view(">u4").astype(np.int64)
    version = np.where(block.lengths >= 2, half[:, 0], -1)
    is_v5, is_v9, is_ipfix = version == V5, version == V9, version == IPFIX
    is_fixed = np.isin(version, FIXED)
    has_sequence = is_v5 | (version == V7)
    header_octets = np.where(has_sequence, 24, np.where(is_v9, 20, 16))
    known = np.isin(version, VERSIONS)
    sflow = read_agents(block, payload)
    strange = ~known & (block.lengths >= 2)
    strange[sflow.row] = False
    whole = known & (block.lengths >= header_octets)
    start = block.offsets + header_octets
    end = block.offsets + block.lengths
    count = np.where(is_fixed, half[:, 1], 0)
    record_octets = _record_octets(version, count, end - start)
    records_end = start + record_octets * count
    count_wrong = whole & is_fixed & ~((records_end <= end) & (count > 0))
    length_wrong = whole & is_ipfix & (half[:, 1] != block.lengths)
    end = np.where(is_fixed, records_end, end)
    seconds = np.where(is_ipfix, word[:, 1], word[:, 2])
    refused = [
        *_reasons(strange, "unknown_version"),
        *_reasons((known & ~whole) | (block.lengths < 2), "header_truncated"),
        *_reasons(count_wrong, "count_mismatch"),
    ]
    remarks = _reasons(length_wrong, "ipfix_length_mismatch")
    headers = Headers(
        version=version,
        domain=np.select([is_v5, is_fixed, is_v9], [half[:, 10], 0, word[:, 4]], word[:, 3]),
        sequence=np.select([has_sequence, is_v9], [word[:, 4], word[:, 3]], word[:, 2]),
        count=count,
        record_octets=record_octets,
        start=start,
        end=end,
        export_at=seconds * 1000 + np.where(is_fixed, word[:, 3] // 1_000_000, 0),
        uptime=np.where(is_ipfix, NO_UPTIME, word[:, 1]),
        header_rate=np.where(is_v5, half[:, 11] & 0x3FFF, 0),
        is_readable=whole & ~count_wrong,
        refused=(*refused, *sflow.refused),
        remarks=tuple(remarks),
    )
    _put_agents(headers, sflow, block)
    return headers


def _put_agents(headers: Headers, sflow: AgentHeaders, block: DatagramBlock) -> None:
    """Write the headers of sFlow datagrams to their rows; they export when they are received."""
    row = sflow.row
    headers.version[row] = SFLOW5
    headers.domain[row] = sflow.sub_agent
    headers.sequence[row] = sflow.sequence
    headers.count[row] = sflow.samples
    headers.start[row] = sflow.start
    headers.end[row] = (block.offsets + block.lengths)[row]
    headers.export_at[row] = block.received_at[row]
    headers.uptime[row] = sflow.uptime
    headers.is_readable[row] = sflow.is_readable


def _record_octets(version: Int64s, count: Int64s, octets: Int64s) -> Int64s:
    """Return how long a record is, 0 with templates; of v1 what divides the octets tells."""
    is_long = (version == V1) & (octets == 52 * count)
    short = np.where((version == V1) | (version == V5), 48, 0)
    return np.where((version == V7) | is_long, 52, short)


def _reasons(mask: Bools, reason: str) -> list[tuple[int, str]]:
    """Return (index, reason) for every true position."""
    return [(int(index), reason) for index in np.flatnonzero(mask)]
