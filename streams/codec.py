"""Frames and state values as octets: Arrow IPC for rows, MessagePack for keyed state."""

from __future__ import annotations

import functools
import io
from typing import Any

import msgspec
import polars as pl

from rating.records import completed, schema_of, spared

COMPRESSED_FROM_ROWS = 100
"""Fewer rows are not compressed: it would take longer than all else, and Kafka's batches are."""


def encode_frame(frame: pl.DataFrame, record: type) -> bytes:
    """Return a record's frame as an Arrow IPC stream (LZ4 where it is not small)."""
    buffer = io.BytesIO()
    is_small = frame.height < COMPRESSED_FROM_ROWS
    spared(frame, record).write_ipc_stream(
        buffer, compression="uncompressed" if is_small else "lz4"
    )
    return buffer.getvalue()


def decode_frame(body: bytes, record: type) -> pl.DataFrame:
    """Return the frame of an Arrow IPC stream, checked against the record's schema.

    Columns that the record got later and that the frame lacks have their default. Raises ValueError
    where the columns are not the record's: a record changed without a new topic generation.
    """
    frame = completed(pl.read_ipc_stream(io.BytesIO(body)), record)
    schema = schema_of(record)
    if frame.schema != schema:
        raise ValueError(f"frame has columns {frame.schema}, expected {schema}")
    return frame


encode_value = msgspec.msgpack.Encoder().encode


@functools.cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)


def decode_value(body: bytes, kind: Any) -> Any:
    """Return a state value as its declared type. Raises msgspec.ValidationError otherwise."""
    return _decoder(kind).decode(body)
