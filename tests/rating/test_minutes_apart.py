"""Rows of a minute sent as they came say the same as rows added up by key before they are sent."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rating import attribute_step, pages
from rating.records import SessionBinding
from tests.rating.accounting_log import at, entry
from tests.rating.flow_log import Attribution, binding, flow

_CLOCKS = ("10:00", "10:01", "10:02")
_STEPS = 8


def told(seed: int) -> tuple[Any, ...]:
    """Return what the stage makes of a random stream: late rows, late bindings, pools, users."""
    chance = random.Random(seed)
    pooled = [entry("membership", f"s{n}", "pool", entry_id=f"m{n}") for n in range(0, 9, 3)]
    stage = Attribution(directory=pooled)
    revision = 0
    for step in range(_STEPS):
        bindings: list[SessionBinding] = []
        for _ in range(chance.choice([0, 1, 6])):
            who, revision = chance.randrange(9), revision + 1
            bindings.append(
                binding(
                    f"s{who}",
                    chance.choice([f"10.0.0.{who}/32", "10.0.0.0/29", f"2001:db8:{who}::/56"]),
                    chance.choice(["09:50:00", "10:00:30", "10:01:30"]),
                    arrives=f"10:0{step}:00",
                    revision=revision,
                    binding_id=f"b{who}",
                    port_block=chance.choice([0, 0, 1024]),
                )
            )
        flows = [
            flow(
                chance.choice(_CLOCKS),
                chance.choice(
                    [f"10.0.0.{chance.randrange(9)}", f"2001:db8:{chance.randrange(9)}::7"]
                ),
                chance.choice([0, 5, 1 << 40]),
                arrives=f"10:0{step}:{chance.choice(['00', '10'])}",
                traffic_class=chance.choice(["cdn", "local"]),
                exporter=chance.choice(["bng", "edge"]) if seed % 2 else "edge",
                port_block=chance.choice([0, 1024]),
                octets_up=chance.choice([0, 7]),
                rate_known=chance.random() < 0.8,
            )
            for _ in range(chance.choice([0, 1, 40]))
        ]
        stage.feed(flows, bindings, watermark=f"10:0{step}:20")
    stage.feed(watermark="12:30:00")
    assert not stage.state.collections["pages"]
    rows = sorted(tuple(row.items()) for row in stage.rows)
    return rows, dict(stage.hours), stage.unattributed, +stage.counters


@pytest.mark.parametrize("staying_rows", [1, 30, 10_000])
def test_rows_apart_say_what_rows_added_up_say(
    staying_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = range(25)
    added_up = [told(seed) for seed in streams]
    assert any(
        rows and counters["attribute_reattributed_rows"] for rows, _, _, counters in added_up
    )
    monkeypatch.setattr(attribute_step, "_APART_ROWS_MIN", 0)
    monkeypatch.setattr(attribute_step, "_APART_SHARE", -1)
    monkeypatch.setattr(pages, "_STAYING_ROWS", staying_rows)
    assert [told(seed) for seed in streams] == added_up


def test_what_cannot_be_true_is_refused_by_key_and_kept_by_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attribute_step, "_APART_ROWS_MIN", 0)
    stage = Attribution()
    alice = binding("alice", "10.0.0.1/32", "09:00:00")
    many = [flow("10:00", "10.0.0.1", 40 * 10**12)] * 2
    stage.feed([*many, flow("10:00", "10.0.0.2", 9)], [alice], watermark="10:00:50")
    stage.feed(watermark="10:02:00")
    assert stage.counters["attribute_refused_rows"] == 2
    assert [row["octets_down"] for row in stage.rows] == [9]
    late = binding("bob", "10.0.0.0/24", "09:59:00", arrives="10:03:00")
    stage.feed([], [late], watermark="10:03:00")
    assert sum(row["octets_down"] for row in stage.rows if row["subscriber_id"] == "bob") == 9
    assert at("10:03:00") == stage.watermark_at
