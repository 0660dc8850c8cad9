"""What is relayed: the accounting packets of a raw log, or of a collector's spool, by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from collectors.adapters.segments import SegmentReader
from collectors.radius.log_codec import AccountingPacket, decode_packets
from collectors.spool_frames import decode_parts


class RelayBlock(NamedTuple):
    """A block of the log: its number, its octets there, when it was received (ms), its packets."""

    number: int
    octets: int
    received_at: int
    packets: list[AccountingPacket]


Decode = Callable[[bytes], list[AccountingPacket]]
"""Gives the packets of a data block's body; ValueError for what is none."""


def spooled_packets(row: bytes) -> list[AccountingPacket]:
    """Return the packets of a spool's data row, in order of receipt.

    An Accounting-On or -Off is in the parts of all partitions, and is one packet.
    """
    packets = dict.fromkeys(p for part in decode_parts(row) for p in decode_packets(part.body))
    return sorted(packets, key=lambda packet: packet.received_at)


class RelaySource:
    """A directory of segments whose packets are relayed; name tells it from others."""

    def __init__(self, name: str, directory: Path, decode: Decode = decode_packets) -> None:
        """Remember the directory; it may still be empty."""
        self.name = name
        self._reader = SegmentReader(directory)
        self._decode = decode

    def read(self, after: int, limit: int) -> Sequence[RelayBlock]:
        """Return at most `limit` blocks behind a number; a marker or a broken one has no packets.

        Raises OSError.
        """
        blocks = []
        for block in self._reader.read(after, limit):
            packets: list[AccountingPacket] = []
            if block.kind == "data":
                try:
                    packets = self._decode(block.body)
                except ValueError:
                    packets = []
            blocks.append(RelayBlock(block.number, len(block.body), block.received_at, packets))
        return blocks

    def last_number(self) -> int:
        """Return the number of the newest block, 0 where there is none."""
        return self._reader.last_number()

    def octets_after(self, number: int) -> int:
        """Return the octets of the data behind a block."""
        return self._reader.octets_after(number)

    def close(self) -> None:
        """Close the open segment."""
        self._reader.close()
