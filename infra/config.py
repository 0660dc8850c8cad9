"""Settings of the process frame itself: clock, logs, metrics endpoint, supervisor."""

from __future__ import annotations

import dataclasses
from typing import Literal

PROCESSES = ("store", "engine", "office", "web", "radius", "receive")
"""The processes of embedded mode in the order they start; they stop in the reverse order, so
that nothing is received any more when the engine takes what is left."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClockConfig:
    """What time Flowrate believes it is. Leave it alone outside demonstrations and tests."""

    starts_at: str = "now"
    """"now" is the system's time. "20 s before month end" starts the clock that long before the
    end of the running month, an instant ("2026-01-31T23:59:40+05:45") at that instant. The shift
    is computed once per data directory and kept in clock.json."""
    time_zone: str = "UTC"
    """Time zone whose month ends, for the "before month end" form (IANA name, Asia/Kathmandu)."""


@dataclasses.dataclass(frozen=True, slots=True)
class LogsConfig:
    """Structured logs on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is written."""
    format: Literal["logfmt", "json"] = "logfmt"
    """One line per record, as key=value pairs or as a JSON object."""
    repeats_per_minute: int = 30
    """Most lines per minute from one place in the code, so that hostile input cannot fill a disk;
    what was left out is counted in the next line from there."""


@dataclasses.dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Prometheus metrics and health of each process, on loopback."""

    is_enabled: bool = True
    """Serve /metrics and /health."""
    listen_address: str = "127.0.0.1"
    """Address the endpoints bind."""
    first_port: int = 9471
    """TCP port of the process store; engine, office, web, radius and receive follow, one up each.
    0 takes any free port. A port in use is replaced by a free one, with a warning."""


@dataclasses.dataclass(frozen=True, slots=True)
class SupervisorConfig:
    """How `flowrate serve` keeps its processes running."""

    restart_wait_first_seconds: float = 0.5
    """Wait before a process that died is started again; doubled at each death in a row."""
    restart_wait_max_seconds: float = 30.0
    """Longest such wait."""
    stable_after_seconds: float = 60.0
    """A process that lived this long starts again with the first wait."""
    stop_timeout_seconds: float = 10.0
    """How long a process may take to stop before it is killed."""
