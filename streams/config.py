"""Settings of the stage runners."""

from __future__ import annotations

import dataclasses
from typing import Literal

PARTITIONS_MAX = 4096
"""Most partitions of a cluster's topics."""


@dataclasses.dataclass(frozen=True, slots=True)
class StreamsConfig:
    """How the embedded runner reads, batches and keeps (DESIGN §5)."""

    partitions: int = 1
    """Partitions of every keyed topic; fixed for the life of a data directory."""
    poll_interval_seconds: float = 0.1
    """How long the engine waits between passes when it is not behind."""
    turn_pause_milliseconds: int = 5
    """Pause after a pass that left something, so that API and office get at the database too."""
    batch_blocks_max: int = 64
    """Raw blocks that one step takes from a log at most."""
    batch_octets_max: int = 6_291_456
    """Octets of raw blocks after which one step takes no further block; the first always counts."""
    batch_rows_max: int = 200_000
    """Topic rows after which a step takes no further record of that topic."""
    state_cache_entries_max: int = 400_000
    """Decoded state values kept in memory per task; the rest is read from SQLite."""
    trim_interval_seconds: float = 30.0
    """How often consumed topic records are deleted."""
    dead_letters_max: int = 10_000
    """Refused blocks kept as evidence in topic `dead.letters`; the oldest go first."""
    log_retention_days: float = 7.0
    """How long raw datagrams and packets are kept as evidence after the engine consumed them."""
    log_trim_interval_seconds: float = 300.0
    """How often old segments of the raw logs are looked for."""


def check(config: StreamsConfig) -> list[str]:
    """Return one message per setting that cannot work: the key and what was expected."""
    problems = []
    if not 1 <= config.partitions <= 256:
        problems.append(f"partitions = {config.partitions}: expected 1 to 256")
    if min(config.batch_blocks_max, config.batch_octets_max, config.batch_rows_max) < 1:
        problems.append("batch_blocks_max, batch_octets_max, batch_rows_max: expected at least 1")
    if config.poll_interval_seconds <= 0:
        problems.append(f"poll_interval_seconds = {config.poll_interval_seconds}: expected > 0")
    return problems


@dataclasses.dataclass(frozen=True, slots=True)
class TopicsConfig:
    """The topics of a cluster, as `flowrate topics apply` creates them."""

    partitions: int = 64
    """Partitions of every topic of the first generation; `flowrate topics grow` makes more."""
    replication_factor: int = 3
    """Brokers that keep each partition; 1 where there is one broker."""
    min_insync_replicas: int = 2
    """Brokers that must have a message before it counts as written (acks=all)."""
    compression: Literal["producer", "zstd", "lz4", "gzip", "snappy", "uncompressed"] = "producer"
    """Compression of the topics; "producer" keeps what the producers chose."""
    raw_retention_hours: float = 168.0
    """How long raw datagrams and accounting packets are kept as evidence."""
    stage_retention_hours: float = 72.0
    """How long what passes between stages is kept: longer than any outage of a worker."""
    rated_retention_hours: float = 1_488.0
    """How long rated usage is kept: what the warehouse can be rebuilt from (62 days)."""


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerConfig:
    """A worker of the cluster: Faust agents over the stages of the partitions it is given."""

    application_id: str = "flowrate"
    """Consumer group of all workers of one cluster."""
    session_timeout_seconds: float = 6.0
    """A worker silent for this long loses its partitions to the others."""
    heartbeat_interval_seconds: float = 2.0
    """How often a worker tells Kafka that it lives; a third of the timeout."""
    round_messages_max: int = 256
    """Most messages that one round of an agent takes; the rest waits in its queue."""
    round_octets_max: int = 16_777_216
    """Octets after which a round takes no further message; the first always counts."""
    queue_messages_max: int = 512
    """Messages that wait in front of an agent before it fetches no more."""
    fetch_interval_milliseconds: int = 50
    """Least time between two fetches from one broker; what comes meanwhile is fetched at once."""
    gather_interval_milliseconds: int = 2_000
    """Least time between two rounds of a stage whose rows wait for their minute anyway; each round
    of late rows costs about as much as one of twice as many."""
    state_cache_entries_max: int = 400_000
    """Decoded state values kept in memory per task; the rest is read from PostgreSQL."""
    mark_interval_milliseconds: int = 1_000
    """How often "received through T" is passed on behind the outputs, where it has moved."""
    idle_interval_milliseconds: int = 200
    """How often a worker without messages looks for rows that the API has appended."""
    relay_messages_max: int = 512
    """Most outbox rows that are on their way to Kafka at once."""
    gap_pause_seconds: float = 30.0
    """How long a worker that met a gap in a producer's numbers stands, seen by the metrics, before
    it ends."""
    stalled_after_seconds: float = 120.0
    """A worker whose positions stand still this long while its input grows ends itself. Longer than
    a restart of a broker, and than the longest round."""


def check_topics(config: TopicsConfig) -> list[str]:
    """Return one message per setting that cannot work: the key and what was expected."""
    problems = []
    if not 1 <= config.partitions <= PARTITIONS_MAX:
        problems.append(f"partitions = {config.partitions}: expected 1 to {PARTITIONS_MAX}")
    if not 1 <= config.min_insync_replicas <= config.replication_factor:
        problems.append(
            f"min_insync_replicas = {config.min_insync_replicas}: expected 1 to"
            f" replication_factor, {config.replication_factor}"
        )
    return problems


def check_worker(config: WorkerConfig) -> list[str]:
    """Return one message per setting that cannot work: the key and what was expected."""
    problems = []
    if config.heartbeat_interval_seconds * 2 > config.session_timeout_seconds:
        problems.append(
            f"heartbeat_interval_seconds = {config.heartbeat_interval_seconds}: expected at most"
            f" half of session_timeout_seconds, {config.session_timeout_seconds}"
        )
    limits = (config.round_messages_max, config.queue_messages_max, config.relay_messages_max)
    if min(*limits, config.round_octets_max) < 1:
        problems.append(
            "round_messages_max, round_octets_max, queue_messages_max, relay_messages_max:"
            " expected at least 1"
        )
    return problems
