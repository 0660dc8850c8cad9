"""What happens before any process starts: schema, topics, the network's settings."""

from __future__ import annotations

from sqlalchemy import Connection

from billing.adapters.databases import open_database, writing
from infra import network
from infra.migrate import migrate
from infra.serve import Instance
from infra.wiring.paths import database_url
from rating.records import DirectoryEntry, frame_of
from streams.adapters import sqlite_topics

SETTINGS_PRODUCER = "settings"
"""Who writes own prefixes and class rules to `directory`."""


def prepare(instance: Instance) -> None:
    """Bring the data directory to this version's schema, before any process starts."""
    migrate(database_url(instance.settings))
    database = open_database(database_url(instance.settings))
    try:
        with writing(database) as connection:
            sqlite_topics.create_tables(connection)
            _follow_network_settings(connection, instance)
    finally:
        database.dispose()


def _follow_network_settings(connection: Connection, instance: Instance) -> None:
    """Append to `directory` what the settings changed about prefixes and classes."""
    read = sqlite_topics.read_topic(connection, "directory", 0, after=0, rows_max=2**62)
    standing: dict[str, DirectoryEntry] = {}
    for frame in read.frames:
        for row in frame.iter_rows(named=True):
            if row["kind"] in ("own_prefix", "class_rule"):
                standing[row["entry_id"]] = DirectoryEntry(**row)
    rows = network.entries_to_write(instance.settings.network, standing, instance.clock.now_ms())
    if rows:
        sqlite_topics.append_rows(
            connection,
            "directory",
            SETTINGS_PRODUCER,
            frame_of(DirectoryEntry, rows),
            partitions=instance.settings.streams.partitions,
        )
