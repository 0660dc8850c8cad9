"""A restored cluster meets a Kafka that went on: what is sent again, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from billing.adapters.databases import open_database, reading, writing
from infra.backups.alignment import align
from infra.backups.manifest import BackupError
from infra.migrate import migrate
from infra.settings import Settings, load_settings
from rating.envelopes import Envelope, Mark, encode_envelope, encode_marks
from streams.adapters import postgres_tables
from streams.progress import Seen, Standing
from streams.topics import KAFKA_TOPICS, physical_topic
from tests.cluster.servers import Kafka
from tests.databases import sqlalchemy_url
from warehouse import intent_tables

MINUTES, RATED, DATAGRAMS = "flow.minutes", "usage.rated", "flow.datagrams"
NAMES = [physical_topic(topic, 1) for topic in KAFKA_TOPICS]


class Cluster:
    """Topics and tables of a cluster, without its processes."""

    def __init__(self, settings: Settings, kafka: Kafka, database: Any) -> None:
        self.settings, self.database = settings, database
        self.admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        self.admin.create_topics([NewTopic(name, 1, 1) for name in NAMES])
        self.producer = KafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")

    def publish(self, topic: str, producer: str, numbers: range, history: bytes) -> None:
        """Send data as a task's relay or a collector would; the body tells of which history."""
        for number in numbers:
            message = encode_envelope(Envelope(producer, number, number, history))
            self.producer.send(physical_topic(topic, 1), message, partition=0)
            mark = encode_marks([Mark(producer, number, number)])
            self.producer.send(physical_topic(topic, 1), mark, partition=0)
        self.producer.flush()

    def keep(self, task: str, standing: Standing) -> None:
        """Let a task stand where the backup had it."""
        with writing(self.database) as connection:
            connection.exec_driver_sql(
                "insert into stage_task(task, epoch, owner, watermark_at, standing)"
                " values(%s, 7, 0, 0, %s)",
                (task, msgspec.msgpack.encode(standing)),
            )

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with reading(self.database) as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def standing(self, task: str) -> Standing:
        [(epoch, encoded)] = self.rows(
            f"select epoch, standing from stage_task where task = '{task}'"
        )
        assert epoch > 7, "whoever still works with the old state is fenced"
        return msgspec.msgpack.decode(bytes(encoded), type=Standing)

    def outbox(self) -> list[tuple[Any, ...]]:
        return [
            (*row[:2], bytes(row[2]))
            for row in self.rows("select task, number, body from stage_output order by 1, 2")
        ]


@pytest.fixture
def cluster(tmp_path: Path, kafka: Kafka, database_url: str) -> Iterator[Cluster]:
    file = tmp_path / "flowrate.toml"
    file.write_text(
        f'mode = "cluster"\n[cluster]\ndatabase_url = "{database_url}"\n'
        f'[cluster.kafka]\nbootstrap_servers = ["{kafka.bootstrap}"]\n'
    )
    migrate(sqlalchemy_url(database_url))
    database = open_database(sqlalchemy_url(database_url))
    with writing(database) as connection:
        postgres_tables.create_tables(connection, partitions=1)
        intent_tables.create_tables(connection)
    made = Cluster(load_settings(file), kafka, database)
    yield made
    made.producer.close()
    made.admin.delete_topics(NAMES)
    made.admin.close()
    database.dispose()


def has_read(number: int, producer: str, topic: str, offset: int) -> Standing:
    return Standing(offsets={topic: offset}, seen={topic: {producer: Seen(number)}})


def test_unread_outputs_of_the_kept_history_are_sent_again_and_no_other(cluster: Cluster) -> None:
    cluster.publish(MINUTES, "decode/0", range(1, 6), b"kept")
    cluster.publish(MINUTES, "decode/0", range(6, 9), b"undone")
    # The backup's moment: number 5 given out and still in the outbox too, number 2 read.
    cluster.keep("decode/0", Standing(issued={MINUTES: {0: 5}}))
    cluster.keep("attribute/0", has_read(2, "decode/0", MINUTES, 4))
    with writing(cluster.database) as connection:
        connection.exec_driver_sql(
            "insert into stage_output values('decode/0', 'flow.minutes', 0, 5, 5, '', 'kept')"
        )
    before = cluster.outbox()
    told = align(cluster.settings, is_dry=True)
    assert cluster.outbox() == before
    assert "flow.minutes.g1/0: attribute/0 from offset 4 to 16, 3 outputs are sent again" in told

    assert align(cluster.settings, is_dry=False) == told
    assert cluster.outbox() == [("decode/0", number, b"kept") for number in (3, 4, 5)]
    reader = cluster.standing("attribute/0")
    assert reader.offsets[MINUTES] == 16
    # The relay sends the outbox, then what the replay makes: the reader takes each number once.
    taken = [reader.take(MINUTES, Envelope("decode/0", number, 0, b"")) for number in range(3, 9)]
    assert taken == [True] * 6

    align(cluster.settings, is_dry=False)
    assert len(cluster.outbox()) == 3, "once more does nothing more"


def test_a_sink_goes_on_behind_what_its_table_holds(cluster: Cluster) -> None:
    cluster.publish(RATED, "rate/0", range(1, 5), b"kept")
    cluster.publish(RATED, "rate/0", range(5, 7), b"undone")
    cluster.keep("rate/0", Standing(issued={RATED: {0: 4}}))
    with writing(cluster.database) as connection:
        connection.exec_driver_sql(
            "insert into sink_position values(1, 'usage.rated.g1', 0, 3, 6), (2, "
            "'usage.rated.g1', 0, 2, 4)"
        )
    align(cluster.settings, is_dry=False)
    assert cluster.outbox() == [("rate/0", number, b"kept") for number in (3, 4)]
    positions = cluster.rows("select generation, last_position, next_cursor from sink_position")
    assert sorted(positions) == [(1, 3, 12), (2, 2, 12)]


def test_outputs_that_kafka_no_longer_has_are_refused(cluster: Cluster) -> None:
    cluster.publish(MINUTES, "decode/0", range(1, 6), b"kept")
    cluster.keep("decode/0", Standing(issued={MINUTES: {0: 5}}))
    cluster.keep("attribute/0", has_read(2, "decode/0", MINUTES, 4))
    drop(cluster, MINUTES, 8)
    with pytest.raises(BackupError, match="the first is number 3 of decode/0"):
        align(cluster.settings, is_dry=False)
    assert cluster.outbox() == []
    assert cluster.rows("select distinct epoch from stage_task") == [(7,)], "nothing has changed"


def test_packets_that_kafka_no_longer_has_are_named(cluster: Cluster) -> None:
    cluster.publish(DATAGRAMS, "flows@a", range(1, 6), b"raw")
    cluster.keep("decode/0", has_read(2, "flows@a", DATAGRAMS, 4))
    told = align(cluster.settings, is_dry=True)
    assert "flow.datagrams.g1/0: decode/0 meters 6 messages again" in told
    drop(cluster, DATAGRAMS, 6)
    with pytest.raises(BackupError, match="goes on at offset 4, but Kafka begins at 6"):
        align(cluster.settings, is_dry=False)


def test_another_kafka_than_the_backups_is_refused(cluster: Cluster) -> None:
    cluster.publish(DATAGRAMS, "flows@a", range(1, 3), b"raw")
    cluster.keep("decode/0", has_read(90, "flows@a", DATAGRAMS, 180))
    with pytest.raises(BackupError, match="this is another Kafka than the backup's"):
        align(cluster.settings, is_dry=False)


def test_a_sink_that_had_committed_nothing_is_told_of_old_outputs(cluster: Cluster) -> None:
    cluster.publish(RATED, "rate/0", range(1, 3), b"undone")
    cluster.keep("rate/0", Standing(issued={RATED: {0: 0}}))
    with pytest.raises(BackupError, match=r"usage\.rated\.g1/0 holds 4 messages.*delete"):
        align(cluster.settings, is_dry=False)
    told = align(cluster.settings, is_dry=False, has_sink=False)
    assert not [line for line in told if line.startswith("usage.rated")]


def drop(cluster: Cluster, topic: str, before_offset: int) -> None:
    """Delete what lies before an offset, as retention does."""
    cluster.admin.delete_records({TopicPartition(physical_topic(topic, 1), 0): before_offset})
