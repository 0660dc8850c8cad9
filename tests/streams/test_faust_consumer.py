from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from streams.adapters.faust_consumer import Transport, fetch_in_portions

INTERVAL_SECONDS = 0.05


class _Broker:
    """Stands for aiokafka's consumer: answers every fetch at once and notes when it was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, float]] = []
        self._fetcher = SimpleNamespace(_proc_fetch_request=self._fetch)

    async def _fetch(self, assignment: Any, node_id: int, request: Any) -> bool:
        self.sent.append((node_id, asyncio.get_running_loop().time()))
        return True

    async def fetch(self, node_id: int) -> bool:
        return bool(await self._fetcher._proc_fetch_request(None, node_id, None))

    def gaps(self, node_id: int) -> list[float]:
        at = [time for node, time in self.sent if node == node_id]
        return [later - earlier for earlier, later in itertools.pairwise(at)]


def _paced(
    is_busy: Callable[[], bool] = lambda: False, interval_seconds: float = INTERVAL_SECONDS
) -> _Broker:
    broker = _Broker()
    fetch_in_portions(broker, interval_seconds, is_busy)
    return broker


async def _fetch_three_times_each(broker: _Broker) -> None:
    async def repeat(node_id: int) -> None:
        for _ in range(3):
            assert await broker.fetch(node_id)

    await asyncio.gather(repeat(1), repeat(2))


def test_fetches_from_one_broker_are_an_interval_apart() -> None:
    broker = _paced()
    asyncio.run(_fetch_three_times_each(broker))
    for node_id in (1, 2):
        assert len(broker.gaps(node_id)) == 2
        assert min(broker.gaps(node_id)) >= INTERVAL_SECONDS


def test_the_first_fetches_wait_for_nothing() -> None:
    broker = _paced(interval_seconds=3600.0)

    async def both() -> None:
        await broker.fetch(1)
        await broker.fetch(2)

    asyncio.run(both())
    assert [node_id for node_id, _ in broker.sent] == [1, 2]


def test_a_busy_worker_fetches_once_in_four_intervals() -> None:
    broker = _paced(lambda: True)
    asyncio.run(_fetch_three_times_each(broker))
    assert min(broker.gaps(1)) >= 4 * INTERVAL_SECONDS


def test_a_worker_that_gets_idle_waits_no_longer() -> None:
    asked = 0

    def is_busy() -> bool:
        nonlocal asked
        asked += 1
        return asked < 3

    broker = _paced(is_busy)

    async def twice() -> None:
        await broker.fetch(1)
        await broker.fetch(1)

    asyncio.run(twice())
    assert broker.gaps(1)[0] >= INTERVAL_SECONDS
    assert asked >= 3


def test_a_fetch_that_is_cancelled_while_it_waits_has_brought_nothing() -> None:
    broker = _paced(lambda: True)

    async def cancelled() -> Any:
        await broker.fetch(1)
        waiting = asyncio.create_task(broker.fetch(1))
        await asyncio.sleep(0)
        waiting.cancel()
        return await waiting

    assert asyncio.run(cancelled()) is False
    assert len(broker.sent) == 1


def _message(offset: int) -> Any:
    return SimpleNamespace(tp="topic-0", offset=offset)


def _consumer(callback: Any) -> Any:
    consumer: Any = Transport.Consumer
    made = consumer.__new__(consumer)
    made.callback = callback
    made._read_offset = {"topic-0": None}
    return made


def test_what_was_not_handed_over_before_a_rebalance_does_not_count_as_read() -> None:
    taken: list[int] = []

    async def takes_two(message: Any) -> None:
        if message.offset == 2:
            await asyncio.Event().wait()
        taken.append(message.offset)

    async def interrupted() -> Any:
        consumer = _consumer(takes_two)
        handing = asyncio.create_task(consumer._hand_over([_message(n) for n in range(4)]))
        await asyncio.sleep(0)
        handing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handing
        return consumer._read_offset

    assert asyncio.run(interrupted()) == {"topic-0": 1}
    assert taken == [0, 1]


def test_what_lies_before_the_position_is_passed_over() -> None:
    taken: list[int] = []

    async def take(message: Any) -> None:
        taken.append(message.offset)

    async def hand_over() -> None:
        consumer = _consumer(take)
        consumer._read_offset["topic-0"] = 2
        await consumer._hand_over([_message(n) for n in range(4)])

    asyncio.run(hand_over())
    assert taken == [2, 3]
