"""Datagrams dropped on purpose: the subscriber's hour says what may be missing, from end to end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from billing.adapters import tables
from billing.adapters.rows import write_rows
from collectors.datagrams import Datagram, encode_datagrams
from collectors.drops import Drops, report_of
from collectors.netflow.config import FlowDecodeConfig
from rating import attribute_step
from rating.ports import Batch, Block, MemoryState
from rating.records import DirectoryEntry, SessionBinding, frame_of
from rating.rows import FlowHour, LossHour
from rating.session_config import AttributionConfig
from streams import decode
from tests.collectors.netflow import exports as x
from warehouse.answers import FlowQuality
from warehouse.connect import WarehouseClient
from warehouse.queries import flow_quality
from warehouse.snapshots import SqliteSnapshotReader, copy_snapshots
from warehouse.store import Store, open_writer

HOUR_MS = 3_600_000
AT = x.EXPORTED_AT * 1000
HOUR_AT = AT // HOUR_MS * HOUR_MS
OWN = DirectoryEntry("own", 1, "own_prefix", "10.0.0.0/8", "", 0, 0, None)
OCTETS = 1_000


def sent(number: int, exporter: str, version: int) -> Datagram:
    """Return one datagram with a flow of OCTETS octets of 10.0.0.1."""
    if version == 1:
        payload = bytearray(x.v1([x.v1_record("192.0.2.9", "10.0.0.1", OCTETS)]))
        payload[-1] = number  # Padding: else they were duplicates.
        return Datagram(AT, x.mapped(exporter), 50_000, 2055, bytes(payload))
    sets = [x.template(256, x.BASIC), x.data(256, [x.basic("192.0.2.9", "10.0.0.1", OCTETS)])]
    return Datagram(AT, x.mapped(exporter), 50_000, 2055, x.v9(sets, sequence=number))


def told(datagrams: Sequence[Datagram], subscriber: str) -> list[Any]:
    """Return the rows that decode and attribute make of datagrams, one a batch."""
    state, rows, flows = MemoryState(), [], []
    directory = [frame_of(DirectoryEntry, [OWN])]
    for datagram in datagrams:
        block = Block(1, "data", AT, encode_datagrams([datagram]))
        batch = Batch(blocks=[block], frames={"directory": directory})
        result = decode.step(state, batch, watermark_at=0, config=FlowDecodeConfig())
        state.apply(result)
        rows += [row for row in result.rows if isinstance(row, LossHour)]
        flows += [o.frame for o in result.outputs if o.topic == "flow.minutes"]
    address = x.mapped("10.0.0.1")
    binding = SessionBinding("b", 1, address, 128, 0, subscriber, "session", 0, None, 0)
    frames = {"flow.minutes": flows, "session.bindings": [frame_of(SessionBinding, [binding])]}
    watermark_at = HOUR_AT + HOUR_MS + 30_000
    result = attribute_step.step(
        MemoryState(), Batch(frames=frames), watermark_at=watermark_at, config=AttributionConfig()
    )
    return rows + [row for row in result.rows if isinstance(row, FlowHour)]


@pytest.mark.parametrize(
    ("exporter", "version", "numbers", "missing"),
    [
        ("198.51.100.1", 9, range(100), 0),
        ("198.51.100.2", 9, [n for n in range(100) if n % 10 != 5], 10 * OCTETS),
        ("198.51.100.3", 9, [*range(40), *range(60, 100), *range(45, 55)], 10 * OCTETS),
        ("198.51.100.4", 9, [0, 3, 1, 2], 0),
    ],
    ids=["nothing lost", "one in ten", "half of a gap came late", "only reordered"],
)
def test_the_hour_of_a_subscriber(
    tmp_path: Path,
    store: Store,
    reading: WarehouseClient,
    exporter: str,
    version: int,
    numbers: Sequence[int],
    missing: int,
) -> None:
    found = asked(tmp_path, store, reading, [sent(n, exporter, version) for n in numbers], exporter)
    octets = len(numbers) * OCTETS
    assert found == FlowQuality(HOUR_AT, octets, octets, octets, missing, 0)


def test_an_exporter_without_numbers_bears_the_collectors_drops(
    tmp_path: Path, store: Store, reading: WarehouseClient
) -> None:
    """20 came and 5 were dropped, of whomever: so a quarter of what came may be missing."""
    datagrams = [sent(n, "198.51.100.9", 1) for n in range(20)]
    # Drops are the whole hour's, and the store is shared: an hour of its own.
    at = HOUR_MS * 500_000
    datagrams += [report_of(Drops(2055, at, 3, 0)), report_of(Drops(2055, at, 0, 2))]
    moved = [dataclasses.replace(datagram, received_at=at) for datagram in datagrams]
    rows = [row for row in told(moved, "unnumbered") if isinstance(row, LossHour)]
    usage = FlowHour("unnumbered", 500_000, "198.51.100.9", 20_000, 20_000, 0, at)
    copy(tmp_path, store, [*rows, usage])
    query = flow_quality("hour")
    (found,) = query.rows(reading, from_at=at, until_at=at + HOUR_MS, subscriber_ids=["unnumbered"])
    assert (found.octets_missing, found.octets_unnumbered) == (5_000, 20_000)


def asked(
    tmp_path: Path,
    store: Store,
    reading: WarehouseClient,
    datagrams: Sequence[Datagram],
    subscriber: str,
) -> FlowQuality:
    """Return what the warehouse says of the subscriber's only hour."""
    copy(tmp_path, store, told(datagrams, subscriber))
    query = flow_quality("hour")
    (found,) = query.rows(
        reading, from_at=HOUR_AT, until_at=HOUR_AT + HOUR_MS, subscriber_ids=[subscriber]
    )
    return found


def copy(tmp_path: Path, store: Store, rows: Sequence[Any]) -> None:
    """Write rows as the engine does and copy them as the sink does."""
    path = tmp_path / "flowrate.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        write_rows(connection, rows)
    engine.dispose()
    writer = open_writer(store.engine, store.config)
    names = ("loss_hour", "flow_hour")
    reader = SqliteSnapshotReader(path)
    copy_snapshots(reader, writer, 1, since_at=0, now_ms=AT, names=names)
    writer.close()
