"""What the topics of a generation should be in Kafka, what they are, and what is to be done.

Kafka cannot take partitions away, and more of them would send the keys elsewhere: the number of
partitions changes only by a new generation of topics (`flowrate topics grow`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from rating.connections import KafkaConfig
from streams.config import TopicsConfig
from streams.topics import KAFKA_TOPICS, RAW_LOGS, physical_topic

HOUR_MILLISECONDS = 3_600_000


@dataclasses.dataclass(frozen=True, slots=True)
class TopicLayout:
    """A topic as Kafka has it or should have it; name is the physical one.

    configs are Kafka's own names and texts: ``{"retention.ms": "604800000"}``.
    """

    name: str
    partitions: int
    replication_factor: int
    configs: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class ConfigChange:
    """One setting of one topic that differs: what it is and what it becomes."""

    topic: str
    name: str
    present: str
    wanted: str


@dataclasses.dataclass(frozen=True, slots=True)
class TopicPlan:
    """What brings the topics to what is wanted; obstacles are sentences about what cannot."""

    creations: tuple[TopicLayout, ...]
    changes: tuple[ConfigChange, ...]
    obstacles: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to apply."""
        return not self.creations and not self.changes


def wanted_topics(
    config: TopicsConfig, kafka: KafkaConfig, generation: int, partitions: int
) -> tuple[TopicLayout, ...]:
    """Return the topics of a generation, each with so many partitions."""
    return tuple(
        TopicLayout(
            name=physical_topic(topic, generation),
            partitions=partitions,
            replication_factor=config.replication_factor,
            configs={
                "cleanup.policy": "delete",
                "compression.type": config.compression,
                "max.message.bytes": str(kafka.message_octets_max),
                "min.insync.replicas": str(config.min_insync_replicas),
                "retention.ms": str(round(_retention_hours(config, topic) * HOUR_MILLISECONDS)),
            },
        )
        for topic in KAFKA_TOPICS
    )


def compare(wanted: tuple[TopicLayout, ...], present: Mapping[str, TopicLayout]) -> TopicPlan:
    """Return what is to be done where Kafka has the topics of present, by name."""
    existing = [(topic, present[topic.name]) for topic in wanted if topic.name in present]
    return TopicPlan(
        creations=tuple(topic for topic in wanted if topic.name not in present),
        changes=tuple(
            ConfigChange(topic.name, name, there.configs.get(name, "unset"), value)
            for topic, there in existing
            for name, value in sorted(topic.configs.items())
            if there.configs.get(name) != value
        ),
        obstacles=tuple(
            obstacle for topic, there in existing for obstacle in _obstacles(topic, there)
        ),
    )


def describe(plan: TopicPlan) -> Iterator[str]:
    """Yield a plan as lines: ``+`` is created, ``~`` changed, ``!`` left as it is."""
    for topic in plan.creations:
        configs = ", ".join(f"{name} {value}" for name, value in sorted(topic.configs.items()))
        yield (
            f"+ create {topic.name}: {_count(topic.partitions, 'partition')},"
            f" {_count(topic.replication_factor, 'replica')}, {configs}"
        )
    for change in plan.changes:
        yield f"~ {change.topic} {change.name} {change.present} -> {change.wanted}"
    for obstacle in plan.obstacles:
        yield f"! {obstacle}"


def _retention_hours(config: TopicsConfig, topic: str) -> float:
    if topic == "usage.rated":
        return config.rated_retention_hours
    # Dead letters are evidence of what came in, as the raw logs are.
    if topic in RAW_LOGS or topic == "dead.letters":
        return config.raw_retention_hours
    return config.stage_retention_hours


def _obstacles(topic: TopicLayout, there: TopicLayout) -> Iterator[str]:
    if there.partitions != topic.partitions:
        yield (
            f"{topic.name} has {_count(there.partitions, 'partition')}, wanted"
            f" {topic.partitions}: partitions grow by `flowrate topics grow`"
        )
    if there.replication_factor != topic.replication_factor:
        yield (
            f"{topic.name} has {_count(there.replication_factor, 'replica')}, wanted"
            f" {topic.replication_factor}: brokers take over replicas by Kafka's own"
            " kafka-reassign-partitions"
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
