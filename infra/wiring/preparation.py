"""What happens before any process starts: schema, topics, the network's settings."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl
from sqlalchemy import Connection

import api.tables
from billing.adapters.databases import writing
from infra import network
from infra.clock import preparing_clock
from infra.instance_lock import InstanceLock
from infra.migrate import upgrade
from infra.secrets import open_secrets
from infra.serve import Instance
from infra.settings import Settings
from infra.wiring.databases import business_database
from rating.records import DirectoryEntry, frame_of
from streams.adapters import postgres_tables, postgres_topics, sqlite_topics
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
        with writing(database) as connection:
            done = upgrade(connection)
            sqlite_topics.create_tables(connection)
            read = sqlite_topics.read_topic(connection, "directory", 0, after=0, rows_max=2**62)
            rows = _network_entries(settings, read.frames, instance.clock.now_ms())
            if not rows.is_empty():
                partitions = settings.streams.partitions
                sqlite_topics.append_rows(
                    connection, "directory", SETTINGS_PRODUCER, rows, partitions=partitions
                )
    finally:
        database.dispose()
    return [done, _told(rows)]


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
        with writing(database) as connection:
            done = upgrade(connection)
            api.tables.metadata.create_all(connection)
            postgres_tables.create_tables(connection, partitions=partitions)
            intent_tables.create_tables(connection)
            generation, standing = postgres_tables.current_generation(connection)
            rows = _follow_network_settings(connection, settings, now_ms)
    finally:
        database.dispose()
    return [
        done,
        f"topics: generation {generation} with {standing} partitions",
        _told(rows),
    ]


def _follow_network_settings(
    connection: Connection, settings: Settings, now_ms: int
) -> pl.DataFrame:
    """Append to `directory` what the settings changed about prefixes and classes."""
    frames = postgres_topics.read_producer(connection, "directory", SETTINGS_PRODUCER)
    rows = _network_entries(settings, frames, now_ms)
    if not rows.is_empty():
        postgres_topics.append_rows(connection, "directory", SETTINGS_PRODUCER, rows, partitions=1)
    return rows


def _network_entries(
    settings: Settings, directory: Iterable[pl.DataFrame], now_ms: int
) -> pl.DataFrame:
    """Return the rows that bring the topic `directory` to the settings of the network."""
    standing: dict[str, DirectoryEntry] = {}
    for frame in directory:
        network_rows = frame.filter(pl.col("kind").is_in(["own_prefix", "class_rule", "nat_pool"]))
        for row in network_rows.iter_rows(named=True):
            standing[row["entry_id"]] = DirectoryEntry(**row)
    rows = network.entries_to_write(settings.network, standing, now_ms)
    return frame_of(DirectoryEntry, rows)


def _told(rows: pl.DataFrame) -> str:
    return f"network settings: {rows.height or 'no'} changes written to the directory"
