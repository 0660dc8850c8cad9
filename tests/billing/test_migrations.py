"""The migrations and the tables say the same, and a second migration changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

from billing.adapters.databases import UnfitDatabaseError, open_database, reading, writing
from billing.adapters.tables import metadata
from infra.migrate import migrate
from tests import databases


@pytest.fixture(params=databases.KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database."""
    with databases.empty(request.param, tmp_path) as url:
        yield url


def test_a_migrated_database_has_exactly_the_declared_tables(url: str) -> None:
    migrate(url)
    with reading(open_database(url)) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert set(metadata.tables) < set(inspect(connection).get_table_names())


def test_a_second_migration_keeps_the_rows(url: str) -> None:
    migrate(url)
    with writing(open_database(url)) as connection:
        connection.execute(text("insert into office_cursor values('x', 7)"))
    migrate(url)
    with reading(open_database(url)) as connection:
        assert connection.execute(text("select position from office_cursor")).scalar() == 7


def test_two_migrations_at_once_are_one(url: str) -> None:
    failures: list[Exception] = []

    def run() -> None:
        try:
            migrate(url)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with reading(open_database(url)) as connection:
        assert connection.execute(text("select count(*) from alembic_version")).scalar() == 1


def test_a_writer_takes_the_lock_before_it_reads(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'flowrate.sqlite'}"
    migrate(url)
    first, second = open_database(url), open_database(url, busy_timeout_ms=50)
    with writing(first) as connection:
        connection.execute(text("select count(*) from office_cursor"))
        with pytest.raises(OperationalError, match="locked"), writing(second):
            pass


def test_a_reader_does_not_wait_for_a_writer(url: str) -> None:
    migrate(url)
    first, second = open_database(url), open_database(url, busy_timeout_ms=50)
    with writing(first) as connection:
        connection.execute(text("insert into office_cursor values('x', 7)"))
        with reading(second) as other:
            assert other.execute(text("select count(*) from office_cursor")).scalar() == 0


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("ENCODING 'SQL_ASCII' LOCALE 'C'", "encoding SQL_ASCII"),
        ("ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'und' LOCALE 'C'", "collation"),
    ],
)
def test_a_database_that_sorts_otherwise_is_refused_and_left_alone(kind: str, found: str) -> None:
    with databases.created(f"TEMPLATE template0 {kind}") as url:
        with pytest.raises(UnfitDatabaseError, match=found):
            migrate(url)
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            tables = connection.execute(
                "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
            ).fetchone()
        assert tables == (0,)


def test_text_sorts_by_its_octets(url: str) -> None:
    migrate(url)
    names = ["b", "Z", "é", "a-1", "a1", "অ", "_"]
    with writing(open_database(url)) as connection:
        for name in names:
            connection.execute(text("insert into office_cursor values(:name, 0)"), {"name": name})
        ordered = connection.execute(text("select name from office_cursor order by name"))
        assert list(ordered.scalars()) == sorted(names, key=lambda name: name.encode())
