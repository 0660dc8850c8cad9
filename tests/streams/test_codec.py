"""Frames of a record that has got a column since: old rows read, and unused columns stay out."""

from __future__ import annotations

import dataclasses
import io

import polars as pl
import pytest

from rating.records import frame_of, schema_of
from streams.codec import decode_frame, encode_frame


@dataclasses.dataclass(frozen=True, slots=True)
class Before:
    """A record as the version before wrote it."""

    name: str
    octets: int


@dataclasses.dataclass(frozen=True, slots=True)
class Now:
    """The record with two columns that came later."""

    name: str
    octets: int
    user_name: str = ""
    is_sure: bool = True


def columns_of(body: bytes) -> list[str]:
    return pl.read_ipc_stream(io.BytesIO(body)).columns


def test_rows_of_the_version_before_have_the_defaults() -> None:
    body = encode_frame(frame_of(Before, [Before("a", 1), Before("b", 2)]), Before)
    frame = decode_frame(body, Now)
    assert frame.schema == schema_of(Now)
    assert frame.rows() == [("a", 1, "", True), ("b", 2, "", True)]


def test_columns_that_nobody_uses_are_left_out_so_the_version_before_reads_them() -> None:
    body = encode_frame(frame_of(Now, [Now("a", 1), Now("b", 2)]), Now)
    assert decode_frame(body, Before).rows() == [("a", 1), ("b", 2)]
    body = encode_frame(frame_of(Now, [Now("a", 1), Now("b", 2, "alice")]), Now)
    assert columns_of(body) == ["name", "octets", "user_name"]
    assert decode_frame(body, Now).rows() == [("a", 1, "", True), ("b", 2, "alice", True)]


def test_a_column_without_a_default_is_not_made_up() -> None:
    body = encode_frame(frame_of(Now, [Now("a", 1)]), Now).replace(b"octets", b"octetz")
    with pytest.raises(ValueError, match="octetz"):
        decode_frame(body, Now)


def test_an_unknown_column_is_refused() -> None:
    body = encode_frame(frame_of(Now, [Now("a", 1, "alice")]), Now)
    with pytest.raises(ValueError, match="user_name"):
        decode_frame(body, Before)
