"""CoA and Disconnect over UDP (RFC 5176): pyrad as the codec, the sockets and retries our own.

pyrad's client blocks on one request and makes a new packet per retry; a NAS would answer a retry
as a second request. Here a retry is the same octets from the same port (docs/decisions/0304).
"""

from __future__ import annotations

import functools
import selectors
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pyrad.dictionary import Dictionary
from pyrad.packet import (
    CoAACK,
    CoANAK,
    CoAPacket,
    CoARequest,
    DisconnectACK,
    DisconnectNAK,
    DisconnectRequest,
    PacketError,
)

from billing.acting.exchange import CoaAnswer, CoaRequest, Exchange

_CODES: Mapping[str, int] = {"coa": CoARequest, "disconnect": DisconnectRequest}
_ANSWERS: Mapping[int, tuple[int, bool]] = {
    CoAACK: (CoARequest, True),
    CoANAK: (CoARequest, False),
    DisconnectACK: (DisconnectRequest, True),
    DisconnectNAK: (DisconnectRequest, False),
}
"""Code of an answer to (code of the request it answers, whether it is an ACK)."""

_ERROR_CAUSE = 101
_DATAGRAM_OCTETS_MAX = 4096  # RFC 2865 §3
_ANSWERS_PER_POLL_MAX = 4096


class CoaTransport(Protocol):
    """Carries requests to NASes. Neither call raises for what the network or a NAS does."""

    def send(self, requests: Sequence[CoaRequest]) -> dict[str, int]:
        """Transmit each request once and return {command_id: Identifier} of those that left.

        A request that is missing in the answer did not leave (256 wait already, or the system
        refused): offer it again later.
        """
        ...

    def poll(self, wait_ms: int) -> list[CoaAnswer]:
        """Return answers and silences, waiting at most wait_ms for the first; retransmits.

        Each request that left ends in exactly one answer or silence, while the process lives.
        """
        ...

    def close(self) -> None:
        """Forget what is in flight and free the ports."""
        ...


@functools.cache
def dictionary() -> Any:
    """Return the dictionary of the attributes that our requests may hold."""
    return Dictionary(str(Path(__file__).parent / "dictionaries" / "dictionary"))


def encode_request(request: CoaRequest, identifier: int, now_ms: int) -> tuple[bytes, Any]:
    """Return (octets, pyrad packet) of a request, signed with the NAS's secret.

    Holds Event-Timestamp and, first, Message-Authenticator (RFC 5176 §3.3, §3.4), both also
    where the NAS would not ask. KeyError: an attribute is not in our dictionary.
    """
    packet = CoAPacket(
        code=_CODES[request.kind],
        id=identifier,
        secret=request.target.secret.encode("utf-8"),
        dict=dictionary(),
    )
    packet.add_message_authenticator()
    for name, value in (*request.attributes, ("Event-Timestamp", str(now_ms // 1000))):
        kind = dictionary()[name].type
        packet.AddAttribute(name, int(value) if kind in ("integer", "integer64", "date") else value)
    return packet.RequestPacket(), packet


def decode_answer(sent: Any, datagram: bytes) -> tuple[bool, int | None] | None:
    """Return (is ACK, Error-Cause or None), or None where it does not answer this request.

    Checks code, Identifier, Response Authenticator and, where present, Message-Authenticator.
    Any octets may come: nothing is raised.
    """
    try:
        reply = sent.CreateReply(packet=datagram)
        if not sent.VerifyReply(reply, datagram):
            return None
    except (PacketError, ValueError, KeyError, IndexError):
        return None
    request_code, is_ack = _ANSWERS.get(reply.code, (None, False))
    if request_code != sent.code:
        return None
    causes = dict.get(reply, _ERROR_CAUSE) or []
    cause = int.from_bytes(causes[0], "big") if causes and len(causes[0]) == 4 else None
    return is_ack, cause


class UdpCoaTransport:
    """`CoaTransport` over one UDP socket per address family, ports chosen by the system.

    timeouts_ms is the wait after each transmission. refused_answers counts datagrams that
    belonged to no request or failed verification.
    """

    def __init__(self, timeouts_ms: Sequence[int], now_ms: Callable[[], int]) -> None:
        """Open no socket yet: the first request of a family does."""
        self._exchange = Exchange(timeouts_ms)
        self._now_ms = now_ms
        self._sockets: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self.refused_answers = 0
        self.retransmissions = 0

    def send(self, requests: Sequence[CoaRequest]) -> dict[str, int]:
        """See `CoaTransport.send`."""
        left: dict[str, int] = {}
        for request in requests:
            now_ms = self._now_ms()
            identifier = self._exchange.free_identifier(request.target.endpoint)
            if identifier is None:
                continue
            packet, sent = encode_request(request, identifier, now_ms)
            if self._transmit(request.target.endpoint, packet):
                self._exchange.begin(request, identifier, packet, sent, now_ms)
                left[request.command_id] = identifier
        return left

    def poll(self, wait_ms: int) -> list[CoaAnswer]:
        """See `CoaTransport.poll`."""
        now_ms = self._now_ms()
        due_at = self._exchange.next_due_at()
        if due_at is None:
            return []
        wait_ms = max(0, min(wait_ms, due_at - now_ms))
        answers: list[CoaAnswer] = []
        for key, _ in self._selector.select(wait_ms / 1000):
            answers += self._receive(key.data)
        again, silent = self._exchange.overdue(self._now_ms())
        for outstanding in again:
            self._transmit(outstanding.endpoint, outstanding.packet)
            self.retransmissions += 1
        return answers + silent

    def close(self) -> None:
        """See `CoaTransport.close`."""
        for opened in self._sockets.values():
            self._selector.unregister(opened)
            opened.close()
        self._sockets.clear()
        self._selector.close()

    def _receive(self, opened: socket.socket) -> list[CoaAnswer]:
        """Return the answers that wait in a socket; what answers nothing of ours is counted."""
        answers: list[CoaAnswer] = []
        for _ in range(_ANSWERS_PER_POLL_MAX):
            try:
                datagram, source = opened.recvfrom(_DATAGRAM_OCTETS_MAX)
            except BlockingIOError:
                break
            except OSError:
                continue  # an ICMP error of an earlier datagram; the request times out by itself
            waiting = (
                self._exchange.find((source[0], source[1]), datagram[1])
                if len(datagram) >= 20
                else None
            )
            decoded = decode_answer(waiting.request, datagram) if waiting else None
            if waiting is None or decoded is None:
                self.refused_answers += 1
                continue
            self._exchange.finish(waiting)
            answers.append(
                CoaAnswer(
                    waiting.command_id,
                    True,
                    decoded[0],
                    decoded[1],
                    self._now_ms(),
                    waiting.transmissions,
                )
            )
        return answers

    def _transmit(self, endpoint: tuple[str, int], packet: bytes) -> bool:
        """Send one datagram; False where the system refuses it now."""
        try:
            self._socket_for(endpoint[0]).sendto(packet, endpoint)
        except OSError:
            return False
        return True

    def _socket_for(self, address: str) -> socket.socket:
        """Return the socket of an address's family, opened once: retries keep their port."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        if family not in self._sockets:
            opened = socket.socket(family, socket.SOCK_DGRAM)
            opened.setblocking(False)
            opened.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", 0))
            self._selector.register(opened, selectors.EVENT_READ, opened)
            self._sockets[family] = opened
        return self._sockets[family]
