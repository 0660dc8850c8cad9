"""A network path in virtual time that loses, repeats and reorders, as told by a seed."""

from __future__ import annotations

import dataclasses
import heapq
import random
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True, slots=True)
class Weather:
    """How bad the path is: probabilities per datagram, delay in whole seconds."""

    loss: float = 0.0
    repeat: float = 0.0
    delay_max_seconds: int = 0


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Delivery:
    """One datagram at its arrival; order numbers make equal arrivals deterministic."""

    arrives_seconds: int
    order: int
    source: str = dataclasses.field(compare=False)
    source_port: int = dataclasses.field(compare=False)
    payload: bytes = dataclasses.field(compare=False)


class Path:
    """Datagrams go in at a second and come out at that or later ones, or never, or twice."""

    def __init__(self, weather: Weather, chance: random.Random) -> None:
        """Start empty."""
        self._weather = weather
        self._chance = chance
        self._queue: list[Delivery] = []
        self._order = 0
        self.lost = 0
        self.repeated = 0

    def send(self, seconds: int, source: str, source_port: int, payload: bytes) -> None:
        """Hand a datagram to the path."""
        copies = 1
        if self._chance.random() < self._weather.loss:
            self.lost += 1
            copies = 0
        elif self._chance.random() < self._weather.repeat:
            self.repeated += 1
            copies = 2
        for _ in range(copies):
            delay = self._chance.randint(0, self._weather.delay_max_seconds)
            # A random order number shuffles what arrives within one second.
            self._order += 1
            order = self._chance.randrange(1_000_000) * 1_000_000 + self._order
            heapq.heappush(
                self._queue, Delivery(seconds + delay, order, source, source_port, payload)
            )

    def deliver(self, seconds: int, source: str, source_port: int, payload: bytes) -> None:
        """Hand over a datagram that arrives at once, whatever the weather."""
        self._order += 1
        heapq.heappush(self._queue, Delivery(seconds, self._order, source, source_port, payload))

    def arrivals(self, seconds: int) -> Iterator[Delivery]:
        """Yield what has arrived by this second."""
        while self._queue and self._queue[0].arrives_seconds <= seconds:
            yield heapq.heappop(self._queue)

    @property
    def in_flight(self) -> int:
        """How many datagrams are still on the way."""
        return len(self._queue)
