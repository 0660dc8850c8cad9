"""Settings of the stage runner."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class StreamsConfig:
    """How the embedded runner reads, batches and keeps (DESIGN §5)."""

    partitions: int = 1
    """Partitions of every keyed topic; fixed for the life of a data directory."""
    poll_interval_seconds: float = 0.1
    """How long the engine waits when it found nothing to do."""
    turn_pause_milliseconds: int = 5
    """Pause after a pass that found work, so that API and office get at the database too."""
    batch_blocks_max: int = 64
    """Raw blocks that one step takes from a log at most."""
    batch_octets_max: int = 8_388_608
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
