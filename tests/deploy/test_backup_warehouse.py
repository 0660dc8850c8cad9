"""Books in PostgreSQL and usage in the warehouse: backed up under load, restored as one moment."""

from __future__ import annotations

import dataclasses
import subprocess
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import warehouse.connect
from billing.adapters import ledger
from billing.adapters.databases import open_database, writing
from billing.adapters.repositories import create
from billing.ledger import ADJUSTMENTS, CASH, Entry, LedgerAccount, Transaction
from infra.backups import postgres_dump
from infra.backups.manifest import BackupError, read_manifest
from infra.wiring.books import Books, examine_books
from streams.topics import physical_topic
from tests.billing.world import BRANCH
from tests.cluster.servers import Postgres
from tests.databases import sqlalchemy_url
from tests.deploy.flowrate_runs import run_flowrate
from tests.deploy.store_alone import READER_PASSWORD, SINK_PASSWORD, store_alone
from tests.infra.waiting import wait_until
from tests.warehouse.records_made import random_frame
from warehouse.config import WarehouseConfig
from warehouse.exports import Reached, rated_sums
from warehouse.intent_tables import create_tables
from warehouse.intents import Source
from warehouse.sink import rated_frame
from warehouse.tables import USAGE_RATED

ROWS = 400
TOPIC = physical_topic("usage.rated", 1)
POSITION = (
    "insert into sink_position(generation, topic, partition, last_position, next_cursor)"
    " values(1, %s, %s, %s, %s) on conflict(generation, topic, partition) do update"
    " set last_position = excluded.last_position, next_cursor = excluded.next_cursor"
)


def frame_at(partition: int, position: int) -> pl.DataFrame:
    """Return the rows of one record, by its place alone: what an auditor can work out again."""
    return random_frame(partition * 10_000 + position, ROWS)


def posting(number: int) -> Transaction:
    """Return a payment in cash, booked once per round."""
    accounts = [LedgerAccount(BRANCH.branch_id, code, None) for code in (CASH, ADJUSTMENTS)]
    return Transaction(
        BRANCH.branch_id,
        "test",
        str(number),
        number,
        "a round",
        (Entry(accounts[0], number, "BDT"), Entry(accounts[1], -number, "BDT")),
    )


class Load:
    """Rounds as sinks and clerks make them: insert rows, then commit the position and a posting."""

    def __init__(self, url: str, config: WarehouseConfig) -> None:
        self.rounds = 0
        self._url, self._config = url, config
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.failure: BaseException | None = None

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        database = open_database(sqlalchemy_url(self._url))
        client: Any = warehouse.connect.client(self._config, may_write=True)
        try:
            while not self._stop.is_set():
                self._round(database, client)
        except BaseException as error:
            self.failure = error
        finally:
            client.close()
            database.dispose()

    def _round(self, database: Any, client: Any) -> None:
        partition, position = self.rounds % 2, self.rounds // 2 + 1
        rows = rated_frame(
            [(position, frame_at(partition, position))], Source(1, TOPIC, partition), 0
        )
        arrow = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        client.insert_arrow(USAGE_RATED.physical(1), arrow)
        time.sleep(0.02)
        with writing(database) as connection:
            connection.exec_driver_sql(POSITION, (TOPIC, partition, position, position))
            ledger.post(connection, [posting(self.rounds + 1)], 1)
        self.rounds += 1


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where one cluster keeps its things."""

    url: str
    warehouse: WarehouseConfig
    config: Path

    def flowrate(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run_flowrate(*words, "--config", str(self.config))


def place(directory: Path, url: str, config: WarehouseConfig) -> Place:
    directory.mkdir(exist_ok=True)
    path = directory / "flowrate.toml"
    path.write_text(
        f'mode = "cluster"\n[cluster]\ndatabase_url = "{url}"\n'
        f'[warehouse]\nsink_password = "{SINK_PASSWORD}"\nreader_password = "{READER_PASSWORD}"\n'
        f"[warehouse.endpoint]\nport = {config.endpoint.port}\n"
    )
    return Place(url, config, path)


@pytest.fixture
def source(tmp_path: Path, database_url: str) -> Iterator[Place]:
    with store_alone(tmp_path / "store") as config:
        made = place(tmp_path / "source", database_url, config)
        migrated = made.flowrate("migrate")
        assert migrated.returncode == 0, migrated.stderr
        database = open_database(sqlalchemy_url(database_url))
        with writing(database) as connection:
            create_tables(connection)
            create(connection, BRANCH)
        database.dispose()
        yield made


@pytest.fixture
def target(tmp_path: Path, postgres: Postgres) -> Iterator[Place]:
    url = postgres.create_database("restored")
    with store_alone(tmp_path / "second") as config:
        yield place(tmp_path / "target", url, config)
    postgres.drop_database("restored")


def books(url: str) -> Books:
    engine = open_database(sqlalchemy_url(url))
    try:
        with engine.connect() as connection:
            return examine_books(connection)
    finally:
        engine.dispose()


def test_what_is_restored_is_one_moment_of_both(
    source: Place, target: Place, tmp_path: Path
) -> None:
    backup = tmp_path / "backup"
    with Load(source.url, source.warehouse) as load:
        wait_until(lambda: load.rounds > 20 or load.failure, "some load", 60)
        made = source.flowrate("backup", "create", str(backup))
        after = load.rounds
        wait_until(lambda: load.rounds > after + 4 or load.failure, "more load", 60)
    assert load.failure is None
    assert made.returncode == 0, made.stderr
    assert run_flowrate("backup", "verify", str(backup)).returncode == 0

    restored = target.flowrate("backup", "restore", str(backup))
    assert restored.returncode == 0, restored.stderr
    manifest = read_manifest(backup)
    assert manifest.warehouse is not None
    found = books(target.url)
    assert found.findings == ()
    postings = found.chain_heads[BRANCH.branch_id]
    assert 20 < postings < load.rounds, "a moment of the load"
    reached = {part.partition: part.position for part in manifest.warehouse.reached}
    assert sum(reached.values()) == postings, "as many rounds here as there"
    compare_with_what_was_made(target.warehouse, reached)

    again = target.flowrate("backup", "restore", str(backup))
    assert again.returncode == 1
    assert "a backup is restored into an empty one" in again.stderr
    assert "holds rows already" in second_warehouse(source, backup, target.url).stderr


def compare_with_what_was_made(config: WarehouseConfig, reached: dict[int, int]) -> None:
    """Compare base table and a rollup with rows that are made anew."""
    rows = pl.concat(
        frame_at(partition, position)
        for partition, last in reached.items()
        for position in range(1, last + 1)
    )
    client: Any = warehouse.connect.client(config, may_write=True)
    try:
        sums = rated_sums(client, 1, [Reached(1, *item) for item in reached.items()])
        assert client.command("select count() from usage_rated_1") == rows.height == sums.rows
        assert sums.octets_down == rows["octets_down"].sum()
        assert sums.charge == sum(rows["charge"].to_list(), Decimal(0))
        volume = rows.filter(pl.col("meter_id") == "volume")
        rollup = client.command("select sum(octets_down) from usage_cell")
        assert int(rollup) == volume["octets_down"].sum()
    finally:
        client.close()


def second_warehouse(source: Place, backup: Path, url: str) -> subprocess.CompletedProcess[str]:
    """Try to restore into the source's warehouse, with an empty database."""
    database = open_database(sqlalchemy_url(url))
    with writing(database) as connection:
        connection.exec_driver_sql("drop schema public cascade")
        connection.exec_driver_sql("create schema public")
    database.dispose()
    flag = f"cluster.database_url={url}"
    refused = run_flowrate(
        "backup", "restore", str(backup), "--config", str(source.config), "--set", flag
    )
    assert refused.returncode == 1
    return refused


def test_no_password_is_an_argument_or_in_a_message(
    source: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    spy = programs / "pg_dump"
    spy.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\necho refused >&2\nexit 1\n')
    spy.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    failed = source.flowrate("backup", "create", str(tmp_path / "backup"), "--without-warehouse")
    assert failed.returncode == 1
    assert failed.stderr == "flowrate: pg_dump: refused\n"
    password = postgres_dump.variables_of(sqlalchemy_url(source.url))["PGPASSWORD"]
    words = (tmp_path / "arguments").read_text().split()
    assert not [word for word in words if f":{password}@" in word or word.endswith(f"={password}")]
    verified = run_flowrate("backup", "verify", str(tmp_path / "backup"))
    assert "no (finished) backup" in verified.stderr


def test_a_url_that_pg_dump_cannot_be_told_is_refused() -> None:
    variables = postgres_dump.variables_of("postgresql://u:p%40ss@db:5433/books?sslmode=require")
    assert variables == {
        "PGHOST": "db",
        "PGPORT": "5433",
        "PGUSER": "u",
        "PGPASSWORD": "p@ss",
        "PGDATABASE": "books",
        "PGSSLMODE": "require",
    }
    with pytest.raises(BackupError, match="channel_binding"):
        postgres_dump.variables_of("postgresql://u@db/books?channel_binding=require")
