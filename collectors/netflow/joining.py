"""Several blocks of datagrams as one, so that a step decodes all it was given at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from collectors.datagrams import NO_CONNECTION, DatagramBlock


def join_blocks(blocks: Sequence[DatagramBlock]) -> DatagramBlock:
    """Return one block with the datagrams of all, in order; payloads are copied once."""
    if len(blocks) == 1:
        return blocks[0]
    starts = np.cumsum([0, *(len(block.payload) for block in blocks)])
    lengths = np.concatenate([np.zeros(0, np.int64), *(block.lengths for block in blocks)])
    return DatagramBlock(
        received_at=_joined(blocks, "received_at", "<i8"),
        source_address=_joined(blocks, "source_address", "V16"),
        source_port=_joined(blocks, "source_port", "<u2"),
        local_port=_joined(blocks, "local_port", "<u2"),
        offsets=np.concatenate(
            [
                np.zeros(0, np.int64),
                *(block.offsets + start for block, start in zip(blocks, starts, strict=False)),
            ]
        ),
        lengths=lengths,
        payload=memoryview(b"".join([block.payload for block in blocks])),
        connections=_connections(blocks),
    )


def _connections(blocks: Sequence[DatagramBlock]) -> NDArray[np.uint64] | None:
    """Return the connections of all blocks; None where all came over UDP."""
    if all(block.connections is None for block in blocks):
        return None
    return np.concatenate(
        [
            np.full(len(block), NO_CONNECTION, "<u8")
            if block.connections is None
            else block.connections
            for block in blocks
        ]
    )


def _joined(blocks: Sequence[DatagramBlock], name: str, dtype: str) -> np.ndarray:
    """Return one column of all blocks."""
    return np.concatenate([np.zeros(0, dtype), *(getattr(block, name) for block in blocks)])
