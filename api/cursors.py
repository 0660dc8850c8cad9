"""Cursors: where a list goes on, as opaque text.

A cursor names the last row's sort key, not a row count, so rows that appear or vanish meanwhile
are neither repeated nor skipped.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Select, and_, or_

from api.problems import invalid_parameter

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """One page of a list, and the cursor of the next (None at the end)."""

    items: list[T]
    next_cursor: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Paging:
    """What a request asked for: at most `limit` rows after `cursor` (None: from the start)."""

    limit: int
    cursor: str | None = None


def encode_cursor(key: Sequence[str | int]) -> str:
    """Return a row's sort key as URL-safe text."""
    text = json.dumps(list(key), separators=(",", ":"), ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(text: str, kinds: Sequence[type]) -> list[Any]:
    """Return the sort key; raises a 422 Problem where the text is no cursor of these kinds."""
    try:
        padded = text + "=" * (-len(text) % 4)
        key = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        key = None
    fits = isinstance(key, list) and len(key) == len(kinds)
    if not fits or any(type(part) is not kind for part, kind in zip(key, kinds, strict=True)):
        raise invalid_parameter("cursor", text, "next_cursor of an earlier answer to this list")
    return list(key)


def paged(
    statement: Select[Any],
    columns: Sequence[ColumnElement[Any]],
    paging: Paging,
    kinds: Sequence[type],
    descending: bool = False,
) -> Select[Any]:
    """Return the statement ordered by `columns`, after the cursor, with one row to spare."""
    ordered = statement.order_by(*(c.desc() if descending else c.asc() for c in columns))
    if paging.cursor is not None:
        key = decode_cursor(paging.cursor, kinds)
        ordered = ordered.where(_beyond(columns, key, descending))
    return ordered.limit(paging.limit + 1)


def _beyond(
    columns: Sequence[ColumnElement[Any]], key: Sequence[Any], descending: bool
) -> ColumnElement[bool]:
    """Return (a, b) > (x, y) spelled out, since not every database has row values."""
    alternatives = []
    for index, column in enumerate(columns):
        equal = [columns[i] == key[i] for i in range(index)]
        further = column < key[index] if descending else column > key[index]
        alternatives.append(and_(*equal, further))
    return or_(*alternatives)


def slice_of(
    rows: Sequence[T], paging: Paging, key: Callable[[T], Sequence[str | int]]
) -> Slice[T]:
    """Cut the spare row off and name the next cursor by the last row kept."""
    kept = list(rows[: paging.limit])
    more = len(rows) > paging.limit
    return Slice(kept, encode_cursor(key(kept[-1])) if more and kept else None)
