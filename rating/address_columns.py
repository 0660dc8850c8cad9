"""Addresses as columns: two uint64, high and low, and the 16 octets that records carry."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

UInt64s = NDArray[np.uint64]


def packed(high: UInt64s, low: UInt64s) -> pl.Series:
    """Return addresses as binary of 16 octets, from their halves, most significant first."""
    octets = np.stack([high, low], axis=1).astype(">u8")
    addresses = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(high), [None, pa.py_buffer(octets.tobytes())]
    )
    return pl.Series(pa.chunked_array([addresses.cast(pa.large_binary())]), dtype=pl.Binary)


def halves(address: pl.Series) -> tuple[UInt64s, UInt64s]:
    """Return the high and low 64 bits of addresses of 16 octets."""
    column = address.to_arrow().cast(pa.large_binary())
    _, offsets, octets = column.buffers()
    if not len(column):
        return np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    begin, end = np.frombuffer(offsets, np.int64)[[column.offset, column.offset + len(column)]]
    assert end - begin == 16 * len(column), "an address has 16 octets"
    words = np.frombuffer(octets, ">u8", 2 * len(column), begin).reshape(-1, 2)
    return words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)
