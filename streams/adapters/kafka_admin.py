"""Reads, creates and changes topics; what is wrong is one sentence and the setting to look at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import kafka.errors
from kafka import KafkaAdminClient, OffsetSpec, TopicPartition
from kafka.admin import ConfigResource

from rating.connections import KafkaConfig, client_arguments
from streams.adapters.kafka_login import KafkaRefusedError, check_login, told
from streams.topic_plan import ConfigChange, TopicLayout

UNKNOWN_TOPIC = 3
CREATION_MILLISECONDS = 60_000
"""How long the partitions of a new topic may take to find their leaders."""


class KafkaTopics:
    """The topics of one Kafka cluster. Every method raises KafkaRefusedError."""

    def __init__(self, admin: KafkaAdminClient) -> None:
        """Take a client that has found its brokers (`open_topics`)."""
        self._admin = admin

    def read(self, names: Iterable[str]) -> dict[str, TopicLayout]:
        """Return those of the named topics that are there, by name, with all their configs."""
        with _refusals():
            answer = self._admin.describe_topics(list(names))
            for topic in answer:
                if topic["error_code"] not in (0, UNKNOWN_TOPIC):
                    raise kafka.errors.for_code(topic["error_code"])(topic["name"])
            there = [topic for topic in answer if topic["error_code"] == 0]
            configs = self._read_configs([topic["name"] for topic in there])
        return {
            topic["name"]: TopicLayout(
                name=topic["name"],
                partitions=len(topic["partitions"]),
                replication_factor=min(
                    len(partition["replica_nodes"]) for partition in topic["partitions"]
                ),
                configs=configs[topic["name"]],
            )
            for topic in there
        }

    def create(self, topics: Sequence[TopicLayout]) -> None:
        """Create topics and wait until each partition has a leader."""
        # One request each: Kafka's controller refuses one of more than 10,000 partitions.
        for topic in topics:
            with _refusals():
                answer = self._admin.create_topics(
                    {
                        topic.name: {
                            "num_partitions": topic.partitions,
                            "replication_factor": topic.replication_factor,
                            "configs": dict(topic.configs),
                        }
                    },
                    raise_errors=False,
                )
                (outcome,) = answer["topics"]
                if outcome["error_code"]:
                    error = kafka.errors.for_code(outcome["error_code"])()
                    raise _refusal(error, f"{topic.name}: {outcome['error_message'] or error}")
                self._admin.wait_for_topics([topic.name], timeout_ms=CREATION_MILLISECONDS)

    def ends(self, topics: Mapping[str, int]) -> dict[tuple[str, int], int]:
        """Return the offset behind the last message of each partition; topics: name -> count."""
        return self._offsets(topics, OffsetSpec.LATEST)

    def beginnings(self, topics: Mapping[str, int]) -> dict[tuple[str, int], int]:
        """Return the offset of the first message that is kept, as `ends` does of the last."""
        return self._offsets(topics, OffsetSpec.EARLIEST)

    def _offsets(
        self, partitions: Mapping[str, int], spec: OffsetSpec
    ) -> dict[tuple[str, int], int]:
        wanted = [
            TopicPartition(name, n) for name, count in partitions.items() for n in range(count)
        ]
        with _refusals():
            answer = self._admin.list_partition_offsets(dict.fromkeys(wanted, spec))
        return {(at.topic, at.partition): int(found.offset) for at, found in answer.items()}

    def delete(self, names: Sequence[str]) -> None:
        """Delete topics with everything in them; those that are not there are passed over."""
        there = list(self.read(names))
        if there:
            with _refusals():
                self._admin.delete_topics(there)

    def change(self, changes: Sequence[ConfigChange]) -> None:
        """Set configs of topics; what is not named stays."""
        by_topic: dict[str, dict[str, str]] = {}
        for change in changes:
            by_topic.setdefault(change.topic, {})[change.name] = change.wanted
        if not by_topic:
            return
        resources = [ConfigResource("TOPIC", name, configs) for name, configs in by_topic.items()]
        with _refusals():
            answer = self._admin.alter_configs(resources, raise_on_unknown=False)
        for name, outcome in answer["topic"].items():
            if outcome != "OK":
                raise KafkaRefusedError(f"Kafka does not change topic {name}: {outcome}")

    def _read_configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource("TOPIC", name) for name in names]
        answer = self._admin.describe_configs(resources, config_filter="all")["topic"]
        for name in names:
            # The client drops the error; a topic without any config is one we may not see.
            if not answer.get(name):
                raise kafka.errors.TopicAuthorizationFailedError(name)
        return {
            name: {key: str(entry["value"]) for key, entry in answer[name].items()}
            for name in names
        }


@contextmanager
def open_topics(config: KafkaConfig) -> Iterator[KafkaTopics]:
    """Connect within config.request_timeout_milliseconds; KafkaRefusedError says why it failed."""
    check_login(config)
    with _refusals():
        admin = KafkaAdminClient(
            **client_arguments(config), bootstrap_timeout_ms=config.request_timeout_milliseconds
        )
    try:
        yield KafkaTopics(admin)
    finally:
        admin.close()


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except kafka.errors.KafkaError as error:
        raise _refusal(error, told(error)) from error


def _refusal(error: BaseException, reason: str) -> KafkaRefusedError:
    """Return the error for a request that Kafka refused, with what it says."""
    if isinstance(error, kafka.errors.AuthorizationError):
        return KafkaRefusedError(
            f"this user may not administer the topics: {reason}", "kafka.sasl_username"
        )
    if isinstance(error, kafka.errors.InvalidReplicationFactorError):
        return KafkaRefusedError(
            f"Kafka has too few brokers: {reason}", "topics.replication_factor"
        )
    return KafkaRefusedError(f"Kafka refuses: {reason}", "kafka.bootstrap_servers")
