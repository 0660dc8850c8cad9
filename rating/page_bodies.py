"""Pages and other frames as octets of the state: Arrow IPC, large ones without what says nothing.

A large frame is two Arrow streams: one row of what all its rows have in common, and the columns
that vary, whole numbers in as few octets as they need, high ones as the distance from the least,
few names as their number in a list that the row has.
Frames that older versions wrote are read as before.
"""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.ipc  # pa.ipc is there once it was imported

from rating.key_sums import few_words, is_one

_DEFAULTS: dict[str, Any] = {
    "user_name": "",
    "exporter": "",
    "octets_exported": 0,
    "octets_rate_unknown": 0,
}
"""Columns of a page that came later, and what they are in a page of before."""
_IN_TWO = b"\x02streams"
"""How a frame in two streams begins; a lone Arrow stream begins with four octets of ones."""
_IN_TWO_FROM_ROWS = 1_000
_HIGH = 1 << 31
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)


def encode_page(page: pl.DataFrame) -> bytes:
    """Return a frame as octets."""
    if page.height < _IN_TWO_FROM_ROWS:
        return _stream(page)
    common, varied = [], []
    for column in page.iter_columns():
        if column.null_count():
            varied.append(column)
        elif is_one(column):
            common.append(column.head(1))
        elif column.dtype.is_integer():
            least = int(column.to_numpy().min())
            if least >= _HIGH:
                common.append(pl.Series(column.name, [least], column.dtype))
                column = column - least
            varied.append(column.shrink_dtype())
        elif (told := _by_name(column)) is not None:
            common.append(told[0])
            varied.append(told[1])
        else:
            varied.append(column)
    if not varied:
        return _stream(page)
    head = _stream(pl.DataFrame(common))
    size = len(head).to_bytes(4, "big")
    return b"".join((_IN_TWO, size, head, _large_stream(pl.DataFrame(varied))))


def _by_name(column: pl.Series) -> tuple[pl.Series, pl.Series] | None:
    """Return the names of a column of few categories, as a row, and numbers of them: an octet."""
    found = few_words(column) if isinstance(column.dtype, pl.Categorical) else None
    if found is None:
        return None
    words, number = found
    return pl.Series(column.name, [words]), pl.Series(column.name, number)


def _stream(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer, compression="lz4")
    return buffer.getvalue()


def _large_stream(frame: pl.DataFrame) -> memoryview:
    """Return a frame as one batch written by pyarrow, in half the time that polars takes."""
    table = frame.rechunk().to_arrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_OPTIONS) as writer:
        writer.write_table(table)
    return memoryview(sink.getvalue())


def decode_page(body: bytes, schema: pl.Schema) -> pl.DataFrame:
    """Return the frame of octets, with the columns of a schema.

    A page of an older version gets the columns that came later.
    """
    common: dict[str, Any] = {}
    if body.startswith(_IN_TWO):
        begin = len(_IN_TWO) + 4
        end = begin + int.from_bytes(body[len(_IN_TWO) : begin], "big")
        common = pl.read_ipc_stream(io.BytesIO(body[begin:end])).row(0, named=True)
        body = body[end:]
    frame = pl.read_ipc_stream(io.BytesIO(body))
    return frame.select(
        _column(name, kind, name in frame.columns, common) for name, kind in schema.items()
    )


def _column(name: str, kind: pl.DataType, is_varied: bool, common: dict[str, Any]) -> pl.Expr:
    if not is_varied:
        value = common[name] if name in common else _DEFAULTS[name]
        return pl.lit(value).cast(kind).alias(name)
    if isinstance(common.get(name), list):
        names = pl.lit(pl.Series(common[name], dtype=pl.String)).cast(kind)
        return names.gather(pl.col(name)).alias(name)
    column = pl.col(name).cast(kind)
    return column + pl.lit(common[name], dtype=kind) if name in common else column
