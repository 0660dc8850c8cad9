"""The engine's database is full: the pass fails as a whole, the process ends, and a start with more
room goes on from the last commit without losing or repeating an octet.
"""

from __future__ import annotations

import contextlib
import ipaddress
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from collectors.adapters.segments import SegmentReader, SegmentWriter
from collectors.datagrams import Datagram, encode_datagrams
from infra.simulation.flow_packets import NetflowV9Exporter
from infra.simulation.network import FlowRecord
from tests.peers.peer_metering import Line, found, mark, now_ms, read_rated

LINES = 800
BLOCKS = 6
PATIENCE_SECONDS = 30.0
EXPORTER = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1])
FIRST_LIMIT_OCTETS = 250_000
LIMITS = 6


def address_of(line: int) -> str:
    return str(ipaddress.ip_address("100.64.0.0") + line)


def write_flows(directory: Path, through_at: int) -> Counter[str]:
    """Write blocks of flows to every line; return the octets by subscriber."""
    exporter = NetflowV9Exporter(source_id=1, booted_at=through_at - 3_600_000)
    octets: Counter[str] = Counter()
    writer = SegmentWriter(directory / "flows")
    for block in range(BLOCKS):
        now = through_at - 300_000 + 10_000 * block
        records = []
        for line in range(LINES):
            size = 1 + 7 * line + block
            octets[f"line{line}"] += size
            records.append(
                FlowRecord(
                    0, "198.51.100.7", address_of(line), 443, 50_000, 6, size, 1,
                    now - 90_000, now - 1_000,
                )
            )  # fmt: skip
        payloads = [exporter.templates(now), *exporter.data(records, now)]
        datagrams = [Datagram(now, EXPORTER, 5_000, 2055, payload) for payload in payloads]
        writer.append("data", now, encode_datagrams(datagrams))
    writer.close()
    return octets


def run_engine(directory: Path, size_limit: int) -> tuple[int, str]:
    """Run the engine process, its files limited, until it ends or has read its log."""
    arguments = ["--set", f"data_dir={directory}", "--set", "metrics.is_enabled=false"]
    # One block a pass, so that a full disk finds the engine between commits as well as in one.
    arguments += ["--set", "streams.batch_blocks_max=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "infra.processes.engine", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(
            resource.RLIMIT_FSIZE, (size_limit, resource.RLIM_INFINITY)
        ),
    )
    assert process.stderr is not None
    try:
        until = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None and not is_done(directory):
            assert time.monotonic() < until, "neither done nor ended"
            time.sleep(0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
        return process.returncode, said
    finally:
        process.kill()
        process.wait()


def is_done(directory: Path) -> bool:
    """Whether rate has committed the last watermark of both logs."""
    newest = SegmentReader(directory / "flows")
    last = newest.read(newest.last_number() - 1, 1)[0].received_at
    newest.close()
    with contextlib.closing(
        sqlite3.connect(f"file:{directory / 'flowrate.sqlite'}?mode=ro", uri=True, timeout=10)
    ) as connection:
        rows = connection.execute(
            "select watermark_at from topic_watermark where task = 'rate/0'"
        ).fetchall()
    return len(rows) == 2 and min(at for (at,) in rows) >= last


def test_what_a_full_database_refused_is_done_after_a_restart(tmp_path: Path) -> None:
    through_at = now_ms() // 60_000 * 60_000
    lines = [Line(f"line{n}", f"{address_of(n)}/32", f"key{n // 2}") for n in range(LINES)]
    database = found(tmp_path, lines, ["100.64.0.0/10"])
    octets = write_flows(tmp_path, through_at)
    mark(tmp_path, through_at + 600_000)
    failures = 0
    limit = FIRST_LIMIT_OCTETS
    for _ in range(LIMITS):
        status, said = run_engine(tmp_path, limit)
        if status == 0:
            break
        assert status == 1, said
        assert "disk I/O error" in said or "is full" in said, said
        failures += 1
        limit = 3 * limit
    assert status == 0, said
    assert failures >= 2
    rated = read_rated(database, {})
    database.dispose()
    by_key: Counter[str] = Counter()
    for n in range(LINES):
        by_key[f"key{n // 2}"] += octets[f"line{n}"]
    assert rated.down == octets
    assert not any(rated.up.values())
    assert rated.counters == by_key
