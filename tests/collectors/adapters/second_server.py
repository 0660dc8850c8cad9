"""A second RADIUS server on loopback that is there, slow, silent or lying, as a test wants it."""

from __future__ import annotations

import contextlib
import heapq
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from collectors.radius.packet import (
    ACCOUNTING_RESPONSE,
    Packet,
    decode_packet,
    sign_response,
    verify_request,
)

SECOND_SECRET = b"second-secret"


class SecondServer:
    """Answers what it gets; `got` has every request that is verified, repetitions included.

    delay_seconds holds answers back; is_silent swallows everything; secret signs the answers;
    ignores chooses requests that are never answered.
    """

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened
        self.port = int(opened.getsockname()[1])
        self.got: list[Packet] = []
        self.delay_seconds = 0.0
        self.is_silent = False
        self.secret = SECOND_SECRET
        self.ignores: Callable[[Packet], bool] = lambda packet: False
        self.stop = threading.Event()

    def run(self) -> None:
        waiting: list[tuple[float, int, bytes, Any]] = []
        self.socket.settimeout(0.01)
        while not self.stop.is_set():
            with contextlib.suppress(TimeoutError):
                octets, source = self.socket.recvfrom(4_096)
                request = decode_packet(octets)
                assert not request.fault
                assert verify_request(octets, request, SECOND_SECRET) == ""
                self.got.append(request)
                if not self.is_silent and not self.ignores(request):
                    states = [a for a in request.attributes if a[0] == 33]
                    answer = sign_response(ACCOUNTING_RESPONSE, request, states, self.secret)
                    due = time.monotonic() + self.delay_seconds
                    heapq.heappush(waiting, (due, len(self.got), answer, source))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, answer, to = heapq.heappop(waiting)
                self.socket.sendto(answer, to)

    def sessions(self) -> list[bytes]:
        """Return the Acct-Session-Id of every request, in order of receipt."""
        return [request.first(44) or b"" for request in self.got]


@contextlib.contextmanager
def second_server(port: int = 0) -> Iterator[SecondServer]:
    """Run a second server on a port of loopback, any free one by default."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", port))
        server = SecondServer(opened)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            thread.join(10)
