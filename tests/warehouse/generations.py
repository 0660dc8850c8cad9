"""Generations of tables of a test's own, in the process's one store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.warehouse.records_made import MemoryTopic, random_frame
from warehouse.checking import Checker, CheckRules, Report
from warehouse.config import SinkConfig
from warehouse.intent_tables import SqliteIntentStore
from warehouse.intents import IntentStore
from warehouse.metrics import Counters
from warehouse.migrations import drop, point
from warehouse.sink import Sink
from warehouse.store import Store, open_writer


@contextmanager
def own_generations(store: Store, *generations: int) -> Iterator[Any]:
    """Give a writing client; afterwards the generations are gone and the first one is in force."""
    writer = open_writer(store.engine, store.config)
    try:
        yield writer
    finally:
        point(writer, 1)
        for generation in generations:
            drop(writer, generation)
        writer.close()


def topic_of(records: int, rows: int = 120) -> MemoryTopic:
    """Return a topic of seeded records numbered from 1."""
    return MemoryTopic([(n, random_frame(n, rows)) for n in range(1, records + 1)])


def sink_all(writer: Any, intents: IntentStore, topic: MemoryTopic, generation: int) -> None:
    """Sink the whole topic into a generation, a few records a batch."""
    sink = Sink(SinkConfig(batch_rows=500), generation, topic, writer, intents, Counters())
    sink.recover()
    last = topic.records[-1][0]
    while intents.position(sink.source) < last:
        sink.step()


def check(
    writer: Any, intents: IntentStore, generation: int, *, is_repairing: bool = False
) -> Report:
    """Compare every rollup of a generation with its base."""
    checker = Checker(writer, intents, generation, Counters(), CheckRules(hold_seconds=10.0))
    return checker.run(is_repairing=is_repairing)


def open_file(directory: Path) -> SqliteIntentStore:
    """Open a test's own `store.sqlite`."""
    return SqliteIntentStore(directory / "store.sqlite")
