"""The API's usage port over the warehouse: each method is one query of `warehouse.queries`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from api.ports import (
    EvidenceFilter,
    EvidenceRow,
    UsageFilter,
    UsagePoint,
    UsageTotal,
    WarehouseUnavailableError,
)
from warehouse import queries
from warehouse.connect import WarehouseClient, WarehouseError
from warehouse.queries import Query

Row = TypeVar("Row")

MINUTE_MS = 60_000


class WarehouseUsage:
    """Implements `api.ports.UsageQueries`; connects when first asked and anew after a fault."""

    def __init__(self, connect: Callable[[], WarehouseClient]) -> None:
        """Remember how to connect; nothing is opened yet."""
        self._connect = connect
        self._client: WarehouseClient | None = None

    def series(
        self, which: UsageFilter, step: str, timezone: str, by_class: bool
    ) -> list[UsagePoint]:
        """Return ascending points; step is minute, hour or day (local days of `timezone`)."""
        scope, values = _scope(which)
        query = queries.series(step, scope, by_class=by_class)
        if "time_zone" in query.parameters:
            values["time_zone"] = timezone
        return [
            UsagePoint(row.at, row.traffic_class, row.octets_up, row.octets_down)
            for row in self._rows(query, **values)
        ]

    def by_class(self, which: UsageFilter) -> list[UsageTotal]:
        """Return the octets per traffic class, greatest first."""
        scope, values = _scope(which)
        rows = self._rows(queries.by_class(scope), **values)
        return [UsageTotal(row.key, row.octets_up, row.octets_down) for row in rows]

    def top_subscribers(self, which: UsageFilter, limit: int) -> list[UsageTotal]:
        """Return the subscribers with the most octets, greatest first."""
        scope, values = _scope(which)
        rows = self._rows(queries.top_subscribers(scope), limit=limit, **values)
        return [UsageTotal(row.key, row.octets_up, row.octets_down) for row in rows]

    def evidence(self, which: EvidenceFilter, level: str) -> list[EvidenceRow]:
        """Return the line's usage per `level` (day, session, minute), ascending by first_at."""
        query = queries.evidence(level, of_session=which.session_id is not None)
        values: dict[str, Any] = {
            "rating_key": which.rating_key,
            "meter_id": which.meter_id,
            "from_at": which.from_at,
            "until_at": which.until_at,
            "time_zone": which.timezone,
            "session_id": which.session_id,
        }
        wanted = {name: values[name] for name in query.parameters}
        return [
            EvidenceRow(
                row.key,
                row.first_at,
                row.last_at,
                row.octets_up,
                row.octets_down,
                row.quantity,
                row.rows,
            )
            for row in self._rows(query, **wanted)
        ]

    def _rows(self, query: Query[Row], **values: Any) -> Sequence[Row]:
        try:
            if self._client is None:
                self._client = self._connect()
            return query.rows(self._client, **values)
        except WarehouseError as error:
            self._client = None
            raise WarehouseUnavailableError(str(error)) from error


def _scope(which: UsageFilter) -> tuple[str, dict[str, Any]]:
    """Return the query scope of a filter and its parameters.

    A subscriber whitelist is the narrower one, so it goes before rating keys. The warehouse
    counts whole minutes: the one that has just begun belongs to "until now".
    """
    until_at = -(-which.until_at // MINUTE_MS) * MINUTE_MS
    values: dict[str, Any] = {"from_at": which.from_at, "until_at": until_at}
    if which.subscriber_ids is not None:
        return "subscribers", {**values, "subscriber_ids": list(which.subscriber_ids)}
    if which.rating_keys is not None:
        return "rating_keys", {**values, "rating_keys": list(which.rating_keys)}
    return "all", values
