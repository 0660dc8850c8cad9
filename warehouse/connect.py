"""clickhouse-connect's ordinary HTTP client, for the store as for a ClickHouse server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import clickhouse_connect
from clickhouse_connect.driver.exceptions import ClickHouseError

from warehouse.config import WarehouseConfig


class QueryResult(Protocol):
    """The part of clickhouse-connect's result that the project uses."""

    @property
    def result_rows(self) -> Sequence[Sequence[Any]]:
        """The rows, each a sequence of Python values in column order."""
        ...

    @property
    def column_names(self) -> Sequence[str]:
        """The columns' names."""
        ...


class WarehouseClient(Protocol):
    """The part of clickhouse-connect's client that the project uses; threads may share one."""

    def query(self, query: str, *, parameters: dict[str, Any] | None = None) -> QueryResult:
        """Run a query with server-side parameters (`{name:Type}`) and return all its rows."""
        ...

    def command(self, cmd: str) -> Any:
        """Run a statement and return its first value."""
        ...

    def close(self) -> None:
        """Return the client's connections."""
        ...


class WarehouseError(Exception):
    """The warehouse did not answer, or answered with an error; the cause is chained."""


def client(config: WarehouseConfig, *, may_write: bool = False) -> WarehouseClient:
    """Return a client of the configured endpoint, as the reader or as the sink's user.

    Instants come back with their zone. No session is used: a session would let one client run one
    query at a time. Raises WarehouseError where nothing answers or the password is wrong.
    """
    try:
        made: WarehouseClient = clickhouse_connect.get_client(
            host=config.endpoint.host,
            port=config.endpoint.port,
            username=config.sink_user if may_write else config.reader_user,
            password=config.sink_password if may_write else config.reader_password,
            database=config.database,
            interface="https" if config.secure else "http",
            ca_cert=config.ca_file or None,
            connect_timeout=config.connect_timeout_seconds,
            send_receive_timeout=config.query_timeout_seconds,
            autogenerate_session_id=False,
            tz_mode="aware",
            client_name="flowrate",
        )
    except ClickHouseError as error:
        raise WarehouseError(
            f"warehouse at {config.endpoint.host}:{config.endpoint.port}: {error}"
        ) from error
    return made
