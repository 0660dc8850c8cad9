"""Datagrams to rated usage through the engine: `python -m tests.benchmarks.bench_pipeline`.

Lines with live sessions move data for some minutes; the real runner takes the logs through decode,
sessions, attribute and rate with its SQLite transactions. Prints each stage's own time, then the
whole pass, commits included.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import ipaddress
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from billing.adapters.databases import open_database, writing
from billing.adapters.rows import write_rows
from collectors.adapters.segments import SegmentReader, SegmentWriter
from collectors.config import NasConfig, RadiusConfig
from collectors.datagrams import Datagram, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.radius.log_codec import AccountingPacket, encode_packets
from infra.migrate import migrate
from infra.simulation.accounting_packets import NasIdentity, encode_accounting
from infra.simulation.flow_packets import NetflowV9Exporter
from infra.simulation.network import AccountingEvent, FlowRecord
from rating.config import RateConfig
from rating.events import SubscriptionStarted, account_event
from rating.periods import Calendar
from rating.plans import plan_from
from rating.ports import Batch, StateView, StepResult
from rating.records import AccountEvent, DirectoryEntry, frame_of
from rating.session_config import AttributionConfig, SessionsConfig
from streams.adapters import sqlite_topics
from streams.config import StreamsConfig
from streams.embedded import EmbeddedRunner
from streams.sessions import SessionsStageConfig
from streams.stage import Stage
from streams.topology import StageConfigs, build_stages

START_SECONDS = 1_767_225_600
SECRET = "bench"
NAS = NasIdentity("127.0.0.21", "nas", SECRET.encode())
EXPORTER = bytes(10) + b"\xff\xff" + bytes([127, 0, 0, 11])
PLAN = {
    "plan_id": "p",
    "version": 1,
    "name": "P",
    "currency": "BDT",
    "meters": [
        {
            "meter_id": "data",
            "curve": {
                "model": "allowance_overage",
                "allowance": 10**9,
                "unit_price": "1",
                "unit": 10**9,
            },
        }
    ],
}


def _address(line: int) -> str:
    return str(ipaddress.ip_address("100.64.0.0") + line)


def _directory(lines: int) -> list[DirectoryEntry]:
    rules = [
        DirectoryEntry("own", 1, "own_prefix", "100.64.0.0/10", "", 0, 0, None),
        DirectoryEntry("cdn", 1, "class_rule", '{"prefixes": ["192.0.2.0/24"]}', "cdn", 0, 0, None),
    ]
    for line in range(lines):
        name = f"line{line}"
        rules.append(
            DirectoryEntry(f"i{line}", 1, "identity", f"user_name:{name}", name, 0, 0, None)
        )
        rules.append(DirectoryEntry(f"m{line}", 1, "membership", name, name, 0, 0, None))
    return rules


def _subscriptions(lines: int) -> list[AccountEvent]:
    payload = SubscriptionStarted(plan=plan_from(PLAN), calendar=Calendar())
    at = START_SECONDS * 1000
    return [
        account_event(f"e{line}", f"line{line}", payload, effective_at=at, received_at=at)
        for line in range(lines)
    ]


def _accounting(lines: int, minute: int) -> bytes:
    seconds = START_SECONDS + 60 * minute
    status = "start" if minute == 0 else "interim"
    packets = []
    for line in range(lines):
        octets = minute * 1_000_000
        event = AccountingEvent(
            status,
            f"s{line}",
            f"line{line}",
            _address(line),
            "2001:db8::/64",
            seconds,
            60 * minute,
            octets // 8,
            octets,
            minute,
            minute,
        )
        packet = encode_accounting(event, NAS, line)
        packets.append(AccountingPacket(seconds * 1000, "nas1", EXPORTER, 1, packet))
    return encode_packets(packets)


def _flows(lines: int, minute: int, count: int, chance: np.random.Generator) -> list[Datagram]:
    now = (START_SECONDS + 60 * minute + 59) * 1000
    exporter = NetflowV9Exporter(source_id=1, booted_at=START_SECONDS * 1000 - 600_000)
    owners = chance.integers(0, lines, count)
    octets = chance.integers(100, 100_000, count)
    records = [
        FlowRecord(
            0,
            "192.0.2.7" if n % 3 else "198.18.0.1",
            _address(int(owners[n])),
            443,
            1024 + n % 60_000,
            6,
            int(octets[n]),
            1 + int(octets[n]) // 900,
            now - 30_000,
            now - 1_000,
        )
        for n in range(count)
    ]
    payloads = [exporter.templates(now), *exporter.data(records, now)]
    return [Datagram(now, EXPORTER, 5000 + minute, 2055, payload) for payload in payloads]


def _timed(stage: Stage, spent: Counter[str]) -> Stage:
    @functools.wraps(stage.step)
    def step(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        begun = time.process_time_ns()
        result = stage.step(view, batch, watermark_at=watermark_at)
        spent[stage.name] += time.process_time_ns() - begun
        return result

    return dataclasses.replace(stage, step=step)


def _configs() -> StageConfigs:
    client = NasConfig("nas1", "127.0.0.21", SECRET)
    return StageConfigs(
        decode=FlowDecodeConfig(),
        sessions=SessionsStageConfig(
            SessionsConfig(interim_interval_seconds=60), RadiusConfig(clients=(client,))
        ),
        attribute=AttributionConfig(),
        rate=RateConfig(),
    )


def main() -> None:
    """Print CPU seconds per million flows of each stage and of the whole engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=5_000)
    parser.add_argument("--minutes", type=int, default=5)
    parser.add_argument("--flows-per-minute", type=int, default=60_000)
    options = parser.parse_args()
    chance = np.random.default_rng(1)
    spent: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        url = f"sqlite:///{directory / 'flowrate.sqlite'}"
        migrate(url)
        database = open_database(url)
        with writing(database) as connection:
            sqlite_topics.create_tables(connection)
            for topic, record, rows in (
                ("directory", DirectoryEntry, _directory(options.lines)),
                ("account.events", AccountEvent, _subscriptions(options.lines)),
            ):
                frame = frame_of(record, rows)
                sqlite_topics.append_rows(connection, topic, "bench", frame, partitions=1)
        flow_log = SegmentWriter(directory / "flows")
        accounting_log = SegmentWriter(directory / "radius")
        runner = EmbeddedRunner(
            lambda: writing(database),
            [_timed(stage, spent) for stage in build_stages(_configs())],
            {
                "flow.datagrams": SegmentReader(directory / "flows"),
                "radius.accounting": SegmentReader(directory / "radius"),
            },
            write_rows,
            StreamsConfig(),
        )
        runner.run_once()
        spent.clear()
        total = wall = 0
        for minute in range(options.minutes):
            through = (START_SECONDS + 60 * (minute + 1)) * 1000
            accounting_log.append("data", through, _accounting(options.lines, minute))
            accounting_log.append("marker", through, b"")
            datagrams = _flows(options.lines, minute, options.flows_per_minute, chance)
            for first in range(0, len(datagrams), 500):
                body = encode_datagrams(datagrams[first : first + 500])
                flow_log.append("data", through, body)
            flow_log.append("marker", through, b"")
            begun, wall_begun = time.process_time_ns(), time.perf_counter_ns()
            while runner.run_once():
                pass
            total += time.process_time_ns() - begun
            wall += time.perf_counter_ns() - wall_begun
    flows = options.minutes * options.flows_per_minute
    packets = options.minutes * options.lines
    spent["commit"] = total - sum(spent.values())
    for name in ("decode", "sessions", "attribute", "rate", "commit"):
        print(
            f"pipeline {name:10} {flows / spent[name] * 1e9:>11,.0f} flows/s of a core, "
            f"{spent[name] / flows / 1e3:7.3f} CPU s per million flows"
        )
    print(
        f"pipeline {'whole':10} {flows / wall * 1e9:>11,.0f} flows/s, end to end, "
        f"{total / flows / 1e3:7.3f} CPU s per million flows, "
        f"with {packets / wall * 1e9:,.0f} accounting packets/s"
    )


if __name__ == "__main__":
    main()
