"""The world outside the cluster: the demo's network, and a clerk who tops balances up."""

from __future__ import annotations

import dataclasses
import random
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import httpx

from infra.demonstration.founding import Founding
from infra.demonstration.tariffs import BRANCH, TOP_UP_MINOR
from infra.simulation.network import AccountingEvent, Tick
from infra.simulation.process import SimulatedNetwork
from tests.cluster.chaos.cluster import API_KEY, Cluster

MINUTE_MS = 60_000
FOUNDING_SECONDS = 30.0
_CLERK_SECONDS = (1.0, 4.0)
_CLERK_PATIENCE_SECONDS = 10.0


class Network(SimulatedNetwork):
    """The simulated network in a thread; `drain` ends what it does and awaits every answer."""

    def __init__(self, cluster: Cluster) -> None:
        """Bind its sockets."""
        super().__init__(cluster.settings.simulation, cluster.clock.now_ms)
        self._stop = threading.Event()
        self._is_draining = False
        self._thread = threading.Thread(target=self.run, args=(self._stop,), name="network")
        self.answered: list[AccountingEvent] = []
        self.answered_at = 0.0
        """When the last answer came (monotonic)."""

    def start(self) -> None:
        """Begin to live."""
        self._thread.start()

    def _send(self, tick: Tick) -> None:
        # What is on the way when the network ends would be neither in the truth nor out of it.
        super()._send(
            dataclasses.replace(tick, flows=(), accounting=()) if self._is_draining else tick
        )

    def _write_truth(self, event: AccountingEvent) -> None:
        super()._write_truth(event)
        self.answered.append(event)
        self.answered_at = time.monotonic()

    def drain(self) -> None:
        """Use nothing more; what was sent is repeated until it is answered."""
        self._is_draining = True

    @property
    def is_quiet(self) -> bool:
        """Whether everything sent has its answer."""
        return self._is_draining and not self.sender.unanswered

    def end(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()


class Clerk(threading.Thread):
    """Tops prepaid balances up; repeats a request under its key until the API has answered it."""

    def __init__(self, cluster: Cluster, seed: int, keys: Sequence[str]) -> None:
        """Take the prepaid rating keys."""
        super().__init__(name="clerk", daemon=True)
        self._cluster = cluster
        self._chance = random.Random(f"clerk {seed}")
        self.rating_keys = sorted(keys)
        self._stopping = threading.Event()
        self.received: dict[str, int] = defaultdict(int)
        """Rating key -> minor units that the API has acknowledged."""
        self.top_ups = 0
        self.repeats = 0

    def run(self) -> None:
        """Work until told to stop; then the last request is still brought to its answer."""
        while not self._stopping.wait(self._chance.uniform(*_CLERK_SECONDS)):
            key, amount = self._chance.choice(self.rating_keys), self._chance.randrange(1, 90_000)
            self.top_ups += 1
            while not self._send(key, amount, f"clerk-{self.top_ups}"):
                self.repeats += 1
                time.sleep(0.5)
            self.received[key] += amount

    def _send(self, rating_key: str, amount_minor: int, idempotency_key: str) -> bool:
        body: dict[str, Any] = {
            "rating_key": rating_key,
            "amount_minor": amount_minor,
            "currency": BRANCH["currency"],
        }
        try:
            with self._cluster.api(_CLERK_PATIENCE_SECONDS) as api:
                answer = api.post(
                    "/v1/top-ups", json=body, headers={"Idempotency-Key": idempotency_key}
                )
        except httpx.HTTPError:
            return False
        # 409: the first attempt is still at work. 429 and 5xx: later, perhaps.
        if answer.status_code < 300:
            return True
        assert answer.status_code in (409, 429) or answer.status_code >= 500, answer.text
        return False

    def end(self) -> None:
        """Let it finish what it does."""
        self._stopping.set()
        self.join(timeout=60)
        assert not self.is_alive(), "a top-up has found no answer"


async def found(cluster: Cluster) -> None:
    """Found the demo's ISP through the API, all of it within one minute of the cluster's clock.

    The API dates things to the next whole minute; the auditor takes one instant for all.
    """
    seconds_left = 60 - cluster.clock.now_ms() % MINUTE_MS / 1000
    if seconds_left < FOUNDING_SECONDS:
        time.sleep(seconds_left + 0.1)
    minute = cluster.clock.now_ms() // MINUTE_MS
    async with httpx.AsyncClient(
        base_url=cluster.api_url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=30
    ) as client:
        await Founding(client, cluster.settings.simulation).run()
    assert cluster.clock.now_ms() // MINUTE_MS == minute, "founding took longer than a minute"


def first_balance_minor() -> int:
    """Return what the founding puts on every prepaid line."""
    return TOP_UP_MINOR
