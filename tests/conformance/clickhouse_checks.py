"""The list that the feature checks enter, and what they share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import clickhouse_connect

from tests.warehouse.opened_store import opened_store

Check = Callable[[Any], None]
CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Check], Check]:
    def register(function: Check) -> Check:
        assert name not in CHECKS
        CHECKS[name] = function
        return function

    return register


def connect(**more: Any) -> Any:
    config = opened_store().config
    return clickhouse_connect.get_client(
        host="127.0.0.1",
        port=config.endpoint.port,
        username=more.pop("username", config.sink_user),
        password=more.pop("password", config.sink_password),
        **more,
    )


def table(client: Any, name: str, columns: str, engine: str = "MergeTree ORDER BY tuple()") -> str:
    client.command(f"DROP TABLE IF EXISTS {name} SYNC")
    client.command(f"CREATE TABLE {name} ({columns}) ENGINE = {engine}")
    return name


def rows(client: Any, sql: str, **more: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in client.query(sql, **more).result_rows]
