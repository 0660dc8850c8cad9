"""Reads, creates and changes topics; what is wrong is one sentence and the setting to look at."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import kafka.errors
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource

from rating.connections import KafkaConfig, client_arguments
from streams.topic_plan import ConfigChange, TopicLayout

UNKNOWN_TOPIC = 3


class KafkaRefusedError(Exception):
    """Kafka cannot be reached, or refuses; `keys` are the cluster's settings to look at."""

    def __init__(self, reason: str, *keys: str) -> None:
        """Take one sentence without a full stop, and keys below `cluster`."""
        super().__init__(reason)
        self.keys = keys


class KafkaTopics:
    """The topics of one Kafka cluster. Every method raises KafkaRefusedError."""

    def __init__(self, admin: KafkaAdminClient) -> None:
        """Take a client that has found its brokers (`open_topics`)."""
        self._admin = admin

    def read(self, names: Iterable[str]) -> dict[str, TopicLayout]:
        """Return those of the named topics that are there, by name, with all their configs."""
        with _refusals():
            told = self._admin.describe_topics(list(names))
            for topic in told:
                if topic["error_code"] not in (0, UNKNOWN_TOPIC):
                    raise kafka.errors.for_code(topic["error_code"])(topic["name"])
            there = [topic for topic in told if topic["error_code"] == 0]
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
                told = self._admin.create_topics(
                    {
                        topic.name: {
                            "num_partitions": topic.partitions,
                            "replication_factor": topic.replication_factor,
                            "configs": dict(topic.configs),
                        }
                    },
                    raise_errors=False,
                )
                (outcome,) = told["topics"]
                if outcome["error_code"]:
                    error = kafka.errors.for_code(outcome["error_code"])()
                    raise _refusal(error, f"{topic.name}: {outcome['error_message'] or error}")
                self._admin.wait_for_topics([topic.name])

    def change(self, changes: Sequence[ConfigChange]) -> None:
        """Set configs of topics; what is not named stays."""
        by_topic: dict[str, dict[str, str]] = {}
        for change in changes:
            by_topic.setdefault(change.topic, {})[change.name] = change.wanted
        if not by_topic:
            return
        resources = [ConfigResource("TOPIC", name, configs) for name, configs in by_topic.items()]
        with _refusals():
            told = self._admin.alter_configs(resources, raise_on_unknown=False)
        for name, outcome in told["topic"].items():
            if outcome != "OK":
                raise KafkaRefusedError(f"Kafka does not change topic {name}: {outcome}")

    def _read_configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        resources = [ConfigResource("TOPIC", name) for name in names]
        told = self._admin.describe_configs(resources, config_filter="all")["topic"]
        for name in names:
            # The client drops the error; a topic without any config is one we may not see.
            if not told.get(name):
                raise kafka.errors.TopicAuthorizationFailedError(name)
        return {
            name: {key: str(entry["value"]) for key, entry in told[name].items()} for name in names
        }


@contextmanager
def open_topics(config: KafkaConfig) -> Iterator[KafkaTopics]:
    """Connect within config.request_timeout_milliseconds; KafkaRefusedError says why it failed."""
    for key in ("ssl_ca_file", "ssl_certificate_file", "ssl_key_file"):
        file = getattr(config, key)
        if file and not Path(file).is_file():
            raise KafkaRefusedError(f"there is no file {file}", f"kafka.{key}")
    with _overheard() as causes:
        try:
            admin = KafkaAdminClient(
                **client_arguments(config), bootstrap_timeout_ms=config.request_timeout_milliseconds
            )
        except (kafka.errors.KafkaError, OSError) as error:
            raise _unreachable(config, [*causes, error]) from error
    try:
        yield KafkaTopics(admin)
    finally:
        admin.close()


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except kafka.errors.KafkaError as error:
        raise _refusal(error, _sentence(error)) from error


def _refusal(error: BaseException, told: str) -> KafkaRefusedError:
    """Return the error for a request that Kafka refused, with what it told us."""
    if isinstance(error, kafka.errors.AuthorizationError):
        return KafkaRefusedError(
            f"this user may not administer the topics: {told}", "kafka.sasl_username"
        )
    if isinstance(error, kafka.errors.InvalidReplicationFactorError):
        return KafkaRefusedError(f"Kafka has too few brokers: {told}", "topics.replication_factor")
    return KafkaRefusedError(f"Kafka refuses: {told}", "kafka.bootstrap_servers")


def _unreachable(config: KafkaConfig, causes: Sequence[BaseException]) -> KafkaRefusedError:
    """Return the error for a connection that failed, of its causes the most telling."""
    for cause in causes:
        if isinstance(cause, kafka.errors.SaslAuthenticationFailedError):
            return KafkaRefusedError(
                f"Kafka does not let {config.sasl_username!r} in ({config.sasl_mechanism})",
                "kafka.sasl_username",
                "kafka.sasl_password",
            )
    for cause in causes:
        if "SSL" in str(cause):
            return KafkaRefusedError(
                f"no encrypted connection: {_sentence(cause)}",
                "kafka.ssl_ca_file",
                "kafka.ssl_certificate_file",
            )
    servers = ", ".join(config.bootstrap_servers)
    seconds = config.request_timeout_milliseconds / 1000
    why = f": {_sentence(causes[0])}" if len(causes) > 1 else ""
    return KafkaRefusedError(
        f"no broker at {servers} answered within {seconds:g} s{why}", "kafka.bootstrap_servers"
    )


def _sentence(error: BaseException) -> str:
    """Return the beginning of an error's text, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__


class _Causes(logging.Handler):
    """Collects the exceptions that kafka-python logs: its timeout does not say what led to it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.causes: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        arguments: Any = record.args if isinstance(record.args, tuple) else ()
        self.causes += [value for value in arguments if isinstance(value, BaseException)]


@contextmanager
def _overheard() -> Iterator[list[BaseException]]:
    """Collect what kafka-python's log says about failed connections, instead of printing it."""
    logger = logging.getLogger("kafka")
    handler = _Causes()
    propagates = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield handler.causes
    finally:
        logger.propagate = propagates
        logger.removeHandler(handler)
