"""Flowrate from the UDP socket to rated usage, for an exporter that a test starts.

The real receiver writes its log, the real stages run over a migrated SQLite file; static prefixes
say who owns which address, and each line is subscribed to a plan that is measured by flows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
from sqlalchemy import Engine

from billing.adapters.databases import open_database, writing
from billing.adapters.rows import write_rows
from collectors.adapters import flow_receiver
from collectors.adapters.segments import SegmentReader, SegmentWriter
from collectors.config import FlowConnectionsConfig, FlowReceiverConfig, RadiusConfig
from collectors.metrics import Counters
from collectors.netflow.config import FlowDecodeConfig
from infra.migrate import migrate
from rating.config import RateConfig
from rating.events import SubscriptionStarted, account_event
from rating.periods import Calendar
from rating.plans import VOLUME_METER, plan_from
from rating.records import AccountEvent, DirectoryEntry, RatedUsage, frame_of, schema_of
from rating.session_config import AttributionConfig, SessionsConfig
from streams.adapters import sqlite_topics
from streams.config import StreamsConfig
from streams.embedded import EmbeddedRunner
from streams.sessions import SessionsStageConfig
from streams.topology import StageConfigs, build_stages

PATIENCE_SECONDS = 15.0
_RECEIVER = FlowReceiverConfig(
    listen=("127.0.0.1:0",),
    block_milliseconds=50,
    connections=FlowConnectionsConfig(listen=("127.0.0.1:0",)),
)
_DAY_MS = 86_400_000
_SETTLE_MS = 600_000
PLAN = plan_from(
    {
        "plan_id": "leased",
        "version": 1,
        "name": "Leased line",
        "currency": "BDT",
        "measured_by": "flows",
        "meters": [
            {
                "meter_id": "data",
                "curve": {"model": "payg", "unit_price": "2.50", "unit": 10**9},
            }
        ],
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A subscriber, the prefix that is statically theirs, and who is charged for it."""

    subscriber_id: str
    prefix: str
    rating_key: str


@dataclasses.dataclass(frozen=True, slots=True)
class Rated:
    """What the stages made of the traffic.

    up and down are octets of `usage.rated` by subscriber, counters the quantities by rating key,
    minutes the first and last minute of any usage, and counts what the stages counted.
    """

    up: Mapping[str, int]
    down: Mapping[str, int]
    counters: Mapping[str, int]
    minutes: tuple[int, int]
    counts: Mapping[str, int]


class Receiving:
    """The flow receiver at work: its ports for UDP and TCP, and what it made durable."""

    def __init__(self, ports: list[int], counters: Counters) -> None:
        self.port, self.tcp_port = ports
        self._counters = counters

    def wait_for(self, datagrams: int) -> None:
        """Return when so many datagrams are durable; fail where they are not all there in time."""
        until = time.monotonic() + PATIENCE_SECONDS
        while self._counters.get("flow_appended_datagrams") < datagrams:
            assert time.monotonic() < until, self._counters.snapshot()
            time.sleep(0.01)
        assert self._counters.get("flow_appended_datagrams") == datagrams


@contextlib.contextmanager
def receiving(directory: Path) -> Iterator[Receiving]:
    """Run the flow receiver into `directory`/flows on free ports of 127.0.0.1."""
    counters, stop, listening = Counters(), threading.Event(), threading.Event()
    ports: list[int] = []
    failures: list[BaseException] = []

    def on_listening(bound: list[int]) -> None:
        ports.extend(bound)
        listening.set()

    def target() -> None:
        writer = SegmentWriter(directory / "flows")
        try:
            flow_receiver.run(
                _RECEIVER,
                writer,
                now_ms=now_ms,
                stop=stop,
                counters=counters,
                on_listening=on_listening,
            )
        except BaseException as error:
            failures.append(error)
            listening.set()
        finally:
            writer.close()

    thread = threading.Thread(target=target)
    thread.start()
    try:
        assert listening.wait(PATIENCE_SECONDS)
        assert not failures, failures
        yield Receiving(ports, counters)
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
    assert not failures, failures
    assert counters.get("flow_kernel_drops") == 0


def rate(directory: Path, lines: list[Line], own_prefixes: list[str]) -> Rated:
    """Take the received log through every stage, with the watermark far behind it."""
    database = found(directory, lines, own_prefixes)
    try:
        mark(directory, now_ms() + _SETTLE_MS)
        runner = EmbeddedRunner(
            lambda: writing(database),
            build_stages(_CONFIGS),
            {
                "flow.datagrams": SegmentReader(directory / "flows"),
                "radius.accounting": SegmentReader(directory / "radius"),
            },
            write_rows,
            StreamsConfig(),
        )
        while runner.run_once():
            pass
        return read_rated(database, runner.counters)
    finally:
        database.dispose()


def mark(directory: Path, through_at: int) -> None:
    """Write "received through" behind both raw logs."""
    for log in ("flows", "radius"):
        writer = SegmentWriter(directory / log)
        writer.append("marker", through_at, b"")
        writer.close()


_CONFIGS = StageConfigs(
    decode=FlowDecodeConfig(),
    sessions=SessionsStageConfig(SessionsConfig(), RadiusConfig()),
    attribute=AttributionConfig(),
    rate=RateConfig(),
)


def found(directory: Path, lines: list[Line], own_prefixes: list[str]) -> Engine:
    """Make the database, and write who is who and who subscribes to what from yesterday on."""
    url = f"sqlite:///{directory / 'flowrate.sqlite'}"
    migrate(url)
    database = open_database(url)
    entries = [
        DirectoryEntry(f"own/{prefix}", 1, "own_prefix", prefix, "", 0, 0, None)
        for prefix in own_prefixes
    ]
    for n, line in enumerate(lines):
        match, who = line.prefix, line.subscriber_id
        entries.append(DirectoryEntry(f"p{n}", 1, "static_prefix", match, who, 0, 0, None))
        entries.append(DirectoryEntry(f"m{n}", 1, "membership", who, line.rating_key, 0, 0, None))
    at = (now_ms() - _DAY_MS) // 60_000 * 60_000
    payload = SubscriptionStarted(plan=PLAN, calendar=Calendar())
    events = [
        account_event(f"start/{key}", key, payload, effective_at=at, received_at=at)
        for key in sorted({line.rating_key for line in lines})
    ]
    with writing(database) as connection:
        sqlite_topics.create_tables(connection)
        for topic, frame in (
            ("directory", frame_of(DirectoryEntry, entries)),
            ("account.events", frame_of(AccountEvent, events)),
        ):
            sqlite_topics.append_rows(connection, topic, "test", frame, partitions=1)
    return database


def read_rated(database: Engine, counts: Mapping[str, int]) -> Rated:
    """Return all rated usage and counters of the database; counts is passed through."""
    with database.connect() as connection:
        read = sqlite_topics.read_topic(connection, "usage.rated", 0, after=0, rows_max=2**62)
        totals = connection.exec_driver_sql(
            "select rating_key, sum(quantity) from usage_counter"
            " where meter_id = 'data' group by rating_key"
        )
        counters = {str(key): int(quantity) for key, quantity in totals}
    rows = pl.concat([schema_of(RatedUsage).to_frame(), *read.frames])
    volume = rows.filter(pl.col("meter_id") == VOLUME_METER)
    sums = volume.group_by("subscriber_id").agg(pl.col("octets_up", "octets_down").sum())
    minutes = volume["minute"].to_list()
    return Rated(
        up=dict(sums.select("subscriber_id", "octets_up").iter_rows()),
        down=dict(sums.select("subscriber_id", "octets_down").iter_rows()),
        counters=counters,
        minutes=(min(minutes, default=0), max(minutes, default=0)),
        counts=counts,
    )


def now_ms() -> int:
    """Return the present instant in ms."""
    return time.time_ns() // 1_000_000
