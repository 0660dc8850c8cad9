"""What the web process is given: its clock, database, topics, warehouse, secrets.

`infra/wiring.py` chooses the adapters and hands them over as one frozen `Services`. The API cannot
import streams, so the topic append is a port here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import polars as pl
from sqlalchemy import Connection, Engine

from api.config import ApiConfig
from billing.config import SpeedProfileConfig


class AppendRows(Protocol):
    """Appends rows to a topic inside the caller's transaction.

    Order is that of the frame. A failure raises and the caller rolls back, so nothing of the
    command is visible. The rows become readable with the caller's commit, never before.
    """

    def __call__(
        self,
        connection: Connection,
        topic: str,
        producer: str,
        frame: pl.DataFrame,
        /,
    ) -> None:
        """Append every row of `frame` to the partitions that the topic's routing gives it."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class UsagePoint:
    """Octets of one time step; traffic_class is ``""`` where the series is not split."""

    start_at: int
    traffic_class: str
    octets_up: int
    octets_down: int


@dataclasses.dataclass(frozen=True, slots=True)
class UsageTotal:
    """Octets of one key (a subscriber, a traffic class) over a range."""

    key: str
    octets_up: int
    octets_down: int


@dataclasses.dataclass(frozen=True, slots=True)
class FlowQuality:
    """How sure flow usage is over one step that begins at start_at (ms); octets are both ways.

    octets are scaled by the sampling rate, octets_exported as exporters counted them,
    octets_rate_unknown the part of octets whose rate nobody knew. octets_missing is what loss on
    the way may have taken beyond them, an estimate; octets_unnumbered came from exporters whose
    datagrams bear no numbers, so that only the collector's own drops are in the estimate.
    """

    start_at: int
    octets: int
    octets_exported: int
    octets_rate_unknown: int
    octets_missing: int
    octets_unnumbered: int


@dataclasses.dataclass(frozen=True, slots=True)
class EvidenceRow:
    """A piece of an invoice line: one local day, one session or one minute of it.

    key is the day (``2026-11-21``), the session_id, or the minute's instant as ms text.
    """

    key: str
    first_at: int
    last_at: int
    octets_up: int
    octets_down: int
    quantity: int
    rows: int


@dataclasses.dataclass(frozen=True, slots=True)
class RatedRow:
    """One rated row: a class's octets (meter_id ``volume``) or a meter's quantity and charge.

    minute_at and received_at are ms; charge is exact decimal text in major units. log_partition
    and log_position are its place in the topic `usage.rated`, which never changes.
    """

    minute_at: int
    subscriber_id: str
    session_id: str
    source: str
    traffic_class: str
    meter_id: str
    octets_up: int
    octets_down: int
    quantity: int
    charge: str
    is_late: bool
    received_at: int
    log_partition: int
    log_position: int


@dataclasses.dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which rated rows count: [from_at, until_at) in ms; None names nothing and so filters none.

    subscriber_ids and rating_keys are a whitelist; an empty one matches no row.
    """

    from_at: int
    until_at: int
    subscriber_ids: Sequence[str] | None = None
    rating_keys: Sequence[str] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class EvidenceFilter:
    """Which rated rows stand behind an invoice line; day and session narrow it further."""

    rating_key: str
    from_at: int
    until_at: int
    timezone: str
    meter_id: str
    session_id: str | None = None


class UsageQueries(Protocol):
    """Reads rated usage from the warehouse.

    Results lag the engine by the sink's batch. Where the store does not answer, every method
    raises WarehouseUnavailableError; none returns a partial result.
    """

    def series(
        self, which: UsageFilter, step: str, timezone: str, by_class: bool
    ) -> list[UsagePoint]:
        """Return ascending points; step is minute, hour or day (local days of `timezone`)."""
        ...

    def by_class(self, which: UsageFilter) -> list[UsageTotal]:
        """Return the octets per traffic class, greatest first."""
        ...

    def top_subscribers(self, which: UsageFilter, limit: int) -> list[UsageTotal]:
        """Return the subscribers with the most octets, greatest first."""
        ...

    def flow_quality(self, which: UsageFilter, step: str, timezone: str) -> list[FlowQuality]:
        """Return ascending steps; step is hour (UTC), day (local) or range (at most one).

        which must name subscribers or rating keys. Hours count whole, each once it is over.
        """
        ...

    def evidence(self, which: EvidenceFilter, level: str) -> list[EvidenceRow]:
        """Return the line's usage per `level` (day, session, minute), ascending by first_at."""
        ...

    def rated_rows(self, which: EvidenceFilter, limit: int) -> list[RatedRow]:
        """Return the rows themselves by minute and log position, at most `limit`.

        Of one session: also those that are of no session, which count all of a minute's.
        """
        ...


class WarehouseUnavailableError(Exception):
    """The warehouse did not answer, or answered with an error; the cause is chained."""


@dataclasses.dataclass(frozen=True)
class Services:
    """Everything the API and its pages need from outside.

    now_ms returns the clock in ms. new_id takes a prefix (``sub``) and returns a fresh id.
    new_token returns that many random octets, for keys shown once. secret signs cookies and login
    links. operator_token is the installation's own API key, which reaches every branch (empty:
    there is none); the keys of branches are rows of `api_key`. speed_profiles are those that the
    office can set; empty where nobody said, and then a name is not checked. read_processes
    returns supervisor.json's content, or None where nothing supervises; is_cluster says that the
    processes are roles on several machines, of which only their own metrics tell. read_watermarks
    returns stage → "received through" in ms. count adds to a counter of `api.metrics`.
    """

    engine: Engine
    usage: UsageQueries
    append_rows: AppendRows
    now_ms: Callable[[], int]
    new_id: Callable[[str], str]
    new_token: Callable[[int], bytes]
    secret: bytes = dataclasses.field(repr=False)
    operator_token: str = dataclasses.field(default="", repr=False)
    speed_profiles: Sequence[SpeedProfileConfig] = ()
    config: ApiConfig = dataclasses.field(default_factory=ApiConfig)
    read_processes: Callable[[], Mapping[str, Any] | None] = lambda: None
    is_cluster: bool = False
    read_watermarks: Callable[[], Mapping[str, int]] = dict
    count: Callable[[str, int], None] = lambda _name, _increment: None
