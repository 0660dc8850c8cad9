"""The port over the warehouse's queries: scopes, parameters, failures."""

from __future__ import annotations

from typing import Any

import pytest

from api.ports import EvidenceFilter, UsageFilter, WarehouseUnavailableError
from api.warehouse_usage import WarehouseUsage
from warehouse.connect import WarehouseError


class Answer:
    def __init__(self, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
        self.column_names = columns
        self.result_rows = rows


class Client:
    """Records what was asked and answers with one row, or fails as clickhouse-connect does."""

    def __init__(self, columns: tuple[str, ...], row: tuple[Any, ...]) -> None:
        self.answer = Answer(columns, [row])
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def query(self, query: str, *, parameters: dict[str, Any] | None = None) -> Answer:
        self.asked.append((query, dict(parameters or {})))
        return self.answer

    def command(self, cmd: str) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        return


POINT = (("at", "traffic_class", "octets_up", "octets_down"), (60_000, "cdn", 1, 2))


@pytest.mark.parametrize(
    ("ids", "table"), [(None, "usage_minute"), (["s1"], "usage_rated"), ([], "usage_rated")]
)
def test_a_branch_asks_the_base_table_by_its_subscribers(ids: Any, table: str) -> None:
    client = Client(*POINT)
    usage = WarehouseUsage(lambda: client)
    points = usage.series(UsageFilter(0, 90_000, ids), "minute", "UTC", True)
    assert (points[0].start_at, points[0].octets_down) == (60_000, 2)
    [(sql, values)] = client.asked
    assert f"FROM {table}" in sql
    assert values["until_at"] == 120_000, "the running minute counts"
    assert values.get("subscriber_ids") == ids


def test_days_are_asked_in_the_branchs_zone() -> None:
    client = Client(*POINT)
    WarehouseUsage(lambda: client).series(UsageFilter(0, 1), "day", "Asia/Kathmandu", False)
    assert client.asked[0][1]["time_zone"] == "Asia/Kathmandu"


@pytest.mark.parametrize("session_id", [None, "nas/1/1"])
@pytest.mark.parametrize("level", ["day", "session", "minute"])
def test_evidence(level: str, session_id: str | None) -> None:
    columns = ("key", "first_at", "last_at", "octets_up", "octets_down", "quantity", "rows")
    client = Client(columns, ("k", 0, 60_000, 1, 2, 3, 1))
    which = EvidenceFilter("key", 0, 60_000, "Asia/Dhaka", "data", session_id)
    [piece] = WarehouseUsage(lambda: client).evidence(which, level)
    assert (piece.key, piece.quantity) == ("k", 3)
    assert client.asked[0][1].get("session_id") == session_id


def test_the_store_may_start_later() -> None:
    client = Client(*POINT)
    tries = 0

    def connect() -> Client:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise WarehouseError("connection refused")
        return client

    usage = WarehouseUsage(connect)
    which = UsageFilter(0, 60_000)
    with pytest.raises(WarehouseUnavailableError):
        usage.series(which, "minute", "UTC", False)
    assert usage.series(which, "minute", "UTC", False)
    assert usage.series(which, "minute", "UTC", False)
    assert tries == 2, "a client that works is kept"
