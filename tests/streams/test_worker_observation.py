"""What a worker tells of itself: only of what it owns, and of outputs until Kafka has them."""

from __future__ import annotations

import threading
from typing import Any

import polars as pl
import pytest

from rating.measures import Measures
from rating.ports import Batch, StateView, StepResult
from streams.adapters.postgres_outbox import OutboxRow
from streams.metrics import GAUGES, HISTOGRAMS
from streams.progress import Standing
from streams.rounds import Round, RoundConfig, Rounds, Task
from streams.stage import Stage
from streams.worker_observation import WorkerObservation
from tests.warehouse.records_made import rated, rated_rows

NOON = 1_764_504_000_000


def idle(view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
    return StepResult()


DECODE = Stage("decode", idle, {}, "flow.datagrams", ("directory",), ("flow.minutes",))
RATE = Stage("rate", idle, {}, None, ("usage.measured", "account.events"), ("usage.rated",))


class Clock:
    now_ms = NOON

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rounds() -> Rounds:
    """Rounds that own decode/2 and rate/2 and touch no database here."""

    def never(*_: object) -> Any:
        raise AssertionError

    made = Rounds(never, (DECODE, RATE), never, RoundConfig(4, 10, 10, 1_000, 1))
    for stage, offsets, at in ((DECODE, {"flow.datagrams": 17}, NOON - 3_000), (RATE, {}, 0)):
        standing = Standing(offsets=offsets)
        state: Any = None
        task = Task(f"{stage.name}/2", stage, 2, state, 1, standing, at)
        made.tasks[stage.name, 2] = task
    return made


def observed(rounds: Rounds, clock: Clock) -> tuple[WorkerObservation, Measures]:
    measures = Measures(HISTOGRAMS, threading.Lock())
    return WorkerObservation(rounds, 3, measures, clock), measures


def row(octets: int) -> OutboxRow:
    return OutboxRow("rate/2", "usage.rated", 0, 1, NOON, b"", bytes(octets))


def test_positions_are_those_of_the_topics_it_reads_from_kafka(
    rounds: Rounds, clock: Clock
) -> None:
    observation, _ = observed(rounds, clock)
    assert observation.readiness() == ["no partitions are assigned yet"]
    observation.look()
    assert observation.readiness() == []
    assert observation.positions() == {("flow.datagrams.g3", 2): 17, ("usage.measured.g3", 2): 0}
    gauges = observation.gauges()
    assert gauges["stream_watermark_age_seconds", ("decode", "2")] == 3.0
    assert ("stream_watermark_age_seconds", ("rate", "2")) not in gauges
    assert gauges["stream_tasks", ()] == 2


def test_what_was_given_to_others_is_told_of_no_more(rounds: Rounds, clock: Clock) -> None:
    observation, _ = observed(rounds, clock)
    observation.look()
    rounds.tasks = {}
    observation.look()
    assert observation.positions() == {}
    assert {name for name, labels in observation.gauges() if labels} == set()
    assert observation.readiness()


def test_an_output_ages_from_its_commit_until_kafka_has_it(rounds: Rounds, clock: Clock) -> None:
    observation, measures = observed(rounds, clock)
    frame = rated_rows([rated(), rated()]).with_columns(received_at=pl.lit(NOON - 500, pl.Int64))

    def waiting() -> tuple[float, float, float]:
        gauges = observation.gauges()
        names = ("oldest_seconds", "rows", "octets")
        age, rows, octets = (gauges[f"stream_outbox_{name}", ()] for name in names)
        return age, rows, octets

    assert waiting() == (0, 0, 0)
    observation.on_round("decode", Round())
    clock.now_ms += 1_000
    assert waiting() == (0, 0, 0), "a round without outputs waits for nobody"
    observation.on_round("rate", Round([row(10), row(20)], {}, [frame]))
    clock.now_ms += 2_000
    observation.on_round("rate", Round([row(5)]))
    assert waiting() == (2.0, 3, 35)
    observation.outbox.published("rate")
    clock.now_ms += 1_000
    assert waiting() == (1.0, 1, 5)
    observation.outbox.published("rate")
    observation.outbox.published("decode")
    assert waiting() == (0, 0, 0)
    found = {labels[0]: durations for (_, labels), durations in measures.snapshot().items()}
    assert found["received_to_rated"].total_seconds == pytest.approx(2 * 1.5)


def test_every_gauge_it_tells_is_declared_with_these_labels(rounds: Rounds, clock: Clock) -> None:
    observation, _ = observed(rounds, clock)
    observation.look()
    for name, labels in observation.gauges():
        assert len(GAUGES[name].labels) == len(labels)
