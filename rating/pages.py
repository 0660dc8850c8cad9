"""The pages of stages that join minutes: what each moved, in chunks that grow by merging.

A page gets a chunk at every step that brings it rows. Beyond CHUNKS_MIN chunks, one absorbs the
newer ones as soon as together they are as large as it is, so a page has about log2(rows) chunks and
each row is rewritten about as often, not once per step.
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from rating.attribution import ATTRIBUTED, PageKind, add_up
from rating.page_bodies import decode_page, encode_page
from rating.ports import Delete, Put, StateView

CHUNKS_MIN = 8
"""Chunks of one kind that a page may have before they are merged."""
_STAYING_ROWS = 8_192
"""Chunks that waited, of so many rows and more, need not be made one when they are joined."""


class Chunk(NamedTuple):
    """One stored part of a page: its number in the page, and how many rows it has."""

    number: int
    rows: int


class Page(NamedTuple):
    """The chunks of one minute: joined ones were sent as usage, waiting ones not yet."""

    joined: tuple[Chunk, ...] = ()
    waiting: tuple[Chunk, ...] = ()
    next_number: int = 0


COLLECTIONS: dict[str, object] = {"minutes": Page, "pages": bytes}
"""minutes: minute -> Page. pages: minute and chunk number -> Arrow frame of the stage's kind."""


def _minute_key(minute: int) -> str:
    return f"{minute:010d}"


def _chunk_key(minute: int, number: int) -> str:
    return f"{minute:010d}/{number:06d}"


class Pages:
    """The pages as one step sees them: committed state plus what the step adds."""

    def __init__(self, view: StateView, kind: PageKind = ATTRIBUTED) -> None:
        """Read which minutes have pages; their chunks are read when needed."""
        self._view = view
        self._kind = kind
        self._minutes: dict[int, Page] = {int(key): page for key, page in view.scan("minutes")}
        self._touched: set[int] = set()
        self._written: dict[str, pl.DataFrame] = {}
        self._deleted: set[str] = set()

    def waiting_minutes(self) -> list[int]:
        """Return the minutes with rows not yet joined, ascending."""
        return sorted(minute for minute, page in self._minutes.items() if page.waiting)

    def joined_minutes(self) -> list[int]:
        """Return the minutes with joined rows, ascending."""
        return sorted(minute for minute, page in self._minutes.items() if page.joined)

    def is_joined(self, minute: int) -> bool:
        """Return whether a minute has been joined and is still kept."""
        return bool(self._minutes.get(minute, Page()).joined)

    def joined(self, minute: int) -> pl.DataFrame:
        """Return the joined rows of a minute, one per page key."""
        return add_up(self.joined_rows(minute), self._kind)

    def joined_rows(self, minute: int) -> pl.DataFrame:
        """Return the joined rows of a minute, of one page key maybe several."""
        page = self._minutes.get(minute, Page())
        frames = [self._read(minute, chunk.number) for chunk in page.joined]
        return pl.concat(frames) if frames else pl.DataFrame(schema=self._kind.schema)

    def waiting(self, minute: int) -> list[pl.DataFrame]:
        """Return what waits to be joined."""
        page = self._minutes.get(minute, Page())
        return [self._read(minute, chunk.number) for chunk in page.waiting]

    def drop_waiting(self, minute: int) -> None:
        """Forget what waits to be joined."""
        page = self._minutes.get(minute, Page())
        for chunk in page.waiting:
            self._drop_chunk(minute, chunk.number)
        if page.waiting:
            self._set(minute, page._replace(waiting=()))

    def join_waiting(self, minute: int) -> None:
        """Keep what waited as joined: chunks stay what they are, or are one if they are small."""
        page = self._minutes.get(minute, Page())
        count = sum(chunk.rows for chunk in page.waiting)
        if count >= len(page.waiting) * _STAYING_ROWS:
            joined = (*page.joined, *page.waiting)
            self._set(minute, page._replace(joined=joined, waiting=()))
            return
        rows = pl.concat(self.waiting(minute))
        self.drop_waiting(minute)
        self.add_joined(minute, rows)

    def add_waiting(self, minute: int, rows: pl.DataFrame) -> None:
        """Keep rows of the kind until their minute is joined."""
        page = self._minutes.get(minute, Page())
        chunks = self._grown(minute, page.waiting, page.next_number, rows)
        self._set(minute, page._replace(waiting=chunks, next_number=page.next_number + 1))

    def add_joined(self, minute: int, rows: pl.DataFrame) -> None:
        """Keep rows of the kind that were sent as usage."""
        page = self._minutes.get(minute, Page())
        chunks = self._grown(minute, page.joined, page.next_number, rows)
        self._set(minute, page._replace(joined=chunks, next_number=page.next_number + 1))

    def drop(self, minute: int) -> None:
        """Forget a minute."""
        page = self._minutes.pop(minute)
        for chunk in (*page.joined, *page.waiting):
            self._drop_chunk(minute, chunk.number)
        self._touched.add(minute)

    def changes(self) -> list[Put | Delete]:
        """Return what the step has to commit."""
        changes: list[Put | Delete] = [Delete("pages", key) for key in sorted(self._deleted)]
        for key, frame in sorted(self._written.items(), key=lambda item: item[0]):
            changes.append(Put("pages", key, encode_page(frame)))
        for minute in sorted(self._touched):
            key, page = _minute_key(minute), self._minutes.get(minute)
            changes.append(Put("minutes", key, page) if page else Delete("minutes", key))
        return changes

    def _grown(
        self, minute: int, chunks: tuple[Chunk, ...], number: int, rows: pl.DataFrame
    ) -> tuple[Chunk, ...]:
        kept, parts, count = list(chunks), [rows], rows.height
        while len(kept) >= CHUNKS_MIN and kept[-1].rows <= count:
            last = kept.pop()
            parts.append(self._read(minute, last.number))
            self._drop_chunk(minute, last.number)
            count += last.rows
        merged = add_up(pl.concat(parts), self._kind) if len(parts) > 1 else rows
        self._written[_chunk_key(minute, number)] = merged
        return (*kept, Chunk(number, merged.height))

    def _read(self, minute: int, number: int) -> pl.DataFrame:
        key = _chunk_key(minute, number)
        if key in self._written:
            return self._written[key]
        return decode_page(self._view.get("pages", key), self._kind.schema)

    def _drop_chunk(self, minute: int, number: int) -> None:
        key = _chunk_key(minute, number)
        if self._written.pop(key, None) is None:
            self._deleted.add(key)

    def _set(self, minute: int, page: Page) -> None:
        self._touched.add(minute)
        if page.joined or page.waiting:
            self._minutes[minute] = page
        else:
            self._minutes.pop(minute, None)
