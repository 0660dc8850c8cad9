"""What happens before any process starts: schema, topics, the network's settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import polars as pl
from sqlalchemy import Connection, Engine

import api.tables
from billing.adapters.databases import writing
from infra import network
from infra.asn_file import AsnFileError, digest_of, read_asn_file
from infra.clock import preparing_clock
from infra.instance_lock import InstanceLock
from infra.migrate import upgrade
from infra.secrets import open_secrets
from infra.serve import Instance
from infra.settings import Settings, SettingsError
from infra.wiring.databases import business_database
from infra.wiring.paths import database_path
from rating.asn_table import AsnTable
from rating.records import DirectoryEntry, frame_of
from streams.adapters import asn_store, postgres_tables, postgres_topics, sqlite_topics
from warehouse import intent_tables

SETTINGS_PRODUCER = "settings"
"""Who writes own prefixes and class rules to `directory`."""


def prepare(instance: Instance) -> list[str]:
    """Bring the data directory to this version's schema, before any process starts.

    Returns what was done, in sentences.
    """
    settings = instance.settings
    database = business_database(settings, "migrate")
    try:
        asn_file = _asn_file(settings, database)
        with writing(database) as connection:
            done = upgrade(connection)
            told = _follow_network(connection, settings, instance.clock.now_ms(), asn_file)
    finally:
        database.dispose()
    return [done, *told]


def apply_network(settings: Settings, now_ms: int) -> list[str]:
    """Bring the directory to the settings of the network while Flowrate runs; return what was done.

    What changes holds from the next minute on. SettingsError where the AS file cannot be read;
    LookupError where the database is not prepared.
    """
    if settings.mode == "embedded" and not database_path(settings).exists():
        raise LookupError(f"nothing has run on {settings.data_dir} yet")
    database = business_database(settings, "network")
    try:
        asn_file = _asn_file(settings, database)
        with writing(database) as connection:
            return _follow_network(connection, settings, now_ms, asn_file)
    finally:
        database.dispose()


def prepare_data_directory(settings: Settings) -> list[str]:
    """Prepare a data directory that no process runs on; return what was done.

    Raises InstanceRunning where one does, SecretsError.
    """
    with InstanceLock(settings.data_dir):
        clock = preparing_clock(settings.data_dir, settings.clock)
        return prepare(Instance(settings, clock, open_secrets(settings.data_dir)))


def prepare_cluster(settings: Settings) -> list[str]:
    """Bring a cluster's database to this version's schema; return what was done.

    One transaction under the turn at the schema: of several processes at once one does the work.
    Raises UnfitDatabaseError, or DBAPIError where the database refuses.
    """
    database = business_database(settings, "migrate")
    partitions = settings.cluster.topics.partitions
    now_ms = preparing_clock(settings.data_dir, settings.clock).now_ms()
    try:
        asn_file = _asn_file(settings, database)
        with writing(database) as connection:
            done = upgrade(connection)
            api.tables.metadata.create_all(connection)
            postgres_tables.create_tables(connection, partitions=partitions)
            intent_tables.create_tables(connection)
            generation, standing = postgres_tables.current_generation(connection)
            told = _follow_network(connection, settings, now_ms, asn_file)
    finally:
        database.dispose()
    return [
        done,
        f"topics: generation {generation} with {standing} partitions",
        *told,
    ]


@dataclasses.dataclass(frozen=True, slots=True)
class _AsnFile:
    """The AS file of the settings: its digest, and its table where the database lacks it."""

    path: Path
    digest: str
    table: AsnTable | None


def _asn_file(settings: Settings, database: Engine) -> _AsnFile | None:
    """Read the AS file of the settings, outside of any long transaction: it takes seconds.

    SettingsError where it cannot be read.
    """
    if not settings.network.asn_file:
        return None
    path = Path(settings.network.asn_file)
    try:
        digest = digest_of(path)
        with writing(database) as connection:
            asn_store.create_table(connection)
            is_there = asn_store.has_file(connection, digest)
        return _AsnFile(path, digest, None if is_there else read_asn_file(path))
    except AsnFileError as error:
        raise SettingsError([f"network.asn_file = {error}"]) from error


def _follow_network(
    connection: Connection, settings: Settings, now_ms: int, asn_file: _AsnFile | None
) -> list[str]:
    """Append to `directory` what the settings changed about the network; return it as sentences."""
    told = []
    asn_store.create_table(connection)
    if asn_file is not None and asn_file.table is not None:
        table = asn_file.table
        if not asn_store.has_file(connection, asn_file.digest):
            asn_store.add_file(connection, asn_file.digest, asn_file.path.name, now_ms, table)
        told.append(f"AS file: {table.networks} networks of {asn_file.path} read")
    digest = asn_file.digest if asn_file else ""
    rows = _network_entries(settings, _own_rows(connection, settings), now_ms, digest)
    if not rows.is_empty():
        if settings.mode == "cluster":
            postgres_topics.append_rows(
                connection, "directory", SETTINGS_PRODUCER, rows, partitions=1
            )
        else:
            partitions = settings.streams.partitions
            sqlite_topics.append_rows(
                connection, "directory", SETTINGS_PRODUCER, rows, partitions=partitions
            )
    return [*told, f"network settings: {rows.height or 'no'} changes written to the directory"]


def _own_rows(connection: Connection, settings: Settings) -> Iterable[pl.DataFrame]:
    """Return the rows of `directory` so far, at least those that settings wrote."""
    if settings.mode == "cluster":
        return postgres_topics.read_producer(connection, "directory", SETTINGS_PRODUCER)
    sqlite_topics.create_tables(connection)
    return sqlite_topics.read_topic(connection, "directory", 0, after=0, rows_max=2**62).frames


def _network_entries(
    settings: Settings, directory: Iterable[pl.DataFrame], now_ms: int, asn_digest: str
) -> pl.DataFrame:
    """Return the rows that bring the topic `directory` to the settings of the network."""
    standing: dict[str, DirectoryEntry] = {}
    for frame in directory:
        network_rows = frame.filter(pl.col("kind").is_in(network.KINDS))
        for row in network_rows.iter_rows(named=True):
            standing[row["entry_id"]] = DirectoryEntry(**row)
    rows = network.entries_to_write(settings.network, standing, now_ms, asn_digest)
    return frame_of(DirectoryEntry, rows)
