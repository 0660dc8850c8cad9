"""Where an embedded installation keeps what, and looking into another process's files."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.settings import Settings

FLOW_LOG = "flow.datagrams"
ACCOUNTING_LOG = "radius.accounting"
LOGS = {FLOW_LOG: "flows", ACCOUNTING_LOG: "radius"}
"""Raw logs and the folders of their segments."""

_BUSY_TIMEOUT_SECONDS = 10.0


def database_path(settings: Settings) -> Path:
    """Return the file of stage state, topics and business data."""
    return settings.data_dir / "flowrate.sqlite"


def log_directory(settings: Settings, log: str) -> Path:
    """Return the directory of a raw log's segments."""
    return settings.data_dir / LOGS[log]


def relay_path(settings: Settings) -> Path:
    """Return the file that says how far accounting has been relayed to a second server."""
    return settings.data_dir / "relay.sqlite"


def store_directory(settings: Settings) -> Path:
    """Return the directory that the store process owns."""
    return settings.data_dir / "store"


def database_url(settings: Settings) -> str:
    """Return the SQLAlchemy URL of the business database: the engine's file, or PostgreSQL."""
    if settings.mode == "cluster":
        _, _, rest = settings.cluster.database_url.partition("://")
        return f"postgresql+psycopg://{rest}"
    return f"sqlite:///{database_path(settings)}"


def read_only(path: Path, statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run one query on another process's SQLite file; no rows while it is not there yet."""
    if not path.exists():
        return []
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_SECONDS
    )
    try:
        return connection.execute(statement, arguments).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    finally:
        connection.close()
