"""`flowrate topics apply` against a real broker: it shows, creates, changes, and says why not."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import psycopg
import pytest
import sqlalchemy
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from infra.cli import main
from streams.adapters.postgres_tables import create_tables
from tests.cluster.processes import free_port
from tests.cluster.servers import Kafka

Apply = Callable[..., int]
GENERATIONS = itertools.count(1_000)
"""Tests share the broker: each has topics of its own by a generation of its own."""


@pytest.fixture
def generation(database_url: str) -> int:
    """A generation of 3 partitions that runs."""
    number = next(GENERATIONS)
    make_tables(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("insert into topic_generation values (%s, 3, 'running')", (number,))
    return number


def make_tables(database_url: str) -> None:
    engine = sqlalchemy.create_engine(database_url.replace("postgresql", "postgresql+psycopg", 1))
    with engine.begin() as connection:
        create_tables(connection, partitions=3)
    engine.dispose()


@pytest.fixture
def apply(database_url: str, kafka: Kafka) -> Apply:
    """Runs the command with further settings, `key=value`, and flags."""

    def run(*settings: str, flags: tuple[str, ...] = ()) -> int:
        values = (
            "mode=cluster",
            f"cluster.database_url={database_url}",
            f"cluster.kafka.bootstrap_servers={kafka.bootstrap}",
            "cluster.kafka.request_timeout_milliseconds=4000",
            "cluster.topics.replication_factor=1",
            "cluster.topics.min_insync_replicas=1",
            *settings,
        )
        words = [word for value in values for word in ("--set", value)]
        return main(["topics", "apply", *flags, *words])

    return run


def configs(kafka: Kafka, topic: str) -> dict[str, str]:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    told = admin.describe_configs([ConfigResource("TOPIC", topic)], config_filter="all")
    admin.close()
    return {name: entry["value"] for name, entry in told["topic"][topic].items()}


def partitions(kafka: Kafka, generation: int) -> dict[str, int]:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    topics = admin.describe_topics()
    admin.close()
    return {
        topic["name"]: len(topic["partitions"])
        for topic in topics
        if topic["name"].endswith(f".g{generation}")
    }


def test_the_topics_of_the_generation_in_use_are_shown_and_created(
    apply: Apply, generation: int, kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    assert apply("cluster.topics.stage_retention_hours=24") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"+ create flow.datagrams.g{generation}: 3 partitions, 1 replica, ")
    assert lines[-1] == "created 9 topics, changed 0 configs"
    assert len(lines) == 10
    assert set(partitions(kafka, generation).values()) == {3}
    assert len(partitions(kafka, generation)) == 9
    made = configs(kafka, f"flow.minutes.g{generation}")
    assert made["retention.ms"] == "86400000"
    assert made["cleanup.policy"] == "delete"
    assert made["max.message.bytes"] == "8388608"
    assert made["min.insync.replicas"] == "1"


def test_a_second_apply_has_nothing_to_do(
    apply: Apply, generation: int, capsys: pytest.CaptureFixture[str]
) -> None:
    apply()
    capsys.readouterr()
    assert apply() == 0
    assert capsys.readouterr().out == f"nothing to do: 9 topics of generation {generation}\n"


def test_a_dry_run_shows_and_changes_nothing(
    apply: Apply, generation: int, kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    assert apply(flags=("--dry-run",)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing was changed (--dry-run)"
    assert partitions(kafka, generation) == {}


def test_changed_settings_are_shown_and_applied(
    apply: Apply, generation: int, kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    apply()
    capsys.readouterr()
    changed = ("cluster.topics.stage_retention_hours=1", "cluster.topics.compression=zstd")
    assert apply(*changed) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"~ flow.minutes.g{generation} retention.ms 259200000 -> 3600000" in lines
    assert f"~ usage.rated.g{generation} compression.type producer -> zstd" in lines
    assert lines[-1] == "created 0 topics, changed 14 configs"
    now = configs(kafka, f"flow.minutes.g{generation}")
    assert (now["retention.ms"], now["compression.type"]) == ("3600000", "zstd")
    assert apply(*changed) == 0
    assert capsys.readouterr().out.startswith("nothing to do")


def test_a_config_that_somebody_else_set_stays(apply: Apply, generation: int, kafka: Kafka) -> None:
    apply()
    topic = f"usage.rated.g{generation}"
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.alter_configs([ConfigResource("TOPIC", topic, {"segment.bytes": "33554432"})])
    admin.close()
    apply("cluster.topics.rated_retention_hours=5")
    now = configs(kafka, topic)
    assert (now["segment.bytes"], now["retention.ms"]) == ("33554432", "18000000")


def test_a_topic_with_other_partitions_is_told_and_the_rest_is_created(
    apply: Apply, generation: int, kafka: Kafka, capsys: pytest.CaptureFixture[str]
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.create_topics({f"usage.rated.g{generation}": {"num_partitions": 2}})
    admin.close()
    assert apply() == 1
    assert (
        f"! usage.rated.g{generation} has 2 partitions, wanted 3:"
        " partitions grow by `flowrate topics grow`"
    ) in capsys.readouterr().out.splitlines()
    made = partitions(kafka, generation)
    assert made.pop(f"usage.rated.g{generation}") == 2
    assert set(made.values()) == {3}


def test_a_setting_of_partitions_that_came_too_late_is_told(
    apply: Apply, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tables(database_url)
    assert apply("cluster.topics.partitions=12", flags=("--dry-run",)) == 1
    assert (
        "! cluster.topics.partitions is 12, the topics have 3:"
        " partitions grow by `flowrate topics grow`"
    ) in capsys.readouterr().out.splitlines()


@pytest.mark.usefixtures("generation")
def test_more_replicas_than_brokers_is_one_line(
    apply: Apply, capsys: pytest.CaptureFixture[str]
) -> None:
    assert apply("cluster.topics.replication_factor=3") == 1
    told = capsys.readouterr().err
    assert told.startswith("flowrate: cluster.topics.replication_factor: Kafka has too few brokers")
    assert told.count("\n") == 1


@pytest.mark.usefixtures("generation")
def test_a_broker_that_is_not_there_is_one_line_naming_the_setting(
    apply: Apply, capfd: pytest.CaptureFixture[str]
) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert apply(f"cluster.kafka.bootstrap_servers={address}") == 1
    told = capfd.readouterr().err
    assert told.startswith(
        f"flowrate: cluster.kafka.bootstrap_servers: {address} cannot be reached: "
    )
    assert told.count("\n") == 1


@pytest.mark.usefixtures("generation")
def test_a_broker_that_does_not_answer_is_one_line_naming_the_setting(
    apply: Apply, kafka: Kafka, capfd: pytest.CaptureFixture[str]
) -> None:
    kafka.pause()
    try:
        assert apply() == 1
    finally:
        kafka.resume()
    told = capfd.readouterr().err
    assert told == (
        f"flowrate: cluster.kafka.bootstrap_servers: {kafka.bootstrap} does not answer within 4 s\n"
    )


def test_a_database_that_is_not_there_is_one_line_naming_the_setting(
    apply: Apply, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql://flowrate:flowrate@127.0.0.1:{free_port()}/flowrate"
    assert apply(f"cluster.database_url={url}") == 1
    told = capfd.readouterr().err
    assert told.startswith("flowrate: cluster.database_url: connection failed")
    assert told.count("\n") == 1


def test_a_database_before_its_migration_says_so(
    apply: Apply, capsys: pytest.CaptureFixture[str]
) -> None:
    assert apply() == 1
    assert "run `flowrate migrate`" in capsys.readouterr().err


def test_embedded_mode_has_no_topics(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics", "apply", "--set", "mode=embedded"]) == 2
    assert 'expected "cluster"' in capsys.readouterr().err
