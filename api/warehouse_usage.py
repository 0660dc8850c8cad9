"""The port `UsageQueries` over the warehouse's own queries and clickhouse-connect's client."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from typing import Any

from api.instants import MINUTE_MS
from api.ports import (
    EvidenceFilter,
    EvidenceRow,
    FlowQuality,
    RatedRow,
    UsageFilter,
    UsagePoint,
    UsageTotal,
    WarehouseUnavailableError,
)
from warehouse import queries
from warehouse.connect import WarehouseClient, WarehouseError

log = logging.getLogger(__name__)

_SAME_NAMES = [
    field.name
    for field in dataclasses.fields(RatedRow)
    if field.name not in ("minute_at", "charge")
]
"""Fields of a rated row that the warehouse's answer calls the same."""


class WarehouseUsage:
    """Rated usage from the warehouse.

    The client is made at the first question and made again after a failure, since the store may
    start after this process, and restart. Threads may share it.
    """

    def __init__(self, connect: Callable[[], WarehouseClient]) -> None:
        """Keep how to connect; connect raises WarehouseError where nothing answers."""
        self._connect = connect
        self._client: WarehouseClient | None = None
        self._lock = threading.Lock()

    def series(
        self, which: UsageFilter, step: str, timezone: str, by_class: bool
    ) -> list[UsagePoint]:
        """Return ascending points; see the port."""
        scope, values = _scope(which)
        query = queries.series(step, scope, by_class=by_class)
        if "time_zone" in query.parameters:
            values["time_zone"] = timezone
        rows = self._ask(query, values)
        return [UsagePoint(r.at, r.traffic_class, r.octets_up, r.octets_down) for r in rows]

    def by_class(self, which: UsageFilter) -> list[UsageTotal]:
        """Return the octets per traffic class; see the port."""
        scope, values = _scope(which)
        rows = self._ask(queries.by_class(scope), values)
        return [UsageTotal(row.key, row.octets_up, row.octets_down) for row in rows]

    def top_subscribers(self, which: UsageFilter, limit: int) -> list[UsageTotal]:
        """Return the subscribers with the most octets; see the port."""
        scope, values = _scope(which)
        rows = self._ask(queries.top_subscribers(scope), {**values, "limit": limit})
        return [UsageTotal(row.key, row.octets_up, row.octets_down) for row in rows]

    def flow_quality(self, which: UsageFilter, step: str, timezone: str) -> list[FlowQuality]:
        """Return how sure flow usage is, per step; see the port."""
        scope, values = _scope(which)
        query = queries.flow_quality(step, scope)
        if "time_zone" in query.parameters:
            values["time_zone"] = timezone
        return [FlowQuality(*dataclasses.astuple(row)) for row in self._ask(query, values)]

    def evidence(self, which: EvidenceFilter, level: str) -> list[EvidenceRow]:
        """Return the line's pieces; see the port."""
        narrow = which.session_id is not None
        query = queries.evidence(level, of_session=narrow)
        values: dict[str, Any] = {
            "rating_key": which.rating_key,
            "meter_id": which.meter_id,
            "from_at": which.from_at,
            "until_at": which.until_at,
        }
        if narrow:
            values["session_id"] = which.session_id
        if "time_zone" in query.parameters:
            values["time_zone"] = which.timezone
        return [EvidenceRow(**dataclasses.asdict(row)) for row in self._ask(query, values)]

    def rated_rows(self, which: EvidenceFilter, limit: int) -> list[RatedRow]:
        """Return the rated rows; see the port."""
        values = {
            "rating_key": which.rating_key,
            "meter_id": which.meter_id,
            "from_at": which.from_at,
            "until_at": which.until_at,
            "limit": limit,
        }
        rows = self._ask(queries.RATED_ROWS, values)
        return [
            RatedRow(
                minute_at=row.at,
                charge=f"{row.charge.normalize():f}",
                **{name: getattr(row, name) for name in _SAME_NAMES},
            )
            for row in rows
            if which.session_id in (None, row.session_id) or not row.session_id
        ]

    def _ask(self, query: queries.Query[Any], values: dict[str, Any]) -> list[Any]:
        try:
            return query.rows(self._connected(), **values)
        except WarehouseError as error:
            with self._lock:
                self._client = None
            raise WarehouseUnavailableError(str(error)) from error

    def _connected(self) -> WarehouseClient:
        with self._lock:
            if self._client is None:
                self._client = self._connect()
            return self._client


def _scope(which: UsageFilter) -> tuple[str, dict[str, Any]]:
    """Return the query's scope and its parameters; the running minute counts as whole."""
    until = -(-which.until_at // MINUTE_MS) * MINUTE_MS
    values: dict[str, Any] = {"from_at": which.from_at, "until_at": until}
    if which.subscriber_ids is not None:
        return "subscribers", {**values, "subscriber_ids": list(which.subscriber_ids)}
    if which.rating_keys is not None:
        return "rating_keys", {**values, "rating_keys": list(which.rating_keys)}
    return "all", values
