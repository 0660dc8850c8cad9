"""Settings of the process frame itself: clock, logs, metrics endpoint, supervisor."""

from __future__ import annotations

import dataclasses
from typing import Literal

PROCESSES = ("store", "engine", "office", "web", "radius", "receive")
"""The processes of embedded mode in the order they start; they stop in the reverse order, so
that nothing is received any more when the engine takes what is left."""

ROLES = ("collect-flows", "collect-radius", "worker", "sink", "api", "act", "schedule")
"""The roles of a cluster, each the only process of its host or container that we know of."""


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
    """Serve /metrics, /health and /ready."""
    listen_address: str = "127.0.0.1"
    """Address the endpoints bind."""
    first_port: int = 9471
    """TCP port of the process store; engine, office, web, radius and receive follow, one up each.
    A role of a cluster takes it as it is: several on one machine are given one each. 0 takes any
    free port. A port in use is replaced by a free one, with a warning."""


@dataclasses.dataclass(frozen=True, slots=True)
class TracesConfig:
    """OpenTelemetry traces of single usage records through a cluster."""

    is_enabled: bool = False
    """Trace one block in `sample_one_in` from its datagrams to the charge."""
    endpoint: str = "http://127.0.0.1:4318/v1/traces"
    """Where spans are sent: OTLP over HTTP, with the path."""
    sample_one_in: int = 10_000
    """One block of datagrams or packets in so many is traced; 1 traces every one."""
    service_name: str = "flowrate"
    """``service.name`` of the spans."""
    queue_spans_max: int = 4_096
    """Spans that wait to be sent; beyond them spans are dropped."""
    export_interval_seconds: float = 2.0
    """How often spans are sent."""
    export_timeout_seconds: float = 5.0
    """How long sending may take before its spans are given up."""


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


def check_traces(config: TracesConfig) -> list[str]:
    """Return one message per setting that cannot work: the key and what was expected."""
    problems = []
    if not config.endpoint.startswith(("http://", "https://")):
        problems.append(f"endpoint = {config.endpoint!r}: expected http://host:4318/v1/traces")
    if min(config.sample_one_in, config.queue_spans_max) < 1:
        problems.append("sample_one_in, queue_spans_max: expected at least 1")
    if min(config.export_interval_seconds, config.export_timeout_seconds) <= 0:
        problems.append("export_interval_seconds, export_timeout_seconds: expected > 0")
    return problems
