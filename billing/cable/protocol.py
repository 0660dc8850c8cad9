"""Flowrate's own protocol towards a CAS gateway, sans IO: lines of JSON in, records out.

Vendors' protocols are secret, so an ISP (or the vendor) puts a small gateway in front of the CAS
that speaks this one; `flowrate cas-simulator` does, and docs/conditional-access.md describes it.

    gateway: {"protocol": "flowrate-cas/1", "nonce": "…"}
    client:  {"client": "flowrate", "mac": HMAC-SHA256(secret, nonce)}
    gateway: {"ok": true}
    client:  {"id": "C1/7", "op": "entitle", "card": "C1", "entitlement": "P1", "expires_at": …}
    gateway: {"id": "C1/7", "card": "C1", "ok": true}
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from billing.cable.access import (
    ENTITLE,
    INVALID,
    MESSAGE,
    OPERATIONS,
    PAIR,
    QUERY,
    UNPAIR,
    WITHDRAW,
    CardState,
    CasAnswer,
    CasRequest,
)

PROTOCOL = "flowrate-cas/1"
LINE_OCTETS_MAX = 16_384
"""Longest line, its end included."""

_FIELDS: Mapping[str, tuple[str, ...]] = {
    PAIR: ("box",),
    UNPAIR: ("box",),
    ENTITLE: ("entitlement", "expires_at"),
    WITHDRAW: ("entitlement",),
    MESSAGE: ("text",),
}
"""What an operation's request holds beside id, op and card."""


class ProtocolError(Exception):
    """The other side does not speak the protocol; the connection is of no more use."""


class Lines:
    """Octets as they arrive, cut into lines."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._rest = b""

    def feed(self, octets: bytes) -> list[dict[str, Any]]:
        """Return the objects that are complete now.

        ProtocolError for a line that is too long, or is no JSON object.
        """
        *whole, self._rest = (self._rest + octets).split(b"\n")
        if len(self._rest) >= LINE_OCTETS_MAX:
            raise ProtocolError(f"a line of more than {LINE_OCTETS_MAX} octets")
        return [_object(line) for line in whole]


def _object(line: bytes) -> dict[str, Any]:
    if len(line) >= LINE_OCTETS_MAX:
        raise ProtocolError(f"a line of more than {LINE_OCTETS_MAX} octets")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        raise ProtocolError(f"no JSON: {line[:60]!r}") from None
    if not isinstance(found, dict):
        raise ProtocolError(f"no JSON object: {line[:60]!r}")
    return found


def to_line(document: Mapping[str, Any]) -> bytes:
    """Return an object as one line."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def greeting(nonce: str) -> dict[str, Any]:
    """Return what a gateway says first."""
    return {"protocol": PROTOCOL, "nonce": nonce}


def login(secret: str, greeted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a client says to a greeting. ProtocolError where it is none of ours."""
    nonce = greeted.get("nonce")
    if greeted.get("protocol") != PROTOCOL or not isinstance(nonce, str):
        raise ProtocolError(f"expected protocol {PROTOCOL}, found {greeted.get('protocol')!r}")
    return {"client": "flowrate", "mac": mac_of(secret, nonce)}


def mac_of(secret: str, nonce: str) -> str:
    """Return the proof, as hexadecimal digits, that one knows the secret."""
    return hmac.new(secret.encode(), nonce.encode(), hashlib.sha256).hexdigest()


def is_login(document: Mapping[str, Any], secret: str, nonce: str) -> bool:
    """Return whether a client's first line proves that it knows the secret."""
    mac = document.get("mac")
    return isinstance(mac, str) and hmac.compare_digest(
        mac.encode(), mac_of(secret, nonce).encode()
    )


def encode_request(request: CasRequest) -> dict[str, Any]:
    """Return a request as an object of the protocol."""
    values: dict[str, Any] = {
        "box": request.box_serial,
        "entitlement": request.entitlement,
        "expires_at": request.expires_at,
        "text": request.text,
    }
    own = {name: values[name] for name in _FIELDS.get(request.operation, ())}
    return {
        "id": request.request_id,
        "op": request.operation,
        "card": request.card_serial,
        **own,
    }


def decode_request(document: Mapping[str, Any]) -> CasRequest:
    """Return the request of an object. ValueError names the member that is wrong."""
    operation = document.get("op")
    if operation not in OPERATIONS:
        raise ValueError(f"op: found {operation!r}, expected one of {', '.join(OPERATIONS)}")
    values: dict[str, Any] = {}
    for name in ("id", "card", *_FIELDS.get(operation, ())):
        value = document.get(name)
        wanted: type = int if name == "expires_at" else str
        if type(value) is not wanted or not value:
            raise ValueError(f"{name}: found {value!r}, expected {wanted.__name__}")
        values[name] = value
    return CasRequest(
        values["id"],
        operation,
        values["card"],
        values.get("box", ""),
        values.get("entitlement", ""),
        values.get("expires_at", 0),
        values.get("text", ""),
    )


def encode_answer(card_serial: str, answer: CasAnswer) -> dict[str, Any]:
    """Return an answer about a card as an object of the protocol."""
    document: dict[str, Any] = {
        "id": answer.request_id,
        "card": card_serial,
        "ok": not answer.error,
    }
    if answer.error:
        document |= {"error": answer.error, "reason": answer.reason}
    if answer.state is not None:
        document |= {
            "box": answer.state.box_serial,
            "entitlements": dict(answer.state.entitlements),
        }
    return document


def decode_answer(request: CasRequest, document: Mapping[str, Any]) -> CasAnswer:
    """Return what an answer says to a request; whatever cannot be believed is silence."""
    identity = request.request_id
    card = document.get("card")
    if card != request.card_serial:
        return CasAnswer(identity, False, reason=f"the answer was about card {card!r}")
    if document.get("ok") is not True:
        error = document.get("error")
        return CasAnswer(
            identity,
            True,
            error if isinstance(error, str) and error else INVALID,
            str(document.get("reason") or ""),
        )
    if request.operation != QUERY:
        return CasAnswer(identity, True)
    box, entitlements = document.get("box"), document.get("entitlements")
    is_state = (
        isinstance(box, str)
        and isinstance(entitlements, dict)
        and all(type(at) is int for at in entitlements.values())
    )
    if not is_state:
        return CasAnswer(identity, False, reason="the answer to a query held no state")
    assert isinstance(box, str)
    assert isinstance(entitlements, dict)
    return CasAnswer(identity, True, state=CardState(box, entitlements))
