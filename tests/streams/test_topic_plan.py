"""Topics as wanted and as they are: what is created, changed, and left for an operator."""

from __future__ import annotations

import dataclasses

from rating.connections import KafkaConfig
from streams.config import TopicsConfig
from streams.topic_plan import TopicLayout, compare, describe, wanted_topics
from streams.topics import KAFKA_TOPICS


def wanted(generation: int = 1, partitions: int = 64, **keys: object) -> tuple[TopicLayout, ...]:
    config = dataclasses.replace(TopicsConfig(), **keys)  # type: ignore[arg-type]
    return wanted_topics(config, KafkaConfig(), generation, partitions)


def present(*topics: TopicLayout) -> dict[str, TopicLayout]:
    return {topic.name: topic for topic in topics}


def test_a_generation_has_every_topic_with_the_same_number_of_partitions() -> None:
    topics = wanted(generation=3, partitions=128)
    assert [topic.name for topic in topics] == [f"{name}.g3" for name in KAFKA_TOPICS]
    assert {topic.partitions for topic in topics} == {128}
    assert {topic.replication_factor for topic in topics} == {3}


def test_each_kind_of_topic_is_kept_as_long_as_its_setting_says() -> None:
    topics = wanted(raw_retention_hours=10, stage_retention_hours=0.5, rated_retention_hours=100)
    assert {topic.name: topic.configs["retention.ms"] for topic in topics} == {
        "flow.datagrams.g1": "36000000",
        "radius.accounting.g1": "36000000",
        "flow.minutes.g1": "1800000",
        "nat.minutes.g1": "1800000",
        "nat.events.g1": "1800000",
        "session.bindings.g1": "1800000",
        "usage.measured.g1": "1800000",
        "usage.rated.g1": "360000000",
        "dead.letters.g1": "36000000",
    }


def test_a_topic_carries_what_the_settings_say() -> None:
    topic = wanted(min_insync_replicas=2, compression="zstd")[0]
    assert {name: topic.configs[name] for name in topic.configs if name != "retention.ms"} == {
        "cleanup.policy": "delete",
        "compression.type": "zstd",
        "max.message.bytes": "8388608",
        "min.insync.replicas": "2",
    }


def test_where_nothing_is_there_everything_is_created() -> None:
    plan = compare(wanted(), {})
    assert plan.creations == wanted()
    assert next(describe(plan)) == (
        "+ create flow.datagrams.g1: 64 partitions, 3 replicas, cleanup.policy delete,"
        " compression.type producer, max.message.bytes 8388608, min.insync.replicas 2,"
        " retention.ms 604800000"
    )


def test_where_all_is_as_wanted_there_is_nothing_to_do() -> None:
    plan = compare(wanted(), present(*wanted()))
    assert plan.is_empty
    assert list(describe(plan)) == []


def test_a_changed_setting_changes_only_the_topics_that_it_is_about() -> None:
    plan = compare(wanted(stage_retention_hours=24), present(*wanted()))
    assert not plan.creations
    assert list(describe(plan)) == [
        f"~ {name}.g1 retention.ms 259200000 -> 86400000"
        for name in (
            *("flow.minutes", "nat.minutes", "nat.events"),
            *("session.bindings", "usage.measured"),
        )
    ]


def test_configs_of_others_are_nobodys_business() -> None:
    topics = [
        dataclasses.replace(topic, configs={**topic.configs, "segment.bytes": "1"})
        for topic in wanted()
    ]
    assert compare(wanted(), present(*topics)).is_empty


def test_partitions_and_replicas_are_told_and_left_alone() -> None:
    topics = [dataclasses.replace(wanted()[0], partitions=8, replication_factor=1), *wanted()[1:]]
    plan = compare(wanted(), present(*topics))
    assert plan.is_empty
    assert list(describe(plan)) == [
        "! flow.datagrams.g1 has 8 partitions, wanted 64:"
        " partitions grow by `flowrate topics grow`",
        "! flow.datagrams.g1 has 1 replica, wanted 3:"
        " brokers take over replicas by Kafka's own kafka-reassign-partitions",
    ]
