"""How old usage is when it is committed, told from its own columns."""

from __future__ import annotations

import time

import numpy as np

from rating.latency import HISTOGRAMS, MINUTE_MS, USAGE_LATENCY, frame_latency, usage_latency
from rating.records import RatedUsage, empty_frame

BOUNDS = HISTOGRAMS[USAGE_LATENCY].bounds_seconds
NOON = 1_764_504_000_000


def of_one(received_at: int, minute: int, committed_at: int) -> dict[str, float]:
    found = usage_latency(
        np.array([received_at]), np.array([minute]), committed_at=committed_at, step="rated"
    )
    assert all(sum(durations.counts) == 1 for durations in found.values())
    return {stage: durations.total_seconds for stage, durations in found.items()}


def test_received_is_counted_from_the_datagram_and_event_from_the_minutes_end() -> None:
    minute = NOON // MINUTE_MS
    assert of_one(NOON + 70_000, minute, NOON + 72_500) == {
        "received_to_rated": 2.5,
        "event_to_rated": 12.5,
    }


def test_usage_of_a_minute_that_has_not_ended_is_not_older_than_now() -> None:
    minute = NOON // MINUTE_MS
    assert of_one(NOON + 10_000, minute, NOON + 10_300) == {
        "received_to_rated": 0.3,
        "event_to_rated": 0.0,
    }


def test_buckets_are_those_of_a_count_row_by_row() -> None:
    chance = np.random.default_rng(4)
    received_at = NOON - chance.integers(0, 90_000_000, 5_000)
    minute = received_at // MINUTE_MS - chance.integers(0, 200, 5_000)
    found = usage_latency(received_at, minute, committed_at=NOON, step="sunk")
    expected = [0] * (len(BOUNDS) + 1)
    for at in minute.tolist():
        seconds = max(0.0, (NOON - (at + 1) * MINUTE_MS) / 1000)
        expected[next((n for n, b in enumerate(BOUNDS) if seconds <= b), len(BOUNDS))] += 1
    assert list(found["event_to_sunk"].counts) == expected
    assert sum(found["received_to_sunk"].counts) == 5_000


def test_no_rows_are_no_durations() -> None:
    found = frame_latency(empty_frame(RatedUsage), committed_at=NOON, step="rated")
    assert {sum(durations.counts) for durations in found.values()} == {0}


def test_a_million_rows_cost_less_than_a_second() -> None:
    received_at = NOON - np.arange(1_000_000)
    began = time.process_time()
    usage_latency(received_at, received_at // MINUTE_MS, committed_at=NOON, step="rated")
    assert time.process_time() - began < 1.0
