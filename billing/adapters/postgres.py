"""The one place that knows PostgreSQL: sessions with limits, snapshots, advisory locks.

Connections go to the server itself, or through a proxy that keeps one session per client:
advisory locks and temporary tables belong to the session.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, create_engine

from billing.config import DatabaseConfig

READING: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Execution options of a transaction that sees one snapshot and writes nothing."""

VERSION_MIN = 15
"""Oldest server that the tests run on."""

_C_COLLATIONS = frozenset({"C", "POSIX", "C.UTF-8", "C.UTF8"})


class UnfitDatabaseError(Exception):
    """The database is there, but Flowrate's results would differ on it; the message says why."""


def open_engine(
    url: str,
    config: DatabaseConfig,
    application: str,
    *,
    limits: Mapping[str, str] | None = None,
    **pool: Any,
) -> Engine:
    """Return an engine with at most pool_connections connections.

    limits are further settings of its sessions, pool replaces arguments of the pool.
    """
    options = {
        "pool_size": config.pool_connections,
        "max_overflow": 0,
        "pool_timeout": config.lock_timeout_seconds,
        "pool_pre_ping": True,
        "pool_recycle": 3600,
    }
    arguments = _connect_arguments(config, application, limits or {})
    return create_engine(url, connect_args=arguments, **(options | pool))


def _connect_arguments(
    config: DatabaseConfig, application: str, limits: Mapping[str, str]
) -> dict[str, Any]:
    """Return libpq's arguments: limits of the session, and how soon a dead peer is noticed."""
    asks = {"keepalives_idle": config.silence_seconds}
    asks |= {"keepalives_interval": 5, "keepalives_count": 3}
    dead_after_ms = (config.silence_seconds + 3 * 5) * 1000
    settings = {
        "statement_timeout": f"{config.statement_timeout_seconds}s",
        "lock_timeout": f"{config.lock_timeout_seconds}s",
        "idle_in_transaction_session_timeout": f"{config.idle_transaction_timeout_seconds}s",
        "timezone": "UTC",
        **{f"tcp_{name}": value for name, value in asks.items()},
        "tcp_user_timeout": dead_after_ms,
        **limits,
    }
    return {
        "application_name": application,
        "client_encoding": "UTF8",
        "connect_timeout": config.connect_timeout_seconds,
        **asks,
        "tcp_user_timeout": dead_after_ms,
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }


def take_turns(connection: Connection, names: Sequence[str]) -> None:
    """Take the transaction's advisory lock of each name, in the order given.

    Names are hashed to 64 bits: two that collide wait for each other, and are right all the same.
    """
    for name in names:
        connection.exec_driver_sql(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"flowrate {name}",)
        )


def take_schema_turn(connection: Connection) -> None:
    """Wait for the turn to change tables; then statements may last, and locks may not."""
    waits = connection.exec_driver_sql("show lock_timeout").scalar_one()
    connection.exec_driver_sql("set local statement_timeout = 0")
    connection.exec_driver_sql("set local lock_timeout = 0")
    take_turns(connection, ["schema"])
    # Whoever waits for a table keeps everybody behind it waiting too.
    connection.exec_driver_sql(f"set local lock_timeout = '{waits}'")


def check_database(connection: Connection) -> None:
    """Raise UnfitDatabaseError where text is not UTF-8 or would not sort by its octets.

    SQLite sorts text by octets. Pages, invoice lines and "the first of several" follow ids, so
    under another collation the same input could make other documents (docs/decisions/0501).
    """
    version = int(connection.exec_driver_sql("show server_version_num").scalar_one()) // 10_000
    if version < VERSION_MIN:
        raise UnfitDatabaseError(f"PostgreSQL {version}: expected {VERSION_MIN} or newer")
    name, encoding, provider, collation = connection.exec_driver_sql(
        "select datname, pg_encoding_to_char(encoding), datlocprovider::text, datcollate"
        " from pg_database where datname = current_database()"
    ).one()
    # Other providers keep their locale elsewhere and move that column between versions.
    if encoding == "UTF8" and provider == "c" and collation.upper() in _C_COLLATIONS:
        return
    raise UnfitDatabaseError(
        f"database {name} has encoding {encoding} and collation {collation}: expected UTF8 and C;"
        f" create it with: CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
    )
