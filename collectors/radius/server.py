"""The accounting server without IO: what to do with a datagram, and what to answer when (RFC 2866).

Two steps, because a request is acknowledged only when it is recorded (RFC 2866 §4.1):
`AccountingServer.handle` judges a datagram; what it accepts goes to the log; then `release` gives
the answer to send, or, where the log failed, `abandon` forgets the request so that the NAS's
retransmission is a new one.
"""

from __future__ import annotations

import dataclasses
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from collectors.config import RadiusConfig
from collectors.radius.accounting import (
    NAS_IDENTIFIER,
    PROXY_STATE,
    decode_judged,
    record_fault,
)
from collectors.radius.attributes import decode_text
from collectors.radius.clients import Client, ClientTable, choose
from collectors.radius.clocks import ClockWatch
from collectors.radius.log_codec import AccountingPacket
from collectors.radius.ordinary import OrdinaryRequests
from collectors.radius.packet import (
    ACCOUNTING_REQUEST,
    ACCOUNTING_RESPONSE,
    FAULTS,
    HEADER_OCTETS,
    MESSAGE_AUTHENTICATOR,
    STATUS_SERVER,
    Attribute,
    Packet,
    header_response,
    request_authenticator,
    sign_response,
    verify_request,
)

REFUSALS: Mapping[str, str] = {
    **FAULTS,
    "unknown_nas": "no configured client has this source address and NAS-Identifier",
    "unexpected_code": "not an Accounting-Request or Status-Server",
    "wrong_secret": "the Request Authenticator does not fit the secret (RFC 2866 §3)",
    "message_authenticator_wrong": "Message-Authenticator does not fit the secret",
    "message_authenticator_required": "the client must send Message-Authenticator and did not",
    "status_type_missing": "no usable Acct-Status-Type (RFC 2866 §5.1)",
    "session_id_missing": "no Acct-Session-Id (RFC 2866 §5.5)",
}
"""Why a datagram is not answered: reason -> meaning."""

RADSEC_SECRET = b"radsec"
"""Secret of every packet over TLS, whose certificates say who is who (RFC 6614 §2.3)."""

ENDING = frozenset(
    (
        *("packet_too_short", "packet_too_long", "length_field_too_large", "attribute_header_cut"),
        *("attribute_length_lt_2", "attribute_overflows", "wrong_secret"),
        *("message_authenticator_length", "message_authenticator_wrong"),
    )
)
"""Reasons for which a packet over TLS ends its connection (RFC 6613 §2.6.4)."""

KNOWN_SENDERS_MAX = 4_096
"""Addresses and NAS-Identifiers whose client is kept at hand."""

RequestKey = tuple[bytes, int, int, bytes]
"""Source address, source port or connection, identifier, authenticator: what a retransmission
repeats."""


class Secured(NamedTuple):
    """How a packet came by RadSec: names of the client's certificate, number of the connection.

    The number is above any port's.
    """

    names: frozenset[str]
    connection: int


class Accepted(NamedTuple):
    """A verified request; the answer is given out by `AccountingServer.release` only.

    packet is what to record, None for Status-Server, which records nothing (RFC 5997).
    """

    key: RequestKey
    packet: AccountingPacket | None
    response: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Duplicate:
    """A retransmission: the same answer again, or None while the request is not yet durable."""

    response: bytes | None


@dataclasses.dataclass(frozen=True, slots=True)
class Refused:
    """A datagram that gets no answer; reason is a key of REFUSALS."""

    reason: str


class AccountingServer:
    """Judges accounting datagrams; holds nothing but the clients and recent answers.

    `evicted` counts answers that the cache's limit made it forget before their time; `clocks` knows
    how far the NASes' clocks are off.
    """

    def __init__(self, config: RadiusConfig) -> None:
        """Take clients and limits from the settings. Raises ValueError for a bad client."""
        self.clients = ClientTable(config.clients)
        self.clocks = ClockWatch()
        self._keep_ms = config.duplicate_cache_seconds * 1000
        self._keep_entries = config.duplicate_cache_entries
        # Insertion order is time order: pending and answered requests, oldest first. In a plain
        # dict the first one is found behind the places of all that were deleted before it.
        self._recent: OrderedDict[RequestKey, tuple[int, bytes | None]] = OrderedDict()
        # Until then the oldest one is kept, so nothing is to be looked for.
        self._expires_at = 0
        self._ordinary = OrdinaryRequests()
        self._known: dict[tuple[bytes, bytes], tuple[bytes, str]] = {}
        self.evicted = 0

    @property
    def cached(self) -> int:
        """How many requests are remembered."""
        return len(self._recent)

    def handle(
        self,
        datagram: bytes,
        source_address: bytes,
        source_port: int,
        received_at: int,
        secured: Secured | None = None,
    ) -> Accepted | Duplicate | Refused:
        """Judge one datagram from 16 octets of address and a port, received at an instant in ms.

        secured is set where it came by RadSec.
        """
        if secured is None:
            nas_identifier = self._ordinary.nas_identifier(datagram)
            if nas_identifier is not None:
                known = self._known.get((source_address, nas_identifier))
                if known is not None:
                    source = (source_address, source_port)
                    return self._handle_ordinary(datagram, source, received_at, known)
        return self._handle_any(datagram, source_address, source_port, received_at, secured)

    def _handle_ordinary(
        self, datagram: bytes, source: tuple[bytes, int], received_at: int, known: tuple[bytes, str]
    ) -> Accepted | Duplicate | Refused:
        """Judge what `OrdinaryRequests` knows, of a client that sent such requests before.

        It comes out as `_handle_any` would have it, whose other questions are answered already.
        """
        secret, nas_id = known
        authenticator = datagram[4:HEADER_OCTETS]
        if not hmac.compare_digest(request_authenticator(datagram, secret), authenticator):
            return Refused("wrong_secret")
        identifier = datagram[1]
        key = (*source, identifier, authenticator)
        repeated = self._repeated(key, received_at)
        if repeated is not None:
            return repeated
        self._remember(key, received_at, None)
        packet = AccountingPacket(received_at, nas_id, *source, datagram)
        self.clocks.note(packet)
        response = header_response(ACCOUNTING_RESPONSE, identifier, authenticator, secret)
        return Accepted(key, packet, response)

    def _handle_any(
        self,
        datagram: bytes,
        source_address: bytes,
        source_port: int,
        received_at: int,
        secured: Secured | None,
    ) -> Accepted | Duplicate | Refused:
        """Judge what came in any way, attribute by attribute."""
        if secured is None:
            candidates = self.clients.candidates(source_address)
        else:
            candidates = self.clients.secured(secured.names, source_address)
        if not candidates:
            return Refused("unknown_nas")
        request = decode_judged(datagram)
        if request.fault:
            return Refused(request.fault)
        if request.code not in (ACCOUNTING_REQUEST, STATUS_SERVER):
            return Refused("unexpected_code")
        client = choose(candidates, decode_text(request.first(NAS_IDENTIFIER) or b""))
        if client is None and secured is not None and request.code == STATUS_SERVER:
            # A proxy asks whether we live in its own name, not in a NAS's (RFC 6613 §2.6.5).
            client = next(iter(candidates[0].values()))
        if client is None:
            return Refused("unknown_nas")
        secret = client.secret if secured is None else RADSEC_SECRET
        reason = _verify(datagram, request, client, secret)
        if reason:
            return Refused(reason)
        # Over a connection a request is known within that alone (RFC 6613 §2.6.1).
        sender = source_port if secured is None else secured.connection
        key = (source_address, sender, request.identifier, request.authenticator)
        repeated = self._repeated(key, received_at)
        if repeated is not None:
            return repeated
        packet = None
        if request.code == ACCOUNTING_REQUEST:
            self._remember(key, received_at, None)
            packet = AccountingPacket(
                received_at,
                client.nas_id_at(source_address),
                source_address,
                source_port,
                datagram[: request.length],
            )
            self.clocks.note(packet)
            if secured is None:
                self._learn(packet, request, client)
        return Accepted(key, packet, _answer(request, secret))

    def _learn(self, packet: AccountingPacket, request: Packet, client: Client) -> None:
        """Keep a verified request's layout and client at hand for `_handle_ordinary`."""
        self._ordinary.learn(packet.packet)
        if client.config.require_message_authenticator:
            return
        if len(self._known) >= KNOWN_SENDERS_MAX:
            self._known.clear()
        sender = (packet.source_address, request.first(NAS_IDENTIFIER) or b"")
        self._known[sender] = (client.secret, packet.nas_id)

    def release(self, accepted: Accepted) -> bytes:
        """Return the answer to a request that is now durable, and keep it for retransmissions."""
        known = self._recent.get(accepted.key)
        if known is not None:
            self._recent[accepted.key] = (known[0], accepted.response)
        return accepted.response

    def abandon(self, accepted: Accepted) -> None:
        """Forget a request that could not be made durable."""
        self._recent.pop(accepted.key, None)

    def _repeated(self, key: RequestKey, received_at: int) -> Duplicate | None:
        """Return a request as a known one, with its answer if it has one, None where it is new."""
        if received_at >= self._expires_at:
            self._expire(received_at)
        remembered = self._recent.get(key)
        return None if remembered is None else Duplicate(remembered[1])

    def _remember(self, key: RequestKey, received_at: int, response: bytes | None) -> None:
        if not self._recent:
            self._expires_at = received_at + self._keep_ms
        while self._recent and len(self._recent) >= self._keep_entries:
            self._recent.popitem(last=False)
            self.evicted += 1
        self._recent[key] = (received_at, response)

    def _expire(self, now_at: int) -> None:
        while self._recent:
            oldest = next(iter(self._recent))
            self._expires_at = self._recent[oldest][0] + self._keep_ms
            if self._expires_at > now_at:
                return
            self._recent.popitem(last=False)


def _verify(datagram: bytes, request: Packet, client: Client, secret: bytes) -> str:
    reason = verify_request(datagram, request, secret)
    if reason:
        return reason
    if request.code == STATUS_SERVER:
        return ""
    if client.config.require_message_authenticator and (
        request.first(MESSAGE_AUTHENTICATOR) is None
    ):
        return "message_authenticator_required"
    return record_fault(request.attributes)


def _answer(request: Packet, secret: bytes) -> bytes:
    # Proxy-State comes back unmodified and in order (RFC 2865 §5.33); nothing else is needed.
    # Message-Authenticator only answers Status-Server (RFC 5997 §3): for Accounting-Response no RFC
    # says which authenticator goes into it, FreeRADIUS takes zeros, pyrad the request's, and each
    # refuses the other's.
    echoed: list[Attribute] = [a for a in request.attributes if a[0] == PROXY_STATE]
    return sign_response(
        ACCOUNTING_RESPONSE,
        request,
        echoed,
        secret,
        with_message_authenticator=request.code == STATUS_SERVER,
    )
