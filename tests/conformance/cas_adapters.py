"""Every adapter of `ConditionalAccess`, each in front of a system of its own."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import threading
import time
from collections.abc import Callable, Iterator

from billing.adapters.cas_tcp import TcpConditionalAccess
from billing.cable.access import CasAnswer, CasRequest, ConditionalAccess
from billing.config import CasConfig
from infra.cas_simulator import Simulator
from infra.simulation.conditional_access import DirectConditionalAccess, Faults, SimulatedCas

SECRET = "between the two of us"


@dataclasses.dataclass
class Opened:
    """An adapter, and the system behind it."""

    access: ConditionalAccess
    cas: SimulatedCas
    simulator: Simulator | None = None

    def until_ready(self, seconds: float = 10) -> None:
        """Wait until requests would leave."""
        deadline = time.monotonic() + seconds
        while not self.access.is_ready():
            assert time.monotonic() < deadline, "never ready"
            time.sleep(0.002)

    def ask(self, *requests: CasRequest, seconds: float = 10) -> dict[str, CasAnswer]:
        """Send requests and return what became of each."""
        self.until_ready()
        assert self.access.send(requests) == {request.request_id for request in requests}
        answers: dict[str, CasAnswer] = {}
        deadline = time.monotonic() + seconds
        while len(answers) < len(requests) and time.monotonic() < deadline:
            for answer in self.access.poll(50):
                assert answer.request_id not in answers, "one request, one fate"
                answers[answer.request_id] = answer
        return answers


def monotonic_ms() -> int:
    """Return a clock of ms that begins somewhere."""
    return time.monotonic_ns() // 1_000_000


class Gateway:
    """The simulator, served by a thread on a free port of loopback, or on the one it had."""

    def __init__(self, cas: SimulatedCas, faults: Faults | None = None, seed: int = 1) -> None:
        self.simulator = Simulator(
            cas, SECRET, monotonic_ms, faults=faults, chance=random.Random(seed).random
        )
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: asyncio.Server | None = None

    def start(self) -> None:
        """Open the port."""
        serving = self.simulator.serve("127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(10)
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Close the port and break every connection."""
        if self._server is not None:
            asyncio.run_coroutine_threadsafe(self._stop(self._server), self._loop).result(10)
            self._server = None

    async def _stop(self, server: asyncio.Server) -> None:
        server.close()
        self.simulator.restart()

    def restart(self) -> None:
        """Break connections and forget which requests were answered."""
        self.call(self.simulator.restart)

    def call(self, what: Callable[[], None]) -> None:
        """Do something between two requests."""

        async def do() -> None:
            what()

        asyncio.run_coroutine_threadsafe(do(), self._loop).result(10)

    def end(self) -> None:
        """Stop, and end the thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def config(self, **more: int | str) -> CasConfig:
        """Return the settings that reach it."""
        given: dict[str, int | str] = {
            "port": self.port,
            "secret": SECRET,
            "reconnect_milliseconds": 5,
            "answer_milliseconds": 1_000,
        }
        return CasConfig(**given | more)  # type: ignore[arg-type]


@contextlib.contextmanager
def direct() -> Iterator[Opened]:
    """Open the adapter without a network."""
    cas = SimulatedCas()
    yield Opened(DirectConditionalAccess(cas, monotonic_ms), cas)


@contextlib.contextmanager
def tcp(faults: Faults | None = None, **settings: int | str) -> Iterator[Opened]:
    """Open the adapter over TCP to the simulator."""
    cas = SimulatedCas()
    gateway = Gateway(cas, faults)
    gateway.start()
    access = TcpConditionalAccess(gateway.config(**settings), monotonic_ms)
    try:
        yield Opened(access, cas, gateway.simulator)
    finally:
        access.close()
        gateway.end()


ADAPTERS: dict[str, Callable[[], contextlib.AbstractContextManager[Opened]]] = {
    "direct": direct,
    "tcp": tcp,
}
