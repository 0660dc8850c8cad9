"""Subscribers behind a carrier-grade NAT: every octet seen outside is whose the auditor says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.adapters.databases import open_database, writing
from collectors.datagrams import Datagram, encode_datagrams
from infra.settings import load_settings
from infra.wiring.engine import stage_configs
from rating.records import DirectoryEntry, SessionBinding, frame_of
from streams.adapters import sqlite_topics
from streams.config import StreamsConfig
from streams.embedded import EmbeddedRunner
from streams.repair import ReplayLog
from streams.topology import build_stages
from tests.collectors.netflow.exports import mapped
from tests.simulation.nat_world import DYNAMIC, FIXED, FORMULA, MINUTE_MS, START_AT, NatWorld
from tests.streams.nat_stage import own_prefix, pool_entry

RETENTION_SECONDS = 900
Totals = dict[tuple[str, int], tuple[int, int]]


def directory() -> list[DirectoryEntry]:
    fixed = [
        DirectoryEntry(f"static:{address}", 1, "static_prefix", address, who, 0, 0, None)
        for address, who in FIXED.items()
    ]
    return [pool_entry(DYNAMIC), pool_entry(FORMULA), own_prefix("100.64.0.0/10"), *fixed]


def measured(
    world: NatWorld, folder: Path, *, per_block: int, partitions: int = 1, passes: int = 10_000
) -> Totals:
    """Return (subscriber, minute) -> octets up and down by the stages over scratch databases.

    After so many passes another engine takes over from what was committed.
    """
    flags = [f"rating.attribution.nat_binding_retention_seconds={RETENTION_SECONDS}"]
    stages = build_stages(stage_configs(load_settings(None, flags, {})))
    name = f"{per_block}-{partitions}-{passes}"
    databases = [
        open_database(f"sqlite:///{folder / what}-{name}.sqlite", synchronous="normal")
        for what in ("logs", "stages")
    ]
    logs = ReplayLog(lambda: writing(databases[0]))
    logs.add("flow.datagrams", _blocks(world, per_block))
    for log in ("flow.datagrams", "radius.accounting"):
        logs.seal(log, START_AT + 24 * 60 * MINUTE_MS)
    readers = {log: logs.reader(log) for log in ("flow.datagrams", "radius.accounting")}
    config = StreamsConfig(partitions=partitions, batch_blocks_max=8)
    measuring = [stage for stage in stages if stage.name != "rate"]
    totals: Totals = {}
    try:
        runner = EmbeddedRunner(
            lambda: writing(databases[1]), measuring, readers, lambda *_: None, config
        )
        with writing(databases[1]) as connection:
            for topic, record, rows in (
                ("directory", DirectoryEntry, directory()),
                ("session.bindings", SessionBinding, world.bindings),
            ):
                frame = frame_of(record, rows)
                sqlite_topics.append_rows(connection, topic, "seed", frame, partitions=partitions)
        done = 0
        while runner.run_once():
            done += 1
            if done % passes == 0:
                runner = EmbeddedRunner(
                    lambda: writing(databases[1]), measuring, readers, lambda *_: None, config
                )
        with writing(databases[1]) as connection:
            for partition in range(partitions):
                read = sqlite_topics.read_topic(
                    connection, "usage.measured", partition, after=0, rows_max=1 << 60
                )
                for row in (row for frame in read.frames for row in frame.iter_rows(named=True)):
                    key = (row["subscriber_id"], row["minute"])
                    up, down = totals.get(key, (0, 0))
                    totals[key] = (up + row["octets_up"], down + row["octets_down"])
    finally:
        for database in databases:
            database.dispose()
    return {key: octets for key, octets in totals.items() if octets != (0, 0)}


def _blocks(world: NatWorld, per_block: int) -> Iterator[tuple[int, str, int, bytes]]:
    for number, start in enumerate(range(0, len(world.datagrams), per_block)):
        sent = world.datagrams[start : start + per_block]
        datagrams = [Datagram(s.received_at, mapped(s.source), 5000, 2055, s.payload) for s in sent]
        yield sent[-1].received_at, "log", number, encode_datagrams(datagrams)


@pytest.mark.parametrize("seed", range(3))
def test_every_octet_is_whose_the_auditor_says(seed: int, tmp_path: Path) -> None:
    world = NatWorld(seed)
    wanted = world.expected(RETENTION_SECONDS * 1000)
    found = measured(world, tmp_path, per_block=7)
    assert found == wanted
    owners = Counter(bool(who) for who, _ in found)
    assert owners[True] > 40, "a world in which nobody is found shows nothing"
    assert owners[False] > 5


def test_how_the_log_is_cut_restarts_and_partitions_change_nothing(tmp_path: Path) -> None:
    world = NatWorld(9)
    wanted = world.expected(RETENTION_SECONDS * 1000)
    assert measured(world, tmp_path, per_block=1000) == wanted
    assert measured(world, tmp_path, per_block=2, passes=5) == wanted
    assert measured(world, tmp_path, per_block=50, partitions=4) == wanted
