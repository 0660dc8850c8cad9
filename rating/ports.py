"""What a stage sees of the world: keyed state, a batch, a watermark; and what it answers.

A stage is a pure function ``step(view, batch, *, watermark_at) -> StepResult``. It reads no clock,
does no IO and never changes what the view returned (values are frozen or treated so). The runner
commits state, rows, outputs and input positions in one transaction (DESIGN §3.1).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import polars as pl


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """One entry of a raw log: a body of octets with its dense number, or a marker.

    kind is ``data`` or ``marker``; a marker's received_at says "received through T" in ms.
    """

    number: int
    kind: str
    received_at: int
    body: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """What a step is given: frames per topic in arrival order, and raw blocks for first stages.

    Either may be empty: a batch may hold only a watermark, so that due timers fire.
    """

    frames: Mapping[str, Sequence[pl.DataFrame]] = dataclasses.field(default_factory=dict)
    blocks: Sequence[Block] = ()

    def frame(self, topic: str, record_schema: pl.Schema) -> pl.DataFrame:
        """Return all rows of one topic as one frame (no rows: an empty frame of the schema)."""
        frames = [f for f in self.frames.get(topic, ()) if f.height]
        return pl.concat(frames) if frames else pl.DataFrame(schema=record_schema)


class Put(msgspec.Struct, frozen=True):
    """Upsert of one keyed value of a stage's collection."""

    collection: str
    key: str
    value: Any


class Delete(msgspec.Struct, frozen=True):
    """Removal of one key of a stage's collection; an absent key is no error."""

    collection: str
    key: str


@dataclasses.dataclass(frozen=True, slots=True)
class Output:
    """Rows for a topic. The runner splits them over partitions by the topic's key column."""

    topic: str
    frame: pl.DataFrame


@dataclasses.dataclass(frozen=True, slots=True)
class StepResult:
    """What a step wants committed: state changes, topic outputs, business rows, counters.

    rows are frozen dataclasses of `rating.rows`, upserted by their primary key in order.
    counters are increments of metrics declared in the package's `metrics.py`.
    """

    changes: Sequence[Put | Delete] = ()
    outputs: Sequence[Output] = ()
    rows: Sequence[Any] = ()
    counters: Mapping[str, int] = dataclasses.field(default_factory=dict)


class StateView(Protocol):
    """Read-only keyed state of one task (stage x partition).

    Values come back as the type that the stage declares for the collection. Reads see everything
    committed before the step began and nothing of the step itself.
    """

    def get(self, collection: str, key: str) -> Any:
        """Return the value, or None where the key is absent."""
        ...

    def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those keys that exist."""
        ...

    def scan(self, collection: str, low: str = "", high: str | None = None) -> Iterator[Any]:
        """Yield (key, value) with low <= key < high in ascending key order (high None: open)."""
        ...


class Step(Protocol):
    """A stage's pure function; see the module's docstring."""

    def __call__(self, view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        """Return what to commit for this batch; watermark_at is ms, "received through"."""
        ...


class TopicWriter(Protocol):
    """Appends to one raw log (`flow.datagrams`, `radius.accounting`).

    When append returns, the block is durable; numbers are dense and ascending over restarts. Any
    failure raises OSError and nothing of that block is visible; the caller may retry.
    """

    def append(self, kind: str, received_at: int, body: bytes) -> int:
        """Append one block and return its number."""
        ...


class TopicReader(Protocol):
    """Reads one raw log in order, from any number; sees only durable blocks."""

    def read(self, after: int, limit: int) -> Sequence[Block]:
        """Return at most `limit` blocks with number > after, ascending and without gaps."""
        ...


class MemoryState:
    """A StateView over plain dicts, for tests and for replaying ranges (`apply` commits)."""

    def __init__(self) -> None:
        """Start empty."""
        self.collections: dict[str, dict[str, Any]] = {}

    def get(self, collection: str, key: str) -> Any:
        """Return the value, or None where the key is absent."""
        return self.collections.get(collection, {}).get(key)

    def get_many(self, collection: str, keys: Iterable[str]) -> dict[str, Any]:
        """Return the values of those keys that exist."""
        held = self.collections.get(collection, {})
        return {key: held[key] for key in keys if key in held}

    def scan(self, collection: str, low: str = "", high: str | None = None) -> Iterator[Any]:
        """Yield (key, value) with low <= key < high in ascending key order."""
        held = self.collections.get(collection, {})
        keys = [key for key in held if key >= low]
        for key in sorted(keys if high is None else [key for key in keys if key < high]):
            yield key, held[key]

    def apply(self, result: StepResult) -> None:
        """Commit the changes of one step."""
        for change in result.changes:
            held = self.collections.setdefault(change.collection, {})
            if isinstance(change, Put):
                held[change.key] = change.value
            else:
                held.pop(change.key, None)
