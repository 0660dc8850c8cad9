"""Which of clickhouse-connect's and ClickHouse's features work through the store's endpoint.

The ordinary HTTP client, unchanged, as it would be against a server. What is known to fail is a
strict xfail: when it begins to work, the test says so. docs/decisions/0403 lists the result.
"""

from __future__ import annotations

from typing import Any

import pytest
from clickhouse_connect.driver.external import ExternalData

import tests.conformance.clickhouse_client
import tests.conformance.clickhouse_tables  # noqa: F401  (both enter their checks in CHECKS)
from tests.conformance.clickhouse_checks import CHECKS, check, connect, rows, table

KNOWN_FAILURES = {
    "create user": "chDB has no access management: users are the endpoint's two",
    "transactions": "chDB has no Keeper",
    "external data": "the endpoint refuses files in a form: chDB has no external tables",
    "temporary table in a session": "no statement sees another's session",
    "backup to file": "chDB has no backups.allowed_path",
    "server time zone of DateTime": "chDB drops the zone of DateTime('tz') in Native",
}
"""Check -> why it fails."""


@check("external data")
def _(client: Any) -> None:
    data = ExternalData(file_name="x.csv", data=b"1\n2\n", fmt="CSV", structure="a Int64")
    assert rows(client, "SELECT sum(a) FROM x", external_data=data) == [(3,)]


@check("create user")
def _(client: Any) -> None:
    client.command("CREATE USER conformance_user IDENTIFIED WITH plaintext_password BY 'x'")


@check("transactions")
def _(client: Any) -> None:
    client.command("BEGIN TRANSACTION")


@check("temporary table in a session")
def _(client: Any) -> None:
    own = connect(session_id="conformance")
    own.command("CREATE TEMPORARY TABLE x (a Int64)")
    assert own.query("SELECT count() FROM x").result_rows == [(0,)]


@check("backup to file")
def _(client: Any) -> None:
    table(client, "t", "a Int64")
    client.command("BACKUP TABLE t TO File('conformance')")


@check("server time zone of DateTime")
def _(client: Any) -> None:
    sql = "SELECT toDateTime('2026-01-02 03:04:05', 'Asia/Kathmandu')"
    (value,) = client.query(sql, tz_mode="aware").result_rows[0]
    assert str(value.tzinfo) == "Asia/Kathmandu"


@pytest.fixture(scope="module")
def client() -> Any:
    setup = connect(autogenerate_session_id=False)
    setup.command("CREATE DATABASE IF NOT EXISTS conformance")
    setup.close()
    return connect(database="conformance", autogenerate_session_id=False)


def names_with_reason() -> list[Any]:
    return [
        pytest.param(
            name,
            marks=pytest.mark.xfail(strict=True, reason=KNOWN_FAILURES[name])
            if name in KNOWN_FAILURES
            else (),
        )
        for name in CHECKS
    ]


@pytest.mark.parametrize("name", names_with_reason())
def test_feature(client: Any, name: str) -> None:
    CHECKS[name](client)


def test_the_list_is_as_long_as_it_says() -> None:
    assert len(CHECKS) >= 44
    assert set(KNOWN_FAILURES) <= set(CHECKS)
