"""NASes that ask at a rate and remember when: latencies of accounting, and retries in an outage.

radclient is no generator above some two hundred requests under way. A request is known again by
its NAS (a socket) and identifier, of which a NAS has 256 (RFC 2865 §3).
"""

from __future__ import annotations

import dataclasses
import select
import socket
import time
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.bench_radius import interim

NASES = 64
IDENTIFIERS = 256
ANSWER_TIMEOUT_SECONDS = 2.0
_BUFFER_OCTETS = 4_194_304
_TICK_SECONDS = 0.0005


@dataclasses.dataclass(frozen=True, slots=True)
class Answered:
    """What came of a run: seconds of each answered request, and how many have no answer."""

    asked: int
    latencies: NDArray[np.float64]
    seconds: float

    @property
    def unanswered(self) -> int:
        """Requests without an answer."""
        return self.asked - len(self.latencies)

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latency in ms; infinite where nothing was answered."""
        if not len(self.latencies):
            return float("inf")
        return float(np.percentile(self.latencies, percent)) * 1000


def requests_of(first: int, count: int, session_seconds: int = 3_600) -> list[bytes]:
    """Return interim updates of sessions first, first + 1, …: the n-th goes to NAS n % NASES."""
    return [
        interim(first + n, identifier=n // NASES % IDENTIFIERS, session_seconds=session_seconds)
        for n in range(count)
    ]


class Nases:
    """Sockets that ask one server, and who waits for what."""

    def __init__(self, port: int) -> None:
        """Open a socket for each NAS."""
        self.sockets = []
        self._poll = select.epoll()
        self._number: dict[int, int] = {}
        for number in range(NASES):
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_OCTETS)
            opened.connect(("127.0.0.1", port))
            opened.setblocking(False)
            self._poll.register(opened.fileno(), select.EPOLLIN)
            self._number[opened.fileno()] = number
            self.sockets.append(opened)

    def close(self) -> None:
        """Close the sockets."""
        self._poll.close()
        for opened in self.sockets:
            opened.close()

    def heard(self, timeout_seconds: float) -> list[tuple[int, int]]:
        """Return NAS and identifier of each answer that is there or comes in time."""
        found: list[tuple[int, int]] = []
        for handle, _ in self._poll.poll(timeout_seconds):
            number = self._number[handle]
            receive = self.sockets[number].recv
            try:
                while True:
                    found.append((number, receive(4_096)[1]))
            except (BlockingIOError, ConnectionRefusedError):
                continue
        return found


def steady(port: int, requests: Sequence[bytes], rate: float) -> Answered:
    """Ask so many times a second, whatever is answered; nothing is sent twice."""
    nases = Nases(port)
    sends = [opened.send for opened in nases.sockets]
    waiting: dict[tuple[int, int], float] = {}
    latencies: list[float] = []

    def hear(timeout_seconds: float) -> None:
        answers = nases.heard(timeout_seconds)
        now = time.perf_counter()
        for key in answers:
            asked = waiting.pop(key, None)
            if asked is not None:
                latencies.append(now - asked)

    began, number = time.perf_counter(), 0
    while number < len(requests):
        now = time.perf_counter()
        due = min(int((now - began) * rate) + 1, len(requests))
        for n in range(number, due):
            waiting[n % NASES, n // NASES % IDENTIFIERS] = time.perf_counter()
            sends[n % NASES](requests[n])
        number = due
        hear(_TICK_SECONDS)
    seconds = time.perf_counter() - began
    until = time.perf_counter() + ANSWER_TIMEOUT_SECONDS
    while waiting and time.perf_counter() < until:
        hear(0.05)
    nases.close()
    return Answered(len(requests), np.array(latencies), seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class Drained:
    """How a storm ended: seconds until every session was answered, and datagrams sent for that."""

    seconds: float
    transmissions: int


def storm(port: int, requests: Sequence[bytes], retry_seconds: float, patience: float) -> Drained:
    """Ask for every session until it is answered, each NAS as many at a time as it has numbers.

    A request that has no answer after retry_seconds is sent again as it was (RFC 2866 §4.1).
    Raises TimeoutError where not all are answered within patience seconds.
    """
    nases = Nases(port)
    queues = [deque(range(nas, len(requests), NASES)) for nas in range(NASES)]
    waiting: dict[tuple[int, int], int] = {}
    retries: deque[tuple[float, tuple[int, int], int]] = deque()
    began = time.perf_counter()
    left, transmissions = len(requests), 0
    while left:
        now = time.perf_counter()
        if now - began > patience:
            raise TimeoutError(f"{left} sessions are not answered after {patience} s")
        for nas, queue in enumerate(queues):
            # In order of their identifiers: the next one is free or nothing is.
            while queue and (nas, queue[0] // NASES % IDENTIFIERS) not in waiting:
                number = queue.popleft()
                key = (nas, number // NASES % IDENTIFIERS)
                waiting[key] = number
                retries.append((now + retry_seconds, key, number))
                transmissions += _sent(nases.sockets[nas], requests[number])
        while retries and retries[0][0] <= now:
            _, key, number = retries.popleft()
            if waiting.get(key) == number:
                retries.append((now + retry_seconds, key, number))
                transmissions += _sent(nases.sockets[key[0]], requests[number])
        for key in nases.heard(0.001):
            left -= waiting.pop(key, None) is not None
    nases.close()
    return Drained(time.perf_counter() - began, transmissions)


def _sent(opened: socket.socket, request: bytes) -> int:
    try:
        opened.send(request)
    except (BlockingIOError, ConnectionRefusedError):
        return 0  # Its turn comes again.
    return 1
