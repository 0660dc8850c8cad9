"""Brings a business database to the newest schema, in one transaction.

Forward only: a step back is a restored backup, since a downgrade of an invoice table would
destroy what the law makes an ISP keep (docs/decisions/0301).
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from billing.adapters.databases import open_database, writing

MIGRATIONS = Path(__file__).parent / "migrations"


def migrate(url: str) -> None:
    """Bring the database at `url` (SQLAlchemy form) to the newest revision; repeats do nothing.

    Raises sqlalchemy.exc.DBAPIError where the database refuses; then nothing has changed. Two
    processes at once are safe: the second waits for the first and finds nothing to do.
    """
    engine = open_database(url)
    try:
        with writing(engine) as connection:
            command.upgrade(alembic_config(connection), "head")
    finally:
        engine.dispose()


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's configuration for a connection with an open transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
