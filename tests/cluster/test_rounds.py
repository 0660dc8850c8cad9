"""Rounds against a real PostgreSQL: whatever dies or stands still, nothing is lost or repeated.

Kafka is a list per topic partition here, so that a seed can decide everything: how batches are
cut, which of several owners acts next, who is paused in between, and where somebody dies.
"""

from __future__ import annotations

import functools
import random
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from sqlalchemy import Connection, Engine

from billing.adapters.databases import open_database, reading, writing
from rating.envelopes import EXPIRED, Envelope, Mark, encode_envelope, encode_marks
from rating.ports import Batch, Output, Put, StateView, StepResult
from rating.records import DirectoryEntry, Usage, frame_of, schema_of
from rating.rows import CollectorOutage
from streams.adapters.postgres_outbox import OutboxRow, message_of
from streams.adapters.postgres_tables import create_tables, read_watermarks
from streams.adapters.postgres_tasks import OwnershipLostError
from streams.adapters.postgres_topics import append_rows
from streams.bundles import bundled
from streams.progress import SequenceGapError
from streams.rounds import BrokenError, Message, Round, RoundConfig, Rounds, marked_topics
from streams.stage import Stage

PARTITIONS = 2
COLLECTOR = "radius@sim"
LOG = "radius.accounting"


class DeathError(Exception):
    """The worker dies here."""


def stages(strike: Any = lambda: None) -> tuple[Stage, ...]:
    """Two stages that count octets, each both in its state and in what it sends on."""

    def measure(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        total = view.get("total", "octets") or 0
        rows = []
        for block in batch.blocks:
            octets = int(block.body)
            total += octets
            rows.append(Usage(f"k{octets % 5}", "s", "flows", "", "c", 0, octets, 0, 0, 0, 0, 0))
        strike()
        return StepResult(
            changes=[Put("total", "octets", total)],
            outputs=[Output("usage.measured", frame_of(Usage, rows))],
        )

    def count(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        frame = batch.frame("usage.measured", schema_of(Usage))
        sums = frame.group_by("rating_key").agg(pl.col("octets_up").sum())
        changes = [
            Put("sums", key, (view.get("sums", key) or 0) + octets)
            for key, octets in sums.iter_rows()
        ]
        strike()
        return StepResult(changes=changes)

    return (
        Stage("measure", measure, {"total": int}, LOG, (), ("usage.measured",)),
        Stage("count", count, {"sums": int}, None, ("usage.measured",), ()),
    )


@pytest.fixture
def database(database_url: str) -> Engine:
    engine = open_database(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with writing(engine) as connection:
        create_tables(connection, partitions=PARTITIONS)
    return engine


def rounds_on(
    database: Engine, made: tuple[Stage, ...], written: list[Any] | None = None
) -> Rounds:
    def write(_connection: Connection, rows: Sequence[Any]) -> None:
        if written is not None:
            written.extend(rows)

    config = RoundConfig(PARTITIONS, 3, 1_000, 1_000_000, 1)
    return Rounds(lambda: writing(database), made, write, config)


class Broker:
    """A list of messages per (topic, partition)."""

    def __init__(self) -> None:
        self.messages: dict[tuple[str, int], list[bytes]] = defaultdict(list)

    def publish(self, row: OutboxRow) -> None:
        self.take(message_of(row))

    def take(self, message: tuple[str, int, bytes]) -> None:
        topic, partition, value = message
        self.messages[topic, partition].append(value)

    def mark(self, topic: str, mark: Mark) -> None:
        for partition in range(PARTITIONS):
            self.messages[topic, partition].append(encode_marks([mark]))

    def read(self, topic: str, partition: int, after: int, limit: int) -> list[Message]:
        found = self.messages[topic, partition][after : after + limit]
        return [Message(topic, after + n, value) for n, value in enumerate(found)]


class Owner:
    """A worker in miniature: reads, takes rounds, publishes some time later, and marks."""

    def __init__(self, database: Engine, broker: Broker, chance: random.Random, mortal: bool):
        self._broker, self._chance, self._mortal = broker, chance, mortal

        def strike() -> None:
            if mortal and chance.random() < 0.1:
                raise DeathError

        self._stages = stages(strike)
        self._rounds = rounds_on(database, self._stages)
        self._waiting: dict[str, list[Round]] = {stage.name: [] for stage in self._stages}
        left_over = self._rounds.take_over(range(PARTITIONS))
        for row in left_over:
            broker.publish(row)
        for stage in self._stages:
            own = [row for row in left_over if row.task.startswith(stage.name)]
            self._rounds.acknowledge(stage.name, own)
        self._at = {
            (t.stage.name, t.partition): t.standing.offsets.get(
                LOG if t.stage.raw_log else "usage.measured", 0
            )
            for t in self._rounds.tasks.values()
        }

    def act(self) -> bool:
        """Do one thing; return whether anything was left to read."""
        chance, stage = self._chance, self._chance.choice(self._stages)
        if self._waiting[stage.name] and chance.random() < 0.5:
            self.publish(stage)
            return True
        topic = stage.raw_log or "usage.measured"
        messages = {}
        for partition in range(PARTITIONS):
            found = self._broker.read(
                topic, partition, self._at[stage.name, partition], chance.randint(1, 5)
            )
            if found:
                messages[partition] = found
                self._at[stage.name, partition] += len(found)
        if messages:
            self._waiting[stage.name].append(self._rounds.run(stage.name, messages))
        return bool(messages)

    def publish(self, stage: Stage) -> None:
        done = self._waiting[stage.name].pop(0)
        messages = [message_of(row) for row in done.outputs]
        for message in bundled(messages, {"usage.measured"}, self._chance.choice((100, 10_000))):
            self._broker.take(message)
            if self._mortal and self._chance.random() < 0.02:
                raise DeathError
        self._rounds.acknowledge(stage.name, done.outputs)
        for task, (at, issued) in done.watermarks.items():
            for topic in marked_topics(stage, self._stages):
                for partition in range(PARTITIONS):
                    number = issued.get(topic, {}).get(partition, 0)
                    self._broker.messages[topic, partition].append(
                        encode_marks([Mark(task, number, at)])
                    )

    def finish(self) -> None:
        idle = 0
        while idle < 50 or any(self._waiting.values()):
            idle = 0 if self.act() else idle + 1
            for stage in self._stages:
                while self._waiting[stage.name]:
                    self.publish(stage)
        for stage in self._stages:  # what was acknowledged is deleted by the next round
            self._rounds.run(stage.name, {partition: [] for partition in range(PARTITIONS)})


@pytest.mark.parametrize("seed", range(6))
def test_owners_that_die_and_stand_still_lose_and_repeat_nothing(
    database: Engine, seed: int
) -> None:
    chance, broker = random.Random(seed), Broker()
    owners = [Owner(database, broker, chance, mortal=True)]
    numbers = dict.fromkeys(range(PARTITIONS), 0)
    sent = deaths = 0
    for step in range(250):
        partition, octets = chance.randrange(PARTITIONS), chance.randrange(1_000)
        numbers[partition] += 1
        envelope = Envelope(COLLECTOR, numbers[partition], step, str(octets).encode())
        broker.messages[LOG, partition].append(encode_envelope(envelope))
        sent += octets
        for each, number in numbers.items():
            broker.messages[LOG, each].append(encode_marks([Mark(COLLECTOR, number, step)]))
        if chance.random() < 0.03:
            owners.append(Owner(database, broker, chance, mortal=True))  # the others are paused
        owner = chance.choice(owners)  # and wake
        try:
            owner.act()
        except (DeathError, OwnershipLostError):
            deaths += 1
            owners.remove(owner)
            if not owners:
                owners.append(Owner(database, broker, chance, mortal=True))
    Owner(database, broker, chance, mortal=False).finish()
    with reading(database) as connection:
        watermarks = read_watermarks(connection)
        left = connection.exec_driver_sql("select count(*) from stage_output").scalar()
    assert counted(database) == sent
    assert deaths > 3
    assert set(watermarks.values()) == {249}
    assert left == 0


def counted(database: Engine) -> int:
    rounds = rounds_on(database, stages())
    rounds.take_over(range(PARTITIONS))
    total = 0
    with writing(database) as connection:
        for (stage, _), task in rounds.tasks.items():
            if stage == "count":
                task.state.bind(connection)
                total += sum(octets for _, octets in task.state.scan("sums"))
    return total


def message(number: int, octets: int) -> Message:
    return Message(LOG, number - 1, encode_envelope(Envelope(COLLECTOR, number, 0, b"%d" % octets)))


def test_who_was_taken_over_writes_nothing_more(database: Engine) -> None:
    old = rounds_on(database, stages())
    old.take_over([0, 1])
    old.run("measure", {0: [message(1, 5)]})
    new = rounds_on(database, stages())
    new.take_over([0])
    with pytest.raises(OwnershipLostError):
        old.run("measure", {0: [message(2, 7)]})
    new.run("measure", {0: [message(2, 7)]})
    with writing(database) as connection:
        task = new.tasks["measure", 0]
        task.state.bind(connection)
        assert task.state.get("total", "octets") == 12


def test_what_was_kept_over_a_rebalance_need_not_be_read_again(database: Engine) -> None:
    rounds = rounds_on(database, stages())
    rounds.take_over([0, 1])
    rounds.run("measure", {0: [message(1, 5)]})
    before = rounds.tasks["measure", 0]
    rounds.release()
    rounds.take_over([0])
    assert rounds.tasks["measure", 0] is before
    rounds.run("measure", {0: [message(2, 7)]})


def test_what_another_owner_had_in_between_is_read_anew(database: Engine) -> None:
    first, second = rounds_on(database, stages()), rounds_on(database, stages())
    first.take_over([0])
    first.run("measure", {0: [message(1, 5)]})
    before = first.tasks["measure", 0]
    first.release()
    second.take_over([0])
    second.run("measure", {0: [message(2, 7)]})
    first.take_over([0])
    assert first.tasks["measure", 0] is not before
    first.run("measure", {0: [message(2, 7), message(3, 9)]})
    with writing(database) as connection:
        task = first.tasks["measure", 0]
        task.state.bind(connection)
        assert task.state.get("total", "octets") == 21


def test_after_a_failed_round_no_other_is_taken(database: Engine) -> None:
    rounds = rounds_on(database, stages())
    rounds.take_over([0, 1])
    with pytest.raises(SequenceGapError):
        rounds.run("measure", {0: [message(2, 7)]})
    with pytest.raises(BrokenError):
        rounds.run("measure", {1: [message(1, 7)]})


def test_an_owner_that_stands_still_in_its_transaction_is_ended(database: Engine) -> None:
    old = rounds_on(database, stages())
    old.take_over([0])
    with database.connect() as connection:
        # What a worker looks like to the server that was stopped just before its commit.
        connection.exec_driver_sql("update stage_task set owner = pg_backend_pid()")
        new = rounds_on(database, stages())
        new.take_over([0])
        with pytest.raises(Exception, match=r"terminat|closed|connection"):
            connection.exec_driver_sql("select 1")
        connection.invalidate()
    assert new.tasks["measure", 0].epoch == 2


def test_an_outage_of_a_collector_becomes_a_row(database: Engine) -> None:
    written: list[Any] = []
    rounds = rounds_on(database, stages(), written)
    rounds.take_over([0])

    def mark(offset: int, mark: Mark) -> None:
        rounds.run("measure", {0: [Message(LOG, offset, encode_marks([mark]))]})

    mark(0, Mark(COLLECTOR, 0, 1_000))
    mark(1, Mark(COLLECTOR, 0, 5_000, EXPIRED))
    mark(2, Mark(COLLECTOR, 0, 9_000))
    assert written == [
        CollectorOutage(COLLECTOR, 0, 5_000, None),
        CollectorOutage(COLLECTOR, 0, 5_000, 9_000),
    ]


def test_an_output_too_large_for_a_message_becomes_several(database: Engine) -> None:
    config = RoundConfig(PARTITIONS, 3, 1_000, 4_000, 1)
    rounds = Rounds(
        functools.partial(writing, database), stages(), lambda connection, rows: None, config
    )
    rounds.take_over([0])
    done = rounds.run("measure", {0: [message(n, n) for n in range(1, 2_000)]})
    assert len(done.outputs) > 2
    assert max(len(row.body) for row in done.outputs) <= 4_000


def learn(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
    """Note how many rows of the directory had come whenever a block comes."""
    rows = (view.get("total", "rows") or 0) + batch.frame(
        "directory", schema_of(DirectoryEntry)
    ).height
    known = [Put("total", block.body.decode(), rows) for block in batch.blocks]
    return StepResult(changes=[Put("total", "rows", rows), *known])


def test_no_message_is_taken_before_all_rows_that_wait_however_many(database: Engine) -> None:
    rules = [DirectoryEntry(f"e{n}", 1, "own_prefix", "10.0.0.0/8", "", 0, 0, None) for n in "abc"]
    frame = frame_of(DirectoryEntry, rules)
    with writing(database) as connection:
        for _ in range(2):
            append_rows(connection, "directory", "api", frame, partitions=PARTITIONS)
    rounds = Rounds(
        functools.partial(writing, database),
        (Stage("learn", learn, {"total": int}, LOG, ("directory",), ()),),
        lambda connection, rows: None,
        RoundConfig(PARTITIONS, 3, 3, 1_000_000, 1),
    )
    rounds.take_over([0, 1])
    body = encode_envelope(Envelope(COLLECTOR, 1, 1, b"block"))
    messages = {partition: [Message(LOG, 0, body)] for partition in range(PARTITIONS)}
    taken = []
    while True:
        before = rounds.counters["stream_rows_read"]
        done = rounds.run("learn", messages)
        taken.append(rounds.counters["stream_rows_read"] - before)
        assert bool(rounds.unread()) == done.is_behind
        if not done.is_behind:
            break
        assert rounds.counters["stream_blocks_read"] == 0
    # Three rows a round, over both tasks; with the last of them come the messages.
    assert taken == [3, 3, 3, 3]
    assert rounds.appended() == {}
    with reading(database) as connection:
        for task in rounds.tasks.values():
            assert task.standing.stored == {"directory": 2}
            assert task.standing.offsets == {LOG: 1}
            task.state.bind(connection)
            assert task.state.get("total", "block") == 6
