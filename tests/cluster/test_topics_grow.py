"""`flowrate topics grow` and `drop` against a real broker: what they wait for, what they refuse."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest
import sqlalchemy
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from infra.cli import main
from rating.envelopes import LEFT
from streams.adapters.postgres_tables import create_tables
from streams.progress import Seen, Standing
from streams.topics import KAFKA_TOPICS, physical_topic
from tests.cluster.servers import Kafka
from tests.infra.waiting import wait_until
from warehouse.intent_tables import create_tables as create_sink_tables

ROOT = Path(__file__).parent.parent.parent
GENERATIONS = itertools.count(2_000, 10)
"""Tests share the broker: each has topics of its own by generations of its own."""


class Operator:
    """Who calls the command, and the database and broker that it is called on."""

    def __init__(self, kafka: Kafka, database_url: str) -> None:
        self.former = next(GENERATIONS)
        self._url = database_url
        engine = sqlalchemy.create_engine(
            database_url.replace("postgresql", "postgresql+psycopg", 1)
        )
        with engine.begin() as connection:
            create_tables(connection, partitions=3)
            create_sink_tables(connection)
        engine.dispose()
        self.execute("update topic_generation set generation = %s", self.former)
        self._kafka = kafka
        self.admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        assert self.call("apply") == 0

    def execute(self, statement: str, *arguments: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self._url) as connection:
            cursor = connection.execute(statement, arguments)
            return cursor.fetchall() if cursor.description else []

    def words(self, *words: str) -> list[str]:
        values = (
            "mode=cluster",
            f"cluster.database_url={self._url}",
            f"cluster.kafka.bootstrap_servers={self._kafka.bootstrap}",
            "cluster.topics.replication_factor=1",
            "cluster.topics.min_insync_replicas=1",
        )
        return ["topics", *words, *[word for value in values for word in ("--set", value)]]

    def call(self, *words: str) -> int:
        return main(self.words(*words))

    def generations(self) -> list[tuple[object, ...]]:
        rows = self.execute(
            "select generation, partitions, state from topic_generation order by generation"
        )
        return [(int(str(row[0])) - self.former, *row[1:]) for row in rows]

    def send(self, topic: str, partition: int) -> None:
        producer = KafkaProducer(bootstrap_servers=self._kafka.bootstrap)
        producer.send(physical_topic(topic, self.former), b"data", partition=partition).get(10)
        producer.close()

    def names(self, generation: int) -> list[str]:
        return [physical_topic(topic, generation) for topic in KAFKA_TOPICS]

    def partitions(self, generation: int) -> set[int]:
        found = self.admin.describe_topics(self.names(generation))
        return {len(topic["partitions"]) for topic in found}


@pytest.fixture
def operator(kafka: Kafka, database_url: str) -> Iterator[Operator]:
    made = Operator(kafka, database_url)
    yield made
    there = set(made.admin.list_topics())
    made.admin.delete_topics(
        [n for g in (0, 1, 2) for n in made.names(made.former + g) if n in there]
    )
    made.admin.close()


Told = Callable[[], str]


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    def read() -> str:
        captured = capsys.readouterr()
        return captured.out + captured.err

    return read


def test_topics_grow_and_grow_again(operator: Operator, told: Told) -> None:
    assert operator.call("grow", "--partitions", "5") == 0
    assert operator.generations() == [(0, 3, "done"), (1, 5, "running")]
    assert operator.partitions(operator.former + 1) == {5}
    told()
    assert operator.call("grow", "--partitions", "5") == 0
    assert "nothing to do" in told()
    assert operator.call("grow", "--partitions", "4") == 1
    assert "has 5 partitions: 4 is not more" in told()
    assert operator.call("grow", "--partitions", "5000") == 1
    assert "at most 4096" in told()
    assert operator.call("grow", "--partitions", "10") == 0
    assert operator.generations() == [(0, 3, "done"), (1, 5, "done"), (2, 10, "running")]
    assert operator.call("apply") == 0
    assert "nothing to do: 9 topics" in told()


def test_it_waits_for_what_is_not_taken_and_goes_on_where_it_was_killed(
    operator: Operator, told: Told, tmp_path: Path
) -> None:
    operator.send("radius.accounting", 2)
    output = tmp_path / "told"
    with output.open("wb") as written:
        killed = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", *operator.words("grow", "--partitions", "5")],
            cwd=ROOT,
            stdout=written,
        )
    try:
        wait_until(lambda: "sessions/2 has taken 0 of 1 messages" in output.read_text(), "it waits")
    finally:
        killed.kill()
        killed.wait()
    assert operator.generations() == [(0, 3, "draining"), (1, 5, "preparing")]
    assert operator.call("grow", "--partitions", "7") == 1
    assert "5 partitions is under way" in told()
    standing = Standing(
        offsets={"radius.accounting": 1},
        seen={"radius.accounting": {"radius@a": Seen(9, 77, LEFT, True)}},
    )
    operator.execute(
        "insert into stage_task values('sessions/2', 4, 0, 88, %s)",
        msgspec.msgpack.encode(standing),
    )
    assert operator.call("grow", "--partitions", "5") == 0
    assert operator.generations() == [(0, 3, "done"), (1, 5, "running")]
    [(epoch,)] = operator.execute("select epoch from stage_task where task = 'sessions/2'")
    assert epoch == 5, "whoever held the task may write no more"
    taken = operator.execute("select log, producer, partition, number from drained_log order by 1")
    assert ("radius.accounting", "radius@a", 2, 9) in taken


def test_a_generation_is_dropped_once_nobody_needs_it(operator: Operator, told: Told) -> None:
    operator.send("flow.datagrams", 1)
    standing = Standing(offsets={"flow.datagrams": 1})
    rated = Standing(issued={"usage.rated": {0: 3}})
    for task, body in (("decode/1", standing), ("rate/0", rated)):
        operator.execute(
            "insert into stage_task values(%s, 1, 0, 0, %s)", task, msgspec.msgpack.encode(body)
        )
    name = f"--generation={operator.former}"
    assert operator.call("drop", name) == 1
    assert "is running, not done" in told()
    assert operator.call("grow", "--partitions", "4") == 0
    topic = physical_topic("usage.rated", operator.former)
    operator.execute("insert into sink_position values(1, %s, 0, 2, 2)", topic)
    raw_flows = physical_topic("flow.datagrams", operator.former)
    operator.execute("insert into sink_position values(0, %s, 0, 9, 9)", raw_flows)
    assert operator.call("drop", name) == 1
    reason = told()
    assert f"the sink has taken 2 of 3 records of {topic} partition 0" in reason
    assert "keeps 1 messages (topics.raw_retention_hours)" in reason
    operator.execute("update sink_position set last_position = 3")
    raw = TopicPartition(physical_topic("flow.datagrams", operator.former), 1)
    operator.admin.delete_records({raw: 1})
    assert operator.call("drop", name) == 0
    assert operator.generations() == [(0, 3, "dropped"), (1, 4, "running")]
    assert not set(operator.names(operator.former)) & set(operator.admin.list_topics())
    told()
    assert operator.call("drop", name) == 0
    assert "nothing to do" in told()
