"""Brings a business database to the newest schema, in one transaction.

Forward only: a step back is a restored backup, since a downgrade of an invoice table would
destroy what the law makes an ISP keep (docs/decisions/0301).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from billing.adapters.databases import (
    UnfitDatabaseError,
    check_database,
    open_database,
    take_schema_turn,
    writing,
)

MIGRATIONS = Path(__file__).parent / "migrations"
EXIT_REFUSED = 1


def main(arguments: Sequence[str]) -> int:
    """Prepare the database that the settings name, say what was done, and return the exit status.

    What `flowrate serve` does before its processes start; in a cluster, run it before the first
    role and with each new version. SettingsError, InstanceRunning and SecretsError are raised.
    """
    from infra.settings import find_file, load_settings
    from infra.wiring.preparation import prepare_cluster, prepare_data_directory

    parser = argparse.ArgumentParser(prog="flowrate migrate", allow_abbrev=False)
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    prepare = prepare_cluster if settings.mode == "cluster" else prepare_data_directory
    try:
        done = prepare(settings)
    except UnfitDatabaseError as error:
        print(f"flowrate: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except DBAPIError as error:
        print(f"flowrate: the database refuses: {error.orig}", file=sys.stderr)
        return EXIT_REFUSED
    print("\n".join(done))
    return 0


def migrate(url: str) -> None:
    """Bring the database at `url` (SQLAlchemy form) to the newest revision; repeats do nothing.

    Raises sqlalchemy.exc.DBAPIError where the database refuses, UnfitDatabaseError where it would
    sort text otherwise than we do; then nothing has changed. Two processes at once are safe: the
    second waits for the first and finds nothing to do.
    """
    engine = open_database(url)
    try:
        with writing(engine) as connection:
            upgrade(connection)
    finally:
        engine.dispose()


def upgrade(connection: Connection) -> str:
    """Do the work of `migrate` in an open transaction, and say it in a sentence.

    Holds the turn at the schema until the commit: further tables are the caller's.
    """
    take_schema_turn(connection)
    check_database(connection)
    before = _revision(connection)
    command.upgrade(alembic_config(connection), "head")
    after = _revision(connection)
    if before == after:
        return f"business tables: at revision {after} already"
    return f"business tables: from {f'revision {before}' if before else 'nothing'} to {after}"


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's configuration for a connection with an open transaction."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config
