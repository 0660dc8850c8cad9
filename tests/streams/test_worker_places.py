"""A worker goes back for messages that Faust has passed over around a rebalance."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from faust.types import TP

from infra.settings import Settings
from infra.wiring.engine import stage_configs
from rating.connections import KafkaConfig
from streams import cluster
from streams.cluster import Worker
from streams.config import WorkerConfig
from streams.progress import Standing
from streams.rounds import Message
from streams.topology import build_stages


class Consumer:
    """Kafka's end: where the log begins, and where it was told to read on."""

    def __init__(self, begins_at: int) -> None:
        self.begins_at = begins_at
        self.sought: list[tuple[TP, int]] = []

    async def earliest_offsets(self, *places: TP) -> dict[TP, int]:
        return dict.fromkeys(places, self.begins_at)

    async def seek(self, place: TP, offset: int) -> None:
        self.sought.append((place, offset))


def worker_at(offset: int, begins_at: int) -> tuple[Worker, Consumer]:
    """A worker whose task rate/1 stands at an offset of usage.measured."""
    rounds: Any = type("Rounds", (), {})()
    task = type("Task", (), {"standing": Standing(offsets={"usage.measured": offset})})()
    rounds.tasks = {("rate", 1): task}
    watch: Any = None
    made = Worker(
        rounds,
        build_stages(stage_configs(Settings())),
        KafkaConfig(),
        WorkerConfig(),
        (2, 4),
        watch,
    )
    consumer = Consumer(begins_at)
    cast(Any, made)._app = type("App", (), {"consumer": consumer})()
    return made, consumer


def placed(worker: Worker, *offsets: int) -> list[int]:
    messages = [Message("usage.measured", offset, b"") for offset in offsets]
    return [message.offset for message in asyncio.run(worker._placed("rate", 1, messages))]


PLACE = TP("usage.measured.g2", 1)


def test_what_goes_on_is_taken() -> None:
    worker, consumer = worker_at(7, 0)
    assert placed(worker, 6, 7, 8) == [6, 7, 8]
    assert consumer.sought == []


def test_what_was_passed_over_is_read_again() -> None:
    worker, consumer = worker_at(7, 0)
    assert placed(worker, 9, 10) == []
    assert placed(worker, 7, 9) == [7]
    assert consumer.sought == [(PLACE, 7), (PLACE, 8)]


def test_what_is_deleted_is_not_waited_for() -> None:
    worker, consumer = worker_at(7, 9)
    assert placed(worker, 9, 10) == [9, 10]
    assert consumer.sought == []


def test_what_does_not_come_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, _ = worker_at(7, 0)
    assert placed(worker, 9) == []
    monkeypatch.setattr(cluster, "_MISSING_SECONDS", -1.0)
    assert placed(worker, 9) == [9]
