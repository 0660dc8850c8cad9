"""What a collector dropped, told in its own log: so that decode, and every replay, sees it.

A report travels as a datagram from the address ``::``, which no datagram can come from (RFC 4291
§2.5.2): a log of the version before is read as ever, a version before counts one datagram of an
unknown version.
"""

from __future__ import annotations

import dataclasses
import struct

import numpy as np

from collectors.datagrams import Datagram, DatagramBlock

_REPORT = struct.Struct(">4sQQ")
_MAGIC = b"FRDR"
_NOWHERE = b"\0" * 16


@dataclasses.dataclass(frozen=True, slots=True)
class Drops:
    """Datagrams dropped of one socket since its last report, reported at received_at (ms).

    kernel: the socket's buffer was full; queue: the queue to the disk was.
    """

    local_port: int
    received_at: int
    kernel: int
    queue: int


def report_of(drops: Drops) -> Datagram:
    """Return the datagram that carries a report."""
    payload = _REPORT.pack(_MAGIC, drops.kernel, drops.queue)
    return Datagram(drops.received_at, _NOWHERE, 0, drops.local_port, payload)


def split_reports(block: DatagramBlock) -> tuple[DatagramBlock, list[Drops]]:
    """Return a block without the reports in it, and the reports; what is unreadable is left out."""
    halves = block.source_address.view("<u8").reshape(len(block), 2)
    is_report = (halves[:, 0] | halves[:, 1]) == 0
    if not is_report.any():
        return block, []
    found = []
    for index in np.flatnonzero(is_report).tolist():
        datagram = block.datagram(index)
        if len(datagram.payload) == _REPORT.size and datagram.payload.startswith(_MAGIC):
            _, kernel, queue = _REPORT.unpack(datagram.payload)
            found.append(Drops(datagram.local_port, datagram.received_at, kernel, queue))
    return block.take(np.flatnonzero(~is_report)), found
