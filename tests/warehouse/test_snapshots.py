"""Business rows copied for the dashboards: from the engine's real tables, newest copy by key."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert

from billing.adapters import tables
from rating.records import schema_of
from rating.rows import Alert, LiveSession, LossMinute
from warehouse.metrics import Counters
from warehouse.snapshots import (
    CHANGED_SINCE,
    OVERLAP_MS,
    SqliteSnapshotReader,
    copy_snapshots,
)
from warehouse.tables import SNAPSHOTS

SESSION = LiveSession(
    "s-1", "nas", "192.0.2.1", "A1", "sub-1", "alice", "10.0.0.1", "", 1_000, 500_000, None, "",
    1, 2, 3, 4, 1_000,
)  # fmt: skip
ALERT = Alert("a-1", "sub-1", 0, "data", 80, 80, 100, 500_000)


@pytest.fixture
def business(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "flowrate.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        known = tables.metadata.tables
        connection.execute(insert(known["live_session"]), [dataclasses.asdict(SESSION)])
        connection.execute(insert(known["alert"]), [dataclasses.asdict(ALERT)])
        loss = LossMinute("192.0.2.9", 8, 99, 1, 0)
        connection.execute(insert(known["loss_minute"]), [dataclasses.asdict(loss)])
        command = {
            "command_id": "c-1", "subscriber_id": "sub-1", "session_id": "s-1", "kind": "coa",
            "target": "blocked", "attempt": 1, "vendor_profile": "x", "outcome": "pending",
            "requested_at": 1, "reason": "",
        }  # fmt: skip
        connection.execute(insert(known["command"]), [command])
    yield path
    engine.dispose()


@pytest.mark.parametrize("name", list(CHANGED_SINCE))
def test_rows_come_as_their_record(business: Path, name: str) -> None:
    frame = SqliteSnapshotReader(business).changed(name, 400_000, 10)
    assert frame.schema == schema_of(SNAPSHOTS[name][0])
    assert frame.height == 1


def test_old_rows_stay_behind_but_a_pending_command_comes_again(business: Path) -> None:
    reader = SqliteSnapshotReader(business)
    assert reader.changed("live_session", 500_001, 10).height == 0
    assert reader.changed("alert", 500_001, 10).height == 0
    assert reader.changed("command", 500_001, 10).height == 1
    assert reader.changed("loss_minute", 540_000, 10).height == 0


def test_a_missing_file_or_table_is_empty(tmp_path: Path) -> None:
    reader = SqliteSnapshotReader(tmp_path / "none.sqlite")
    assert reader.changed("alert", 0, 10).height == 0
    (tmp_path / "none.sqlite").write_bytes(b"")
    assert reader.changed("alert", 0, 10).height == 0
    assert reader.changed("loss_minute", 0, 10).height == 0


class RecordedInserts:
    def __init__(self) -> None:
        self.inserted: dict[str, int] = {}

    def insert_arrow(self, table: str, arrow_table: object, *, settings: object = None) -> None:
        self.inserted[table] = arrow_table.num_rows  # type: ignore[attr-defined]

    def command(self, cmd: str) -> int:
        raise AssertionError(cmd)


def test_a_copy_reaches_back_a_little(business: Path) -> None:
    writer = RecordedInserts()
    since = 500_000 + OVERLAP_MS
    reader = SqliteSnapshotReader(business)
    copied = copy_snapshots(reader, writer, 3, Counters(), since_at=since, now_ms=since + 5)
    assert copied == 4
    assert set(writer.inserted) == {"live_session_3", "alert_3", "command_3", "loss_minute_3"}
