"""Datagram headers as columns, for all datagrams of a block at once.

NetFlow v5: 24 octets; v9: 20 (RFC 3954 §5.1); IPFIX: 16 (RFC 7011 §3.1). Header counts are not
believed: nothing is allocated by them, and v9 sets are read to the end of the datagram.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from collectors.datagrams import DatagramBlock
from collectors.netflow.templates import IPFIX, V5, V9

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

NO_UPTIME = -1
"""Uptime of a datagram whose header has none (IPFIX)."""

_HEADER_OCTETS = 24
V5_RECORD_OCTETS = 48


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """What records inherit from their datagram, int64 [n] each; one row per datagram.

    origin indexes (address, port, version, domain), session indexes what shares templates.
    received_at and export_at are ms since 1970, uptime is ms since boot mod 2^32 or NO_UPTIME,
    header_rate is v5's sampling rate (0: none).
    """

    origin: Int64s
    session: Int64s
    received_at: Int64s
    export_at: Int64s
    uptime: Int64s
    header_rate: Int64s


@dataclasses.dataclass(frozen=True, slots=True)
class Headers:
    """Columns [n] of the datagrams of a block; `start` and `end` bound the sets (or v5 records).

    count is v5's record count; refused holds (datagram, reason) of what is not read at all.
    remarks holds (datagram, reason) of what is read in spite of something wrong.
    """

    version: Int64s
    domain: Int64s
    sequence: Int64s
    count: Int64s
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
    header_octets = np.where(is_v5, 24, np.where(is_v9, 20, 16))
    known = is_v5 | is_v9 | is_ipfix
    whole = known & (block.lengths >= header_octets)
    start = block.offsets + header_octets
    end = block.offsets + block.lengths
    fits = start + V5_RECORD_OCTETS * half[:, 1] <= end
    v5_bad = whole & is_v5 & ~(fits & (half[:, 1] > 0))
    length_wrong = whole & is_ipfix & (half[:, 1] != block.lengths)
    end = np.where(is_v5, start + V5_RECORD_OCTETS * half[:, 1], end)
    seconds = np.where(is_ipfix, word[:, 1], word[:, 2])
    refused = [
        *_reasons(~known & (block.lengths >= 2), "unknown_version"),
        *_reasons((known & ~whole) | (block.lengths < 2), "header_truncated"),
        *_reasons(v5_bad, "v5_count_mismatch"),
    ]
    remarks = _reasons(length_wrong, "ipfix_length_mismatch")
    return Headers(
        version=version,
        domain=np.where(is_v5, half[:, 10], np.where(is_v9, word[:, 4], word[:, 3])),
        sequence=np.where(is_v5, word[:, 4], np.where(is_v9, word[:, 3], word[:, 2])),
        count=np.where(is_v5, half[:, 1], 0),
        start=start,
        end=end,
        export_at=seconds * 1000 + np.where(is_v5, word[:, 3] // 1_000_000, 0),
        uptime=np.where(is_ipfix, NO_UPTIME, word[:, 1]),
        header_rate=np.where(is_v5, half[:, 11] & 0x3FFF, 0),
        is_readable=whole & ~v5_bad,
        refused=tuple(refused),
        remarks=tuple(remarks),
    )


def _reasons(mask: Bools, reason: str) -> list[tuple[int, str]]:
    """Return (index, reason) for every true position."""
    return [(int(index), reason) for index in np.flatnonzero(mask)]
