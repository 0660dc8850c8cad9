"""A new generation of tables beside the running one: copied, replayed, compared, switched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.generations import check, open_file, own_generations, sink_all, topic_of
from tests.warehouse.records_made import MemoryTopic
from warehouse.config import RetentionConfig, SinkConfig, WarehouseConfig
from warehouse.intents import CURRENT, FILLING, FORMER, Intent, IntentStore, Source
from warehouse.metrics import Counters
from warehouse.migrations import migrate
from warehouse.rebuilding import DifferenceError, Rebuild, drop_generation
from warehouse.store import Store

OLD, NEW = 51, 52
CONFIG = WarehouseConfig(
    generation=OLD,
    sink=SinkConfig(batch_rows=500),
    retention=RetentionConfig(subscriber_minute_days=0),
)


class MemoryLog:
    """A log of which only the records behind `trimmed` are kept; instants are positions."""

    def __init__(self, topic: MemoryTopic, trimmed: int = 0) -> None:
        self.topic = MemoryTopic([r for r in topic.records if r[0] > trimmed])

    def sources(self, generation: int) -> Sequence[Source]:
        """Return the one partition."""
        return [Source(generation, "usage.rated", 0)]

    def begin(self, source: Source, since_ms: int) -> tuple[int, int] | None:
        """Return where the record at or behind a position is."""
        found = [p for p, _ in self.topic.records if p >= since_ms]
        return (found[0] - 1, 0) if found else None

    def reader(self, source: Source, position: int, cursor: int) -> MemoryTopic:
        """Return the topic."""
        return self.topic


def filled(writer: Any, intents: IntentStore, topic: MemoryTopic) -> None:
    intents.set_generation(OLD, CURRENT)
    migrate(writer, OLD, 1)
    sink_all(writer, intents, topic, OLD)


def rebuild_of(writer: Any, intents: IntentStore, log: MemoryLog) -> Rebuild:
    return Rebuild(writer, intents, log, CONFIG, Counters(), lambda said: None)


def rows_of(writer: Any, table: str) -> int:
    return int(str(writer.command(f"SELECT count() FROM {table}")))


@pytest.mark.parametrize("trimmed", [0, 4], ids=["whole log", "log trimmed behind the day"])
def test_the_new_generation_has_the_same_sums_and_takes_the_plain_names(
    store: Store, tmp_path: Path, trimmed: int
) -> None:
    topic = topic_of(8)
    intents = open_file(tmp_path)
    with own_generations(store, OLD, NEW) as writer:
        filled(writer, intents, topic)
        compared = rebuild_of(writer, intents, MemoryLog(topic, trimmed)).run(3, 1)
        assert compared.differences == []
        assert compared.rows == sum(frame.height for _, frame in topic.records)
        assert check(writer, intents, NEW).findings == ()
        assert intents.generations() == {OLD: FORMER, NEW: CURRENT}
        sink_all(writer, intents, topic_of(10), NEW)
        assert rows_of(writer, "usage_rated") == 10 * 120
        assert rows_of(writer, f"usage_rated_{OLD}") == 8 * 120
        with pytest.raises(ValueError, match="in force"):
            drop_generation(writer, intents, NEW, 1)
        drop_generation(writer, intents, OLD, 1)
        assert intents.generations() == {NEW: CURRENT}
        assert int(str(writer.command(f"EXISTS usage_rated_{OLD}"))) == 0
    intents.close()


class DiesAt:
    """A client whose process dies at the nth statement that writes."""

    def __init__(self, writer: Any, number: int) -> None:
        self._writer = writer
        self._left = number

    def command(self, cmd: str) -> Any:
        """Die instead of the statement, or run it."""
        if cmd.startswith(("INSERT", "ALTER", "TRUNCATE", "CREATE")):
            self._count()
        return self._writer.command(cmd)

    def insert_arrow(self, *arguments: Any, **settings: Any) -> Any:
        """Insert, then die."""
        self._writer.insert_arrow(*arguments, **settings)
        self._count()

    def query(self, query: str) -> Any:
        """Run it."""
        return self._writer.query(query)

    def _count(self) -> None:
        self._left -= 1
        if self._left <= 0:
            raise KeyboardInterrupt


def test_a_rebuild_killed_anywhere_goes_on_and_ends_the_same(store: Store, tmp_path: Path) -> None:
    topic = topic_of(8)
    intents = open_file(tmp_path)
    with own_generations(store, OLD, NEW) as writer:
        filled(writer, intents, topic)
        deaths = 0
        for number in (12, 30, 20, 16, 34, 26, 22, 10_000):
            dying = DiesAt(writer, number)
            try:
                compared = rebuild_of(dying, intents, MemoryLog(topic)).run(5, 1)
            except KeyboardInterrupt:
                deaths += 1
                assert intents.generations()[OLD] == CURRENT
            else:
                break
        assert deaths >= 3
        assert compared.differences == []
        assert rows_of(writer, "usage_rated") == 8 * 120
        assert check(writer, intents, NEW).findings == ()
    intents.close()


def test_what_differs_is_told_and_nothing_is_switched(store: Store, tmp_path: Path) -> None:
    topic = topic_of(6)
    intents = open_file(tmp_path)
    with own_generations(store, OLD, NEW) as writer:
        filled(writer, intents, topic)
        other = MemoryTopic([(n, f if n != 5 else topic.records[0][1]) for n, f in topic.records])
        dry = rebuild_of(writer, intents, MemoryLog(other)).dry_run(4)
        assert dry.differences != []
        assert intents.generations() == {OLD: CURRENT}
        assert rebuild_of(writer, intents, MemoryLog(topic)).dry_run(4).differences == []
        with pytest.raises(DifferenceError, match="octets down"):
            rebuild_of(writer, intents, MemoryLog(other)).run(4, 1)
        assert intents.generations() == {OLD: CURRENT, NEW: FILLING}
        assert rows_of(writer, "usage_rated") == rows_of(writer, f"usage_rated_{OLD}")
        drop_generation(writer, intents, NEW, 1)
        assert intents.generations() == {OLD: CURRENT}
    intents.close()


def test_a_log_that_ends_before_the_tables_do_is_refused(store: Store, tmp_path: Path) -> None:
    topic = topic_of(6)
    intents = open_file(tmp_path)
    with own_generations(store, OLD, NEW) as writer:
        filled(writer, intents, topic)
        source = Source(OLD, "usage.rated", 0)
        intents.commit(source, Intent(7, 9, 0))
        with pytest.raises(DifferenceError, match="ends at 6, the tables have 9"):
            rebuild_of(writer, intents, MemoryLog(topic)).run(4, 1)
    intents.close()
