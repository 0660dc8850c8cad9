"""The one store of a test process, with known usage in it.

chDB takes one directory per process and some 390 MB, so every test that needs a store, in
whatever folder, gets this one: `opened_store()`.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import shutil
import tempfile
from decimal import Decimal
from pathlib import Path

import polars as pl

from rating.records import RatedUsage, frame_of
from rating.rows import Alert, FlowHour, LiveSession, LossHour, LossMinute
from tests.warehouse.records_made import MINUTE, MemoryTopic, rated
from warehouse.config import EndpointConfig, RetentionConfig, SinkConfig, WarehouseConfig
from warehouse.intent_tables import SqliteIntentStore
from warehouse.metrics import Counters
from warehouse.sink import Sink
from warehouse.snapshots import copy_snapshots
from warehouse.store import Store, intents_path, open_writer
from warehouse.tables import CommandSnapshot, InvoiceLineSnapshot, InvoiceSnapshot

FROM_AT = MINUTE * 60_000
UNTIL_AT = (MINUTE + 3 * 1440) * 60_000
PERIOD_START_AT = FROM_AT


HOUR = MINUTE // 60 + 1
"""An hour of which flows and loss are known; the next one, and two a day later, likewise."""

LOSS_HOURS = [
    LossHour("192.0.2.1", "v9/0", HOUR, 90, 90, 10, 0),
    LossHour("192.0.2.1", "v10/7", HOUR, 10, 200, 100, 0),
    LossHour("192.0.2.1", "v9/0", HOUR + 1, 50, 50, -3, 0),
    LossHour("192.0.2.2", "v5/0", HOUR, 100, 3_000, 0, 0),
    LossHour("192.0.2.3", "v1/0", HOUR, 200, 0, 0, 0),
    LossHour("", "kernel/2055", HOUR, 0, 0, 30, 0),
    LossHour("", "queue/2055", HOUR, 0, 0, 10, 0),
    LossHour("192.0.2.1", "v9/0", HOUR + 24, 4, 4, 4, 0),
]
FLOW_HOURS = [
    FlowHour("s0", HOUR, "192.0.2.1", 1_000_000, 10_000, 0, 1),
    FlowHour("s0", HOUR, "192.0.2.2", 500, 500, 500, 1),
    FlowHour("s0", HOUR, "192.0.2.3", 4_000, 4_000, 0, 1),
    FlowHour("s0", HOUR + 1, "192.0.2.1", 70, 70, 0, 1),
    FlowHour("s0", HOUR + 24, "192.0.2.1", 8, 8, 0, 1),
    FlowHour("s1", HOUR, "192.0.2.1", 300, 300, 300, 1),
    FlowHour("s2", HOUR, "192.0.2.1", 55, 55, 0, 1),
]


def known_usage() -> list[RatedUsage]:
    """Return three days of four subscribers (two in a pool), what matched nobody, and charges."""
    rows = []
    for number in range(4):
        for step in range(0, 3 * 1440, 7):
            rows.append(
                rated(
                    subscriber_id=f"s{number}",
                    rating_key="pool-1" if number < 2 else f"s{number}",
                    session_id=f"session-{number}-{step // 1440}",
                    traffic_class=("local", "cdn", "world")[step % 3],
                    minute=MINUTE + step,
                    octets_up=1_000 * (number + 1),
                    octets_down=10_000 * (number + 1) + step,
                    packets_up=10,
                    packets_down=20,
                    seconds=420,
                    period_start_at=PERIOD_START_AT,
                )
            )
            if step % 70 == 0:
                rows.append(
                    rated(
                        subscriber_id=f"s{number}",
                        rating_key="pool-1" if number < 2 else f"s{number}",
                        session_id=f"session-{number}-{step // 1440}",
                        traffic_class="",
                        minute=MINUTE + step,
                        meter_id="data",
                        quantity=11_000 * (number + 1),
                        charge=Decimal("0.000000001234567891") * (number + 1),
                        period_start_at=PERIOD_START_AT,
                    )
                )
    for step in range(0, 3 * 1440, 60):
        rows.append(
            rated(
                rating_key="unattributed:flows",
                subscriber_id="",
                source="flows",
                session_id="",
                minute=MINUTE + step,
                octets_down=5_000,
            )
        )
    rows.append(
        rated(
            subscriber_id="s3",
            traffic_class="local",
            minute=MINUTE + 5,
            octets_down=-700,
            is_late=True,
            received_at=FROM_AT + 40 * 86_400_000,
            period_start_at=PERIOD_START_AT,
        )
    )
    return rows


class KnownSnapshots:
    """Business rows as the engine's file would give them."""

    def changed(self, table: str, since_at: int, limit_rows: int) -> pl.DataFrame:
        """Return the same few rows each time."""
        sessions = [
            LiveSession(
                f"session-{n}", "nas-1", "192.0.2.1", f"A{n}", f"s{n}", f"user{n}", "10.0.0.1", "",
                FROM_AT, FROM_AT + 60_000, None if n else FROM_AT + 60_000, "", 1, 2, 800, 8_000,
                FROM_AT,
            )
            for n in range(3)
        ]  # fmt: skip
        alerts = [Alert("a1", "pool-1", FROM_AT, "data", 80, 80, 100, FROM_AT + 5)]
        commands = [
            CommandSnapshot(
                "c1", "s1", "session-1", "coa", "profile:slow", 1, "verified", FROM_AT + 6,
                FROM_AT + 7, FROM_AT + 8, "allowance used up",
            ),
            CommandSnapshot(
                "c2", "s2", "session-2", "disconnect", "blocked", 1, "pending", FROM_AT + 9,
                None, None, "",
            ),
        ]  # fmt: skip
        invoices = [
            InvoiceSnapshot(
                "i1", "b1", "a1", "invoice", "N-1", "finalized", FROM_AT, UNTIL_AT, UNTIL_AT, None,
                "EUR", 1_000, 200, 1_200, 0, None,
            )
        ]  # fmt: skip
        lines = [
            InvoiceLineSnapshot(
                "i1", 1, "a1", UNTIL_AT, "usage", "Data", "pool-1", "data", 5, "octet", 1_000, "20"
            )
        ]
        loss = [LossMinute("192.0.2.9", MINUTE, 99, 1, 0)]
        return {
            "live_session": frame_of(LiveSession, sessions),
            "alert": frame_of(Alert, alerts),
            "command": frame_of(CommandSnapshot, commands),
            "loss_minute": frame_of(LossMinute, loss),
            "loss_hour": frame_of(LossHour, LOSS_HOURS),
            "flow_hour": frame_of(FlowHour, FLOW_HOURS),
            "session": frame_of(LiveSession, sessions),
            "invoice": frame_of(InvoiceSnapshot, invoices),
            "invoice_line": frame_of(InvoiceLineSnapshot, lines),
        }[table]


@functools.cache
def opened_store() -> Store:
    """Return this process's store, serving, with the known usage; `config` names its port."""
    directory = tempfile.mkdtemp(prefix="flowrate-store-")
    config = WarehouseConfig(
        store_directory=directory,
        reader_password="read-secret",
        sink_password="sink-secret",
        # The known usage is older than what is kept by default.
        retention=RetentionConfig(subscriber_minute_days=0),
        endpoint=EndpointConfig(
            port=0, execution_seconds=2, result_rows=200_000, statement_octets=100_000
        ),
    )
    store = Store(config, Counters(), now_ms=1)
    endpoint = dataclasses.replace(config.endpoint, port=store.port)
    store.config = dataclasses.replace(config, endpoint=endpoint)
    store.__enter__()
    atexit.register(_close, store, Path(directory))
    _fill(store)
    return store


def _fill(store: Store) -> None:
    frame = frame_of(RatedUsage, known_usage())
    topic = MemoryTopic([(n + 1, part) for n, part in enumerate(frame.iter_slices(1000))])
    writer = open_writer(store.engine, store.config)
    intents = SqliteIntentStore(intents_path(store.config))
    sink = Sink(SinkConfig(batch_rows=1500), 1, topic, writer, intents, Counters())
    while sink.step():
        pass
    copy_snapshots(KnownSnapshots(), writer, 1, since_at=0, now_ms=FROM_AT)
    intents.close()
    writer.close()


def _close(store: Store, directory: Path) -> None:
    store.__exit__()
    shutil.rmtree(directory, ignore_errors=True)
