"""Business rows copied for the dashboards: from the engine's real tables, newest copy by key."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert

from billing.adapters import tables
from rating.records import schema_of
from rating.rows import Alert, FlowHour, LiveSession, LossHour, LossMinute
from tests.databases import KINDS, server, sqlalchemy_url
from warehouse.config import SinkConfig
from warehouse.metrics import Counters
from warehouse.snapshots import (
    CHANGED_SINCE,
    OVERLAP_MS,
    PostgresSnapshotReader,
    SnapshotCopies,
    SnapshotReader,
    SqliteSnapshotReader,
    copy_snapshots,
)
from warehouse.tables import SNAPSHOTS

SESSION = LiveSession(
    "s-1", "nas", "192.0.2.1", "A1", "sub-1", "alice", "10.0.0.1", "", 1_000, 500_000, None, "",
    1, 2, 3, 4, 1_000,
)  # fmt: skip
ALERT = Alert("a-1", "sub-1", 0, "data", 80, 80, 100, 500_000)


PERIOD_END_AT = 450_000
INVOICE = {
    "invoice_id": "i-1", "branch_id": "b", "account_id": "acc", "series": "invoice",
    "number": "N-1", "status": "finalized", "period_start_at": 0, "period_end_at": PERIOD_END_AT,
    "issued_at": 500_000, "currency": "EUR", "subtotal_minor": 10, "tax_minor": 2,
    "total_minor": 12, "hash": "", "document": "",
}  # fmt: skip
DRAFT = INVOICE | {
    "invoice_id": "i-2", "number": None, "status": "draft", "issued_at": None,
    "period_end_at": PERIOD_END_AT + 1,
}  # fmt: skip
LINE = {
    "invoice_id": "i-1", "line": 1, "kind": "usage", "description": "Data", "rating_key": "sub-1",
    "meter_id": "data", "quantity": 5, "unit": "octet", "amount_minor": 10, "tax_rate": "20",
    "evidence": "{}",
}  # fmt: skip
COMMAND = {
    "command_id": "c-1", "subscriber_id": "sub-1", "session_id": "s-1", "kind": "coa",
    "target": "blocked", "attempt": 1, "vendor_profile": "x", "outcome": "pending",
    "requested_at": 1, "reason": "",
}  # fmt: skip


def fill(url: str) -> None:
    """Write one business row of each kind, and a draft that is nobody's business."""
    engine = create_engine(url)
    tables.metadata.create_all(engine)
    known = tables.metadata.tables
    with engine.begin() as connection:
        for name, row in (
            ("branch", {"branch_id": "b", "name": "B", "timezone": "UTC", "currency": "EUR",
                        "invoice_prefix": "N", "language": "en"}),
            ("account", {"account_id": "acc", "branch_id": "b", "name": "A", "kind": "person",
                         "email": "", "phone": "", "created_at": 0}),
            ("live_session", dataclasses.asdict(SESSION)),
            ("alert", dataclasses.asdict(ALERT)),
            ("loss_minute", dataclasses.asdict(LossMinute("192.0.2.9", 8, 99, 1, 0))),
            ("loss_hour", dataclasses.asdict(LossHour("192.0.2.9", "v9/0", 0, 9, 9, 1, 0))),
            ("flow_hour", dataclasses.asdict(FlowHour("s1", 0, "192.0.2.9", 9, 9, 0, 500_000))),
            ("command", COMMAND),
            ("invoice", INVOICE),
            ("invoice", DRAFT),
            ("invoice_line", LINE),
        ):  # fmt: skip
            connection.execute(insert(known[name]), [row])
    engine.dispose()


@pytest.fixture(params=KINDS)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SnapshotReader]:
    if request.param == "sqlite":
        fill(f"sqlite:///{tmp_path / 'flowrate.sqlite'}")
        yield SqliteSnapshotReader(tmp_path / "flowrate.sqlite")
        return
    name = f"snapshots_{uuid.uuid4().hex}"
    url = sqlalchemy_url(server().create_database(name))
    fill(url)
    engine = create_engine(url)
    yield PostgresSnapshotReader(engine)
    engine.dispose()
    server().drop_database(name)


@pytest.mark.parametrize("name", list(CHANGED_SINCE))
def test_rows_come_as_their_record(reader: SnapshotReader, name: str) -> None:
    frame = reader.changed(name, 400_000, 10)
    assert frame.schema == schema_of(SNAPSHOTS[name][0])
    assert frame.height == 1


def test_old_rows_stay_behind_but_a_pending_command_comes_again(reader: SnapshotReader) -> None:
    assert reader.changed("live_session", 500_001, 10).height == 0
    assert reader.changed("alert", 500_001, 10).height == 0
    assert reader.changed("command", 500_001, 10).height == 1
    assert reader.changed("loss_minute", 540_000, 10).height == 0
    assert reader.changed("loss_hour", 3_600_000, 10).height == 0
    assert reader.changed("flow_hour", 500_001, 10).height == 0
    assert reader.changed("invoice", 500_001, 10).height == 0
    assert reader.changed("invoice_line", 500_001, 10).height == 0


def test_drafts_are_not_copied(reader: SnapshotReader) -> None:
    assert reader.changed("invoice", 0, 10)["invoice_id"].to_list() == ["i-1"]


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


def test_a_copy_reaches_back_a_little(reader: SnapshotReader) -> None:
    writer = RecordedInserts()
    since = 500_000 + OVERLAP_MS
    copied = copy_snapshots(reader, writer, 3, since_at=since, now_ms=since + 5)
    assert copied == len(SNAPSHOTS)
    assert set(writer.inserted) == {f"{name}_3" for name in SNAPSHOTS}


def test_invoices_are_copied_less_often(reader: SnapshotReader) -> None:
    counters = Counters()
    config = SinkConfig(snapshot_interval_seconds=5.0, invoice_interval_seconds=300.0)
    copies = SnapshotCopies(reader, config, counters)
    writer = RecordedInserts()
    copies.copy_due(writer, 1, 600_000)
    assert set(writer.inserted) == {f"{name}_1" for name in SNAPSHOTS}
    writer.inserted.clear()
    copies.copy_due(writer, 1, 604_000)
    assert writer.inserted == {}
    copies.copy_due(writer, 1, 605_000)
    again = {"command_1": "a pending one", "loss_hour_1": "the running hour"}
    assert set(writer.inserted) == set(again)


def test_an_hour_of_flows_is_copied_though_it_is_told_late(reader: SnapshotReader) -> None:
    """It bears its end as its time, and the engine may be half an hour behind."""
    copies = SnapshotCopies(reader, SinkConfig(invoice_interval_seconds=300.0), Counters())
    copied = []
    for now_ms in (1_600_000, 2_200_000, 2_600_000):
        writer = RecordedInserts()
        copies.copy_due(writer, 1, now_ms)
        copied.append("flow_hour_1" in writer.inserted)
    assert copied == [True, True, True]
    for now_ms in (3_000_000, 3_400_000):
        writer = RecordedInserts()
        copies.copy_due(writer, 1, now_ms)
        assert "flow_hour_1" not in writer.inserted


def test_a_database_without_the_tables_is_empty_on_postgresql_too() -> None:
    name = f"snapshots_{uuid.uuid4().hex}"
    engine = create_engine(sqlalchemy_url(server().create_database(name)))
    assert PostgresSnapshotReader(engine).changed("alert", 0, 10).height == 0
    engine.dispose()
    server().drop_database(name)
