"""What a sink may rely on, the same on both adapters of `warehouse.intents.IntentStore`."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from warehouse.claims import Claims
from warehouse.intent_tables import (
    PostgresIntentStore,
    SqliteIntentStore,
    create_tables,
)
from warehouse.intents import (
    CURRENT,
    FILLING,
    FORMER,
    ClaimLostError,
    HeldError,
    Intent,
    IntentStore,
    Source,
    committed_position,
    current_generation,
    kept_position,
)

SOURCE = Source(1, "usage.rated.g1", 3)
OTHER = Source(1, "usage.rated.g1", 4)


def prepare(database_url: str) -> None:
    """Make the sinks' tables in a test's PostgreSQL."""
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        create_tables(connection)
        create_tables(connection)
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def intents(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[IntentStore]:
    if request.param == "sqlite":
        in_file = SqliteIntentStore(tmp_path / "store.sqlite")
        yield in_file
        in_file.close()
        return
    url = request.getfixturevalue("database_url")
    prepare(url)
    claims = Claims(url, "me", 30.0)
    claims.renew([SOURCE.claim, OTHER.claim])
    in_postgres = PostgresIntentStore(url, "me", claims.epochs)
    yield in_postgres
    in_postgres.close()
    claims.close()


def test_a_source_that_was_never_written_stands_at_zero(intents: IntentStore) -> None:
    assert (intents.position(SOURCE), intents.cursor(SOURCE)) == (0, 0)
    assert intents.intent(SOURCE) is None
    assert intents.inserts_since(SOURCE) == 0
    assert intents.positions(1) == {}
    assert current_generation(intents, 7) == 7


def test_a_commit_forgets_the_intent_and_moves_position_and_cursor(intents: IntentStore) -> None:
    first = Intent(1, 5, 100, 77)
    intents.begin(SOURCE, first)
    assert intents.intent(SOURCE) == first
    assert intents.open_intents(1) == {SOURCE: first}
    assert intents.position(SOURCE) == 0
    intents.commit(SOURCE, first)
    assert intents.intent(SOURCE) is None
    assert (intents.position(SOURCE), intents.cursor(SOURCE)) == (5, 77)
    intents.begin(SOURCE, Intent(6, 9, 3, 90))
    intents.commit(SOURCE, Intent(6, 9, 3, 90))
    assert intents.positions(1) == {SOURCE: 9}
    assert intents.positions(2) == {}


def test_a_commit_moves_the_state_of_its_source_and_no_other(intents: IntentStore) -> None:
    many: dict[str, bytes | None] = {f"seen/{n}": b"\0%d" % n for n in range(1_200)}
    intents.commit(SOURCE, Intent(1, 5, 0), {"reached/": b"a", **many})
    intents.commit(OTHER, Intent(1, 5, 0), {"reached/": b"b"})
    assert intents.state(SOURCE) == {"reached/": b"a", **many}
    gone: dict[str, bytes | None] = dict.fromkeys(list(many)[:1_100])
    intents.commit(SOURCE, Intent(6, 7, 0), {**gone, "absent": None, "reached/": b"c"})
    kept = dict(list(many.items())[1_100:])
    assert intents.state(SOURCE) == {"reached/": b"c", **kept}
    assert intents.state(OTHER) == {"reached/": b"b"}
    assert intents.position(SOURCE) == 7
    intents.forget_generation(1)
    assert intents.state(SOURCE) == {}


def test_a_second_intent_of_a_source_is_refused_and_another_source_is_not(
    intents: IntentStore,
) -> None:
    intents.begin(SOURCE, Intent(1, 2, 2))
    with pytest.raises(ValueError, match="open already"):
        intents.begin(SOURCE, Intent(3, 4, 2))
    intents.begin(OTHER, Intent(1, 1, 1))
    assert intents.intent(SOURCE) == Intent(1, 2, 2)
    assert set(intents.open_intents(1)) == {SOURCE, OTHER}


def test_inserts_of_all_are_counted_since_an_intent(intents: IntentStore) -> None:
    intents.begin(SOURCE, Intent(1, 2, 2))
    for number in range(3):
        intents.begin(OTHER, Intent(number + 1, number + 1, 1))
        intents.commit(OTHER, Intent(number + 1, number + 1, 1))
    assert intents.inserts_since(SOURCE) == 3


def test_a_seed_counts_only_where_there_is_no_position(intents: IntentStore) -> None:
    intents.seed(SOURCE, 41, 400)
    intents.seed(SOURCE, 99, 999)
    assert (intents.position(SOURCE), intents.cursor(SOURCE)) == (41, 400)


def test_a_hold_refuses_inserts_of_its_generation_until_released(intents: IntentStore) -> None:
    intents.begin(OTHER, Intent(1, 1, 1))
    assert intents.hold(1, "check", 60)
    assert not intents.hold(1, "another", 60)
    assert intents.hold(1, "check", 60)
    with pytest.raises(HeldError, match="check holds"):
        intents.begin(SOURCE, Intent(1, 2, 2))
    assert intents.intent(SOURCE) is None
    intents.commit(OTHER, Intent(1, 1, 1))
    intents.release(1, "another")
    with pytest.raises(HeldError):
        intents.begin(SOURCE, Intent(1, 2, 2))
    intents.release(1, "check")
    intents.begin(SOURCE, Intent(1, 2, 2))


def test_a_hold_runs_out(intents: IntentStore) -> None:
    assert intents.hold(1, "check", 0.2)
    time.sleep(0.4)
    assert intents.hold(1, "another", 0.2)
    time.sleep(0.4)
    intents.begin(SOURCE, Intent(1, 2, 2))


def test_one_generation_is_current_and_a_forgotten_one_leaves_nothing(
    intents: IntentStore,
) -> None:
    intents.set_generation(1, CURRENT)
    intents.set_generation(2, FILLING)
    assert current_generation(intents, 9) == 1
    intents.set_generation(2, CURRENT)
    assert intents.generations() == {1: FORMER, 2: CURRENT}
    intents.begin(SOURCE, Intent(1, 2, 2))
    intents.note_step(1, "copied 202501", "done")
    intents.note_step(1, "copied 202501", "again")
    assert intents.steps(1) == {"copied 202501": "again"}
    intents.forget_generation(1)
    assert intents.generations() == {2: CURRENT}
    assert (intents.steps(1), intents.open_intents(1)) == ({}, {})


def test_a_process_whose_claim_was_taken_can_record_nothing(database_url: str) -> None:
    prepare(database_url)
    slow, quick = Claims(database_url, "slow", 0.5), Claims(database_url, "quick", 0.5)
    slow.renew([SOURCE.claim])
    sleeping = PostgresIntentStore(database_url, "slow", slow.epochs)
    sleeping.begin(SOURCE, Intent(1, 2, 2, 20))
    assert quick.renew([SOURCE.claim]) == {}
    time.sleep(0.7)
    assert not slow.is_fresh()
    assert quick.renew([SOURCE.claim]) == {SOURCE.claim: 2}
    with pytest.raises(ClaimLostError):
        sleeping.commit(SOURCE, Intent(1, 2, 2, 20), {"name": b"value"})
    assert sleeping.state(SOURCE) == {}
    with pytest.raises(ClaimLostError):
        sleeping.begin(SOURCE, Intent(3, 4, 2, 40))
    successor = PostgresIntentStore(database_url, "quick", quick.epochs)
    assert successor.intent(SOURCE) == Intent(1, 2, 2, 20)
    successor.commit(SOURCE, Intent(1, 2, 2, 20))
    assert sleeping.position(SOURCE) == 2
    for opened in (sleeping, successor, slow, quick):
        opened.close()


def test_tools_without_a_claim_read_and_record_nothing(database_url: str) -> None:
    prepare(database_url)
    tool = PostgresIntentStore(database_url)
    assert tool.position(SOURCE) == 0
    with pytest.raises(ClaimLostError):
        tool.begin(SOURCE, Intent(1, 2, 2))
    tool.close()


def test_partitions_are_shared_evenly_as_processes_come_and_go(database_url: str) -> None:
    prepare(database_url)
    names = [Source(1, "usage.rated.g1", number).claim for number in range(7)]
    first, second = Claims(database_url, "a", 1.0), Claims(database_url, "b", 1.0)
    assert set(first.renew(names, ["snapshots"])) == {*names, "snapshots"}
    assert set(second.renew(names, ["snapshots"])) == set()
    assert len(first.renew(names, ["snapshots"])) == 4 + 1
    assert len(second.renew(names, ["snapshots"])) == 3
    assert not set(first.epochs) & set(second.epochs)
    second.close()
    assert set(first.renew(names, ["snapshots"])) == {*names, "snapshots"}
    third = Claims(database_url, "c", 1.0)
    time.sleep(1.2)  # The first one sleeps.
    assert set(third.renew(names)) == set(names)
    assert set(first.renew(names, ["snapshots"])) == {"snapshots"}
    first.close()
    third.close()


def test_a_file_of_the_first_release_is_read(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    old = sqlite3.connect(file)
    key = "generation INTEGER NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL"
    primary = "PRIMARY KEY (generation, topic, partition)) STRICT, WITHOUT ROWID"
    old.execute(
        f"CREATE TABLE sink_intent ({key}, first_position INTEGER NOT NULL,"
        f" last_position INTEGER NOT NULL, row_count INTEGER NOT NULL, {primary}"
    )
    old.execute(f"CREATE TABLE sink_position ({key}, last_position INTEGER NOT NULL, {primary}")
    old.execute("INSERT INTO sink_position VALUES (1, 'usage.rated', 0, 12)")
    old.execute("INSERT INTO sink_intent VALUES (1, 'usage.rated', 0, 13, 15, 9)")
    old.commit()
    old.close()
    source = Source(1, "usage.rated", 0)
    opened = SqliteIntentStore(file)
    assert opened.position(source) == 12
    assert opened.intent(source) == Intent(13, 15, 9)
    opened.commit(source, Intent(13, 15, 9))
    opened.close()
    assert committed_position(file, source) == 15


def test_a_topic_is_kept_until_every_generation_has_it(tmp_path: Path) -> None:
    file = tmp_path / "store.sqlite"
    assert kept_position(file, 1, "usage.rated", 0) == 0
    opened = SqliteIntentStore(file)
    opened.commit(Source(1, "usage.rated", 0), Intent(1, 30, 1))
    assert kept_position(file, 1, "usage.rated", 0) == 30
    opened.set_generation(2, FILLING)
    assert kept_position(file, 1, "usage.rated", 0) == 0
    opened.commit(Source(2, "usage.rated", 0), Intent(1, 20, 1))
    assert kept_position(file, 1, "usage.rated", 0) == 20
    opened.set_generation(2, CURRENT)
    opened.close()
    assert kept_position(file, 1, "usage.rated", 0) == 20
