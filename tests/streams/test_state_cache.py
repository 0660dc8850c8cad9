"""State in front of a database answers as the database would, and asks it no more than it must."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, create_engine, event

from rating.ports import Delete, MemoryState, Put, StepResult
from streams.adapters import sqlite_state
from streams.adapters.sqlite_state import TaskState
from streams.adapters.state_cache import _WHOLE_ENTRIES_MAX


class Queries:
    """Counts what the database is asked."""

    def __init__(self, connection: Connection) -> None:
        self.count = 0
        event.listen(connection, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.count += 1


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.begin() as opened:
        sqlite_state.create_tables(opened)
        yield opened


def state_on(connection: Connection, entries_max: int = 1_000) -> TaskState:
    state = TaskState("t/0", {"timers": int}, entries_max=entries_max)
    state.bind(connection)
    return state


@pytest.mark.parametrize("seed", range(20))
def test_every_scan_gives_what_was_written(connection: Connection, seed: int) -> None:
    chance = random.Random(seed)
    state, model = state_on(connection, entries_max=chance.choice((3, 1_000))), MemoryState()
    keys = [f"{number:03d}" for number in range(40)]
    for _ in range(300):
        low, high = chance.choice(("", *keys)), chance.choice((None, *keys))
        low = chance.choice(("", low))
        wanted = list(model.scan("timers", low, high))
        assert list(state.scan("timers", low, high)) == wanted
        some = chance.sample(keys, 3)
        assert state.get_many("timers", some) == model.get_many("timers", some)
        changes = [
            Put("timers", key, chance.randrange(1_000))
            if chance.random() < 0.4
            else Delete("timers", key)
            for key in chance.choices(keys, k=chance.randrange(4))
        ]
        state.apply(changes)
        model.apply(StepResult(changes=changes))


def test_timers_that_are_not_due_ask_nothing(connection: Connection) -> None:
    state, queries = state_on(connection), Queries(connection)
    state.apply([Put("timers", f"{due:03d}", due) for due in range(500, 600)])
    assert list(state.scan("timers", "", "100")) == []
    asked = queries.count
    for now in range(100, 500):
        assert list(state.scan("timers", "", f"{now:03d}")) == []
    assert queries.count == asked
    asked = queries.count
    state.apply([Put("timers", "005", 5)])
    assert list(state.scan("timers", "", "450")) == [("005", 5)]
    assert queries.count > asked


def test_a_small_collection_is_read_once(connection: Connection) -> None:
    state, queries = state_on(connection), Queries(connection)
    assert list(state.scan("timers")) == []
    state.apply([Put("timers", "b", 2), Put("timers", "a", 1)])
    asked = queries.count
    assert list(state.scan("timers")) == [("a", 1), ("b", 2)]
    assert list(state.scan("timers", "b")) == [("b", 2)]
    assert queries.count == asked


def test_a_collection_that_has_grown_is_read_from_the_database(connection: Connection) -> None:
    state, queries = state_on(connection), Queries(connection)
    assert list(state.scan("timers")) == []
    changes = [Put("timers", f"{n:06d}", n) for n in range(_WHOLE_ENTRIES_MAX + 1)]
    state.apply(changes)
    asked = queries.count
    assert list(state.scan("timers")) == [(change.key, change.value) for change in changes]
    assert queries.count == asked + 1
