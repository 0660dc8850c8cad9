"""Where adapters are chosen, and nowhere else: settings in, ports out.

Embedded mode: SQLite for state, topics and business data, segments for raw logs, chDB behind the
store's endpoint. Each function builds one thing that a process needs.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from fastapi import FastAPI
from sqlalchemy import Connection, Engine

import warehouse.connect
from api.app import create_app
from api.keys import OPERATOR
from api.ports import Services
from api.web.session import login_path
from billing.acting.exchange import CoaTarget
from billing.adapters import pdf
from billing.adapters.channels import channels_of
from billing.adapters.coa import UdpCoaTransport
from billing.adapters.office import OfficeLoop
from billing.adapters.rows import write_rows
from billing.adapters.sqlite import open_database, writing
from collectors.adapters.segments import SegmentReader, SegmentWriter
from collectors.radius.clients import ClientTable
from infra import network
from infra.migrate import migrate
from infra.secrets import Secrets
from infra.serve import Instance
from infra.settings import Settings
from infra.supervisor import read_status
from infra.warehouse_usage import WarehouseUsage
from rating.records import DirectoryEntry, frame_of
from rating.rows import LiveSession
from streams.adapters import sqlite_topics
from streams.embedded import EmbeddedRunner
from streams.topology import StageConfigs, build_stages
from warehouse.config import WarehouseConfig
from warehouse.connect import WarehouseClient
from warehouse.intents import Source, committed_position
from warehouse.store import intents_path

FLOW_LOG = "flow.datagrams"
ACCOUNTING_LOG = "radius.accounting"
RATED_TOPIC = "usage.rated"
SETTINGS_PRODUCER = "settings"
"""Who writes own prefixes and class rules to `directory`."""

_ID_OCTETS = 10

_CONSUMERS = {FLOW_LOG: "decode/0", ACCOUNTING_LOG: "sessions/0"}
"""The engine's task that reads each raw log."""


def database_path(settings: Settings) -> Path:
    """Return the file of stage state, topics and business data."""
    return settings.data_dir / "flowrate.sqlite"


def log_directory(settings: Settings, log: str) -> Path:
    """Return the directory of a raw log's segments."""
    return settings.data_dir / {FLOW_LOG: "flows", ACCOUNTING_LOG: "radius"}[log]


def store_directory(settings: Settings) -> Path:
    """Return the directory that the store process owns."""
    return settings.data_dir / "store"


def database_url(settings: Settings) -> str:
    """Return the SQLAlchemy URL of the engine's file."""
    return f"sqlite:///{database_path(settings)}"


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
        append_rows(instance.settings)(
            connection, "directory", SETTINGS_PRODUCER, frame_of(DirectoryEntry, rows)
        )


def business_database(settings: Settings) -> Engine:
    """Return the engine over the business database, for web and office."""
    return open_database(database_url(settings))


def log_writer(settings: Settings, log: str) -> SegmentWriter:
    """Return the writer of a raw log."""
    return SegmentWriter(log_directory(settings, log))


def runner(settings: Settings) -> EmbeddedRunner:
    """Return the stage runner; taking it ends the right of an older one to write."""
    database = business_database(settings)
    return EmbeddedRunner(
        lambda: writing(database),
        build_stages(stage_configs(settings)),
        {log: SegmentReader(log_directory(settings, log)) for log in _CONSUMERS},
        write_rows,
        settings.streams,
    )


def stage_configs(settings: Settings) -> StageConfigs:
    """Return each stage's settings."""
    return StageConfigs(
        decode=settings.rating.decode,
        sessions=settings.rating.sessions,
        attribute=settings.rating.attribution,
        rate=settings.rating.rate,
    )


def services(
    settings: Settings, secrets: Secrets, now_ms: Callable[[], int], counters: Counter[str]
) -> Services:
    """Return what the API and its pages need, over this data directory."""
    return Services(
        engine=business_database(settings),
        usage=WarehouseUsage(lambda: warehouse_client(settings, secrets)),
        append_rows=append_rows(settings),
        now_ms=now_ms,
        new_id=new_id,
        new_token=os.urandom,
        secret=secrets.page_session_key.encode(),
        operator_token=secrets.api_key,
        render_pdf=pdf.render_document,
        config=settings.api,
        read_processes=lambda: _supervisor_document(settings),
        read_watermarks=lambda: watermarks(settings),
        count=lambda name, increment: counters.update({name: increment}),
    )


def new_id(prefix: str) -> str:
    """Return a fresh id: the prefix and 80 random bits in base 32, lower case."""
    random = base64.b32encode(os.urandom(_ID_OCTETS)).decode().lower()
    return f"{prefix}_{random}"


def founding_services(instance: Instance, now_at: int) -> Services:
    """Return services that stand still at an instant and wait for nobody, to found a demo."""
    settings = dataclasses.replace(
        instance.settings,
        api=dataclasses.replace(instance.settings.api, account_event_wait_seconds=0.0),
    )
    return services(settings, instance.secrets, lambda: now_at, Counter())


def application(given: Services) -> FastAPI:
    """Return the web application over its services."""
    return create_app(given)


def login_link(instance: Instance) -> str:
    """Return the page's address: a one-click login where the settings allow it."""
    api = instance.settings.api
    root = f"http://{api.listen_address}:{api.listen_port}"
    if not api.login_link_enabled:
        return root
    expires_at = instance.clock.now_ms() + api.login_link_lifetime_seconds * 1000
    key = instance.secrets.page_session_key.encode()
    return root + login_path(key, OPERATOR.key_id, expires_at)


def _supervisor_document(settings: Settings) -> Mapping[str, Any] | None:
    status = read_status(settings.data_dir)
    return None if status is None else dataclasses.asdict(status)


def warehouse_paths(settings: Settings) -> WarehouseConfig:
    """Return the warehouse's settings with its directory filled in, without passwords."""
    return dataclasses.replace(settings.warehouse, store_directory=str(store_directory(settings)))


def warehouse_config(settings: Settings, secrets: Secrets) -> WarehouseConfig:
    """Return the warehouse's settings with directory and passwords filled in."""
    return dataclasses.replace(
        warehouse_paths(settings),
        reader_password=secrets.store_reader_password,
        sink_password=secrets.store_sink_password,
    )


def warehouse_client(settings: Settings, secrets: Secrets) -> WarehouseClient:
    """Return a reading client of the store's endpoint; raises WarehouseError where it is down."""
    return warehouse.connect.client(warehouse_config(settings, secrets))


def append_rows(settings: Settings) -> Any:
    """Return the API's way to append to `directory` and `account.events` in its transaction."""
    partitions = settings.streams.partitions

    def append(connection: Connection, topic: str, producer: str, frame: pl.DataFrame) -> None:
        sqlite_topics.append_rows(connection, topic, producer, frame, partitions=partitions)

    return append


def consumed_number(settings: Settings, log: str) -> int:
    """Return the last block of a raw log that the engine committed; 0 before it ran."""
    rows = _read_only(
        database_path(settings),
        "select position from topic_position where task = ? and topic = ?",
        (_CONSUMERS[log], log),
    )
    return int(rows[0][0]) if rows else 0


def watermarks(settings: Settings) -> dict[str, int]:
    """Return each task's least input watermark in ms, as last committed."""
    rows = _read_only(
        database_path(settings),
        "select task, min(watermark_at) from topic_watermark group by task",
        (),
    )
    return {str(task): int(at) for task, at in rows}


def _read_only(path: Path, statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run one query on another process's SQLite file; no rows while it is not there yet."""
    if not path.exists():
        return []
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10.0)
    try:
        return connection.execute(statement, arguments).fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    finally:
        connection.close()


class RatedTopicReader:
    """Reads `usage.rated` from the engine's file for the sink; opens the file read-only."""

    def __init__(self, settings: Settings) -> None:
        """Remember where the engine's file is; it may not exist yet."""
        self._path = database_path(settings)
        self._partitions = settings.streams.partitions
        self._connection: sqlite3.Connection | None = None

    def read(self, after_position: int, limit_rows: int) -> list[tuple[int, pl.DataFrame]]:
        """Return (position, rows) of whole records behind a position, in order.

        Stops before the record that would exceed limit_rows, but gives at least one. Raises
        sqlite3.Error where the file cannot be read.
        """
        if self._connection is None:
            if not self._path.exists():
                return []
            self._connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode=ro", uri=True, timeout=10.0, check_same_thread=False
            )
        return sqlite_topics.read_bodies(
            self._connection, RATED_TOPIC, after=after_position, rows_max=limit_rows
        )


def sink_position(settings: Settings) -> int:
    """Return the last position of `usage.rated` that the sink committed; 0 before it ran."""
    path = intents_path(warehouse_paths(settings))
    sink = settings.warehouse.sink
    source = Source(settings.warehouse.generation, sink.topic, sink.partition)
    return committed_position(path, source)


def office_loop(settings: Settings, now_ms: Callable[[], int]) -> OfficeLoop:
    """Return the office's loop with its UDP transport and notification channels."""
    acting = settings.office.acting
    clients = ClientTable(settings.collectors.radius.clients)

    def find_target(session: LiveSession) -> CoaTarget | None:
        nas = clients.config_of(session.nas_id)
        if not nas.secret:
            return None
        return CoaTarget(session.nas_id, session.nas_address, nas.coa_port, nas.secret, nas.vendor)

    return OfficeLoop(
        business_database(settings),
        settings.office,
        UdpCoaTransport(acting.transmission_timeouts_milliseconds, now_ms),
        find_target,
        channels_of(settings.office.notifications, settings.data_dir),
    )
