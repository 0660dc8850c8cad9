"""Faust's Kafka consumer, in portions instead of message by message.

A broker answers a fetch as soon as it has one message, and a worker's messages trickle in: marks of
all tasks, outputs of every round. A fetch costs worker and broker about a millisecond each. And
Faust makes four tasks for each message that it hands over. Both at once were most of what a worker
with little to do used: here is one fetch per interval, and one wait for all that it brought.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import Message

_PORTION_MESSAGES = 512
"""So many messages at most become objects before they are handed over."""


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> driver.AIOKafkaConsumerThread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand everything over until told to stop, as Faust's does, but a fetch at a time."""
        try:
            while not (self.should_stop or fetcher.should_stop):
                await asyncio.sleep(0)
                messages: list[Message] = []
                async for _, message in self.getmany(timeout=1.0):
                    messages.append(message)
                    if len(messages) == _PORTION_MESSAGES:
                        await self._hand_over_unless_suspended(messages)
                        messages = []
                await self._hand_over_unless_suspended(messages)
        except (asyncio.CancelledError, ConsumerStoppedError):
            if not self.app.should_stop:
                raise

    async def _hand_over_unless_suspended(self, messages: Sequence[Message]) -> None:
        """Hand over until a rebalance ends the wait; what was left is fetched again."""
        if messages and not self.should_stop:
            await self.wait_first(self._hand_over(messages), self.suspend_flow.wait())

    async def _hand_over(self, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.offset >= (self._read_offset[message.tp] or 0):
                await self.callback(message)
                self._read_offset[message.tp] = message.offset


class _Thread(driver.AIOKafkaConsumerThread):
    async def on_start(self) -> None:
        """Connect, and let fetches wait for one another."""
        await super().on_start()
        app: Any = self.app
        fetch_in_portions(self._consumer, app.fetch_interval_seconds, app.is_busy)


class Transport(driver.Transport):
    """Kafka for an app that has `fetch_interval_seconds` and `is_busy`."""

    Consumer: ClassVar[Any] = _Consumer


def fetch_in_portions(
    consumer: Any, interval_seconds: float, is_busy: Callable[[], bool] = lambda: False
) -> None:
    """Let an AIOKafkaConsumer wait before a fetch that follows upon the last one too soon.

    While is_busy() for up to four intervals: nothing more could be taken. At once where the broker
    was silent for longer. Only the request waits: what it will ask for stands, since aiokafka puts
    no partition into it that has something to be consumed.
    """
    fetcher = consumer._fetcher
    send, sent_at = fetcher._proc_fetch_request, dict[int, float]()

    async def paced(assignment: Any, node_id: int, request: Any) -> Any:
        clock = asyncio.get_running_loop().time
        last = sent_at.get(node_id, -math.inf)
        try:
            while (left := last + interval_seconds * (4 if is_busy() else 1) - clock()) > 0:
                await asyncio.sleep(min(left, interval_seconds))
        except asyncio.CancelledError:
            # The partitions were taken away: nothing was fetched, as `send` says it.
            return False
        sent_at[node_id] = clock()
        return await send(assignment, node_id, request)

    fetcher._proc_fetch_request = paced
