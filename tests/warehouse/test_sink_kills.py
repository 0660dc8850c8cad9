"""A sink killed with SIGKILL at random moments, batching at random: base and rollups stay exact."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import polars as pl

from tests.warehouse.sink_process import STEP, record
from warehouse.intents import Source, committed_position

RECORDS = 700
KILLS = 12
ROOT = Path(__file__).parents[2]


def start(directory: Path, seed: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.warehouse.sink_process",
            str(directory),
            str(RECORDS),
            str(seed),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def expected() -> dict[str, list[str]]:
    rows = pl.concat([record(position) for position in range(STEP, RECORDS * STEP + 1, STEP)])
    volume = rows.filter(pl.col("meter_id") == "volume")
    octets = [str(volume["octets_up"].sum()), str(volume["octets_down"].sum())]
    charge = sum(rows["charge"].to_list(), Decimal(0)).normalize()
    charges = [f"{charge:f}", str(rows["quantity"].sum())]
    return {
        "rows": [str(rows.height)],
        "octets": octets,
        "charge": charges,
        "minute": [*octets, str(volume.height)],
        "cell": octets,
        "charge_cell": charges,
    }


def test_every_sum_is_exact_after_twelve_kills(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    source = Source(1, "usage.rated", 0)
    store_file = tmp_path / "store.sqlite"
    positions = []
    for seed in range(KILLS):
        process = start(tmp_path, seed)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        # Some lines later, at some moment of the next insert: whatever else this machine is doing.
        begun = time.monotonic()
        lines = seed % 3
        for _ in range(lines):
            process.stdout.readline()
        one_insert = (time.monotonic() - begun) / lines if lines else 0.1
        time.sleep(chance.uniform(0.0, one_insert))
        process.kill()
        rest = process.stdout.read()
        process.wait()
        positions.append(committed_position(store_file, source))
        assert "done" not in rest, "the topic is too short for this many kills"
    assert positions == sorted(positions)
    assert len(set(positions)) >= 3, "the kills did not meet a working sink"
    last = start(tmp_path, 99)
    assert last.communicate(timeout=120)[0].endswith("\ndone\n")
    assert last.returncode == 0
    assert committed_position(store_file, source) == RECORDS * STEP
    audit = subprocess.run(
        [sys.executable, "-m", "tests.warehouse.sink_audit", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(audit.stdout) == expected()
