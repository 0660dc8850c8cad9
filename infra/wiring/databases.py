"""The business database of a process: the engine's SQLite file, or the cluster's PostgreSQL."""

from __future__ import annotations

import os
import socket

from sqlalchemy import Engine

from billing.adapters.databases import open_database
from infra.settings import Settings
from infra.wiring.paths import database_url


def business_database(settings: Settings, role: str, *, synchronous: str = "full") -> Engine:
    """Return an engine for the business database; synchronous is SQLite's (`open_database`)."""
    return open_database(
        database_url(settings),
        synchronous=synchronous,
        config=settings.cluster.database,
        application=application_of(role),
    )


def application_of(role: str) -> str:
    """Return what PostgreSQL shows of this process, ``flowrate act host:4711``."""
    return f"flowrate {role} {socket.gethostname()}:{os.getpid()}"
