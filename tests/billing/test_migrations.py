"""The migrations and the tables say the same, and a second migration changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

from billing.adapters.databases import open_database, reading, writing
from billing.adapters.tables import metadata
from infra.migrate import migrate


def test_a_migrated_database_has_exactly_the_declared_tables(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'flowrate.sqlite'}"
    migrate(url)
    with reading(open_database(url)) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert set(metadata.tables) < set(inspect(connection).get_table_names())


def test_a_second_migration_keeps_the_rows(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'flowrate.sqlite'}"
    migrate(url)
    with writing(open_database(url)) as connection:
        connection.execute(text("insert into office_cursor values('x', 7)"))
    migrate(url)
    with reading(open_database(url)) as connection:
        assert connection.execute(text("select position from office_cursor")).scalar() == 7


def test_a_writer_takes_the_lock_before_it_reads(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'flowrate.sqlite'}"
    migrate(url)
    first, second = open_database(url), open_database(url, busy_timeout_ms=50)
    with writing(first) as connection:
        connection.execute(text("select count(*) from office_cursor"))
        with pytest.raises(OperationalError, match="locked"), writing(second):
            pass


def test_a_reader_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'flowrate.sqlite'}"
    migrate(url)
    first, second = open_database(url), open_database(url, busy_timeout_ms=50)
    with writing(first) as connection:
        connection.execute(text("insert into office_cursor values('x', 7)"))
        with reading(second) as other:
            assert other.execute(text("select count(*) from office_cursor")).scalar() == 0
