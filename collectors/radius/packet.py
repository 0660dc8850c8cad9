"""One RADIUS packet: octets ↔ code, identifier, authenticator, attributes (RFC 2865 §3).

Decoding never raises. Bad input becomes a packet with a `fault`, one of FAULTS, and the attributes
that stand before it, so that an engineer can see how far a broken packet made sense.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Container, Iterable, Mapping, Sequence
from hashlib import md5
from typing import NamedTuple

ACCESS_REQUEST = 1
ACCESS_ACCEPT = 2
ACCESS_REJECT = 3
ACCOUNTING_REQUEST = 4
ACCOUNTING_RESPONSE = 5
ACCESS_CHALLENGE = 11
STATUS_SERVER = 12
STATUS_CLIENT = 13
DISCONNECT_REQUEST = 40
DISCONNECT_ACK = 41
DISCONNECT_NAK = 42
COA_REQUEST = 43
COA_ACK = 44
COA_NAK = 45
PROTOCOL_ERROR = 52

CODES: Mapping[int, str] = {
    ACCESS_REQUEST: "Access-Request",
    ACCESS_ACCEPT: "Access-Accept",
    ACCESS_REJECT: "Access-Reject",
    ACCOUNTING_REQUEST: "Accounting-Request",
    ACCOUNTING_RESPONSE: "Accounting-Response",
    ACCESS_CHALLENGE: "Access-Challenge",
    STATUS_SERVER: "Status-Server",
    STATUS_CLIENT: "Status-Client",
    DISCONNECT_REQUEST: "Disconnect-Request",
    DISCONNECT_ACK: "Disconnect-ACK",
    DISCONNECT_NAK: "Disconnect-NAK",
    COA_REQUEST: "CoA-Request",
    COA_ACK: "CoA-ACK",
    COA_NAK: "CoA-NAK",
    PROTOCOL_ERROR: "Protocol-Error",
}
"""Packet codes we know (RFC 2865 §4, 2866 §4, 5176 §3, 5997, 7930 §4)."""

REQUESTS = frozenset((1, 4, 12, 13, 40, 43))
"""Codes that ask; every other known code answers."""

EAP_MESSAGE = 79
MESSAGE_AUTHENTICATOR = 80

HEADER_OCTETS = 20
PACKET_OCTETS_MAX = 4096
_HEADER = struct.Struct("!BBH16s")
_START = struct.Struct("!BBH")
_ZEROS = bytes(16)

FAULTS: Mapping[str, str] = {
    "packet_too_short": "fewer than 20 octets, or a length field below 20 (RFC 2865 §3)",
    "packet_too_long": "a length field above 4096 (RFC 2865 §3)",
    "length_field_too_large": "the length field is above the octets received (RFC 2865 §3)",
    "unknown_code": "a packet code nobody assigned for this use (RFC 2865 §4)",
    "attribute_header_cut": "one octet is left where an attribute needs two (RFC 2865 §5)",
    "attribute_zero": "attribute type 0, which is reserved",
    "attribute_length_lt_2": "an attribute's length is below 2 (RFC 2865 §5)",
    "attribute_overflows": "an attribute ends behind the packet (RFC 2865 §5)",
    "message_authenticator_length": "Message-Authenticator is not 18 octets (RFC 3579 §3.2)",
    "message_authenticator_repeated": "more than one Message-Authenticator (RFC 3579 §3.3)",
    "message_authenticator_missing": (
        "Status-Server or EAP-Message without Message-Authenticator (RFC 5997 §3, RFC 3579 §3.1)"
    ),
}
"""Why a packet must be refused: reason -> meaning."""

Attribute = tuple[int, bytes]
"""Type and value, without the two octets of header."""


class Packet(NamedTuple):
    """A decoded packet; `fault` is "" for a well-formed one, else a key of FAULTS.

    length is the length field as sent; authenticator has 16 octets (fewer where the packet is cut);
    attributes are in order of appearance, those before the fault where there is one.
    """

    code: int
    identifier: int
    length: int
    authenticator: bytes
    attributes: tuple[Attribute, ...]
    fault: str

    def first(self, attribute_type: int) -> bytes | None:
        """Return the value of the first attribute of a type, None where absent."""
        for found, value in self.attributes:
            if found == attribute_type:
                return value
        return None

    def all(self, attribute_type: int) -> list[bytes]:
        """Return the values of every attribute of a type, in order."""
        return [value for found, value in self.attributes if found == attribute_type]


def decode_attributes(
    octets: bytes, start: int = 0, wanted: Container[int] | None = None
) -> tuple[list[Attribute], str]:
    """Return the attributes from `start` to the end, and the fault that stopped it ("" for none).

    Each is type, length (both octets counted), value (RFC 2865 §5). wanted: the types to return,
    None for all; every attribute is checked, wanted or not.
    """
    attributes: list[Attribute] = []
    end = len(octets)
    last = end - 1
    at = start
    while at < last:
        kind = octets[at]
        size = octets[at + 1]
        behind = at + size
        if not kind or size < 2 or behind > end:
            return attributes, _attribute_fault(kind, size)
        if wanted is None or kind in wanted:
            attributes.append((kind, octets[at + 2 : behind]))
        at = behind
    return attributes, "attribute_header_cut" if at == last else ""


def _attribute_fault(kind: int, size: int) -> str:
    if not kind:
        return "attribute_zero"
    return "attribute_length_lt_2" if size < 2 else "attribute_overflows"


def decode_packet(octets: bytes, wanted: Container[int] | None = None) -> Packet:
    """Return one UDP payload as a packet; octets behind the length field are padding, ignored.

    wanted: the attributes to return, by type, None for all. The rules about Message-Authenticator
    and EAP-Message are checked only where both are wanted.
    """
    if len(octets) < HEADER_OCTETS:
        code, identifier = (*octets[:2], 0, 0)[:2]
        length = int.from_bytes(octets[2:4], "big")
        return Packet(code, identifier, length, octets[4:], (), "packet_too_short")
    code, identifier, length, authenticator = _HEADER.unpack_from(octets)
    attributes, fault = decode_attributes(octets[:length], HEADER_OCTETS, wanted)
    if length < HEADER_OCTETS:
        fault = "packet_too_short"
    elif length > len(octets):
        fault = "length_field_too_large"
    elif length > PACKET_OCTETS_MAX:
        fault = "packet_too_long"
    elif code not in CODES:
        fault = "unknown_code"
    elif not fault:
        fault = _message_authenticator_fault(code, attributes)
    return Packet(code, identifier, length, authenticator, tuple(attributes), fault)


def _message_authenticator_fault(code: int, attributes: list[Attribute]) -> str:
    found = 0
    carries_eap = False
    for attribute_type, value in attributes:
        if attribute_type == MESSAGE_AUTHENTICATOR:
            found += 1
            if len(value) != 16:
                return "message_authenticator_length"
        elif attribute_type == EAP_MESSAGE:
            carries_eap = True
    if found > 1:
        return "message_authenticator_repeated"
    if not found and (code == STATUS_SERVER or carries_eap):
        return "message_authenticator_missing"
    return ""


def encode_attributes(attributes: Iterable[Attribute]) -> bytes:
    """Return attributes as octets. Raises ValueError for a type or value that does not fit."""
    parts = []
    for attribute_type, value in attributes:
        if not 1 <= attribute_type <= 255:
            raise ValueError(f"attribute type {attribute_type} is not in 1..255")
        if len(value) > 253:
            raise ValueError(f"attribute {attribute_type} has {len(value)} octets, at most 253 fit")
        parts.append(bytes((attribute_type, len(value) + 2)) + value)
    return b"".join(parts)


def encode_packet(
    code: int, identifier: int, authenticator: bytes, attributes: Iterable[Attribute]
) -> bytes:
    """Return a packet as octets. Raises ValueError above 4096 octets or for a bad attribute."""
    body = encode_attributes(attributes)
    length = HEADER_OCTETS + len(body)
    if length > PACKET_OCTETS_MAX:
        raise ValueError(f"a packet of {length} octets; at most {PACKET_OCTETS_MAX} are allowed")
    return _HEADER.pack(code, identifier, length, authenticator) + body


def request_authenticator(octets: bytes, secret: bytes) -> bytes:
    """Return the authenticator an Accounting, CoA or Disconnect request must carry.

    MD5 over the packet with 16 zero octets for the authenticator, then the secret (RFC 2866 §3,
    RFC 5176 §2.3). octets is exactly one packet, without padding.
    """
    return md5(octets[:4] + _ZEROS + octets[HEADER_OCTETS:] + secret).digest()


def response_authenticator(octets: bytes, request: bytes, secret: bytes) -> bytes:
    """Return the authenticator of a response: as a request's, over the request's authenticator.

    octets is the response without padding; request the 16 octets it answers (RFC 2866 §3).
    """
    return md5(octets[:4] + request + octets[HEADER_OCTETS:] + secret).digest()


def message_authenticator(octets: bytes, authenticator: bytes, secret: bytes) -> bytes:
    """Return what Message-Authenticator must hold: HMAC-MD5 with its own 16 octets as zeros.

    authenticator goes into the header first: the request's own for Access-Request and
    Status-Server, zeros for Accounting, CoA and Disconnect requests, the request's for a response
    (RFC 3579 §3.2, RFC 5176 §3.4). Raises ValueError where the packet has no such attribute.
    """
    at = _message_authenticator_offset(octets)
    blank = octets[:4] + authenticator + octets[HEADER_OCTETS:at] + _ZEROS + octets[at + 16 :]
    return hmac.digest(secret, blank, "md5")


def _message_authenticator_offset(octets: bytes) -> int:
    at = HEADER_OCTETS
    while at + 18 <= len(octets):
        if octets[at] == MESSAGE_AUTHENTICATOR:
            return at + 2
        at += max(octets[at + 1], 2)
    raise ValueError("the packet has no Message-Authenticator")


def sign_request(
    code: int,
    identifier: int,
    attributes: Iterable[Attribute],
    secret: bytes,
    *,
    with_message_authenticator: bool = False,
) -> bytes:
    """Return a signed Accounting, CoA or Disconnect request.

    Message-Authenticator goes first, because the authenticator is computed over it.
    """
    listed = list(attributes)
    if with_message_authenticator:
        listed.insert(0, (MESSAGE_AUTHENTICATOR, _ZEROS))
    octets = encode_packet(code, identifier, _ZEROS, listed)
    if with_message_authenticator:
        octets = _put(octets, HEADER_OCTETS + 2, message_authenticator(octets, _ZEROS, secret))
    return _put(octets, 4, request_authenticator(octets, secret))


def header_response(code: int, identifier: int, asked: bytes, secret: bytes) -> bytes:
    """Return a signed answer without attributes; asked is the request's authenticator."""
    header = _START.pack(code, identifier, HEADER_OCTETS)
    return header + md5(header + asked + secret).digest()


def sign_response(
    code: int,
    request: Packet,
    attributes: Sequence[Attribute],
    secret: bytes,
    *,
    with_message_authenticator: bool = False,
) -> bytes:
    """Return a signed answer to a request: same identifier, Response Authenticator."""
    asked = request.authenticator
    if not with_message_authenticator and not attributes:
        # Nearly every answer is a header alone, and there is one for each request.
        return header_response(code, request.identifier, asked, secret)
    listed = list(attributes)
    if with_message_authenticator:
        listed.insert(0, (MESSAGE_AUTHENTICATOR, _ZEROS))
    octets = encode_packet(code, request.identifier, asked, listed)
    if with_message_authenticator:
        octets = _put(octets, HEADER_OCTETS + 2, message_authenticator(octets, asked, secret))
    return _put(octets, 4, response_authenticator(octets, asked, secret))


def _put(octets: bytes, at: int, value: bytes) -> bytes:
    return octets[:at] + value + octets[at + len(value) :]


_SIGNED_REQUESTS = frozenset((ACCOUNTING_REQUEST, COA_REQUEST, DISCONNECT_REQUEST))


def verify_request(octets: bytes, packet: Packet, secret: bytes) -> str:
    """Return "" where a well-formed request was made with the secret, else why not.

    ``wrong_secret``: the Request Authenticator of an Accounting, CoA or Disconnect request does not
    fit. ``message_authenticator_wrong``: that attribute does not. ``unverifiable``: neither can
    tell (an Access-Request without Message-Authenticator).
    """
    octets = octets[: packet.length]
    signed = packet.code in _SIGNED_REQUESTS
    if signed and not hmac.compare_digest(
        request_authenticator(octets, secret), packet.authenticator
    ):
        return "wrong_secret"
    claimed = packet.first(MESSAGE_AUTHENTICATOR)
    if claimed is None:
        return "" if signed else "unverifiable"
    expected = message_authenticator(octets, _ZEROS if signed else packet.authenticator, secret)
    return "" if hmac.compare_digest(expected, claimed) else "message_authenticator_wrong"


def verify_response(octets: bytes, packet: Packet, request: Packet, secret: bytes) -> str:
    """Return "" where a well-formed response answers the request with the secret, else why not.

    The reasons are those of `verify_request`, and ``wrong_identifier``. In an Accounting-Response
    Message-Authenticator may be over zeros or over the request's authenticator: both are in use.
    """
    octets = octets[: packet.length]
    if packet.identifier != request.identifier:
        return "wrong_identifier"
    expected = response_authenticator(octets, request.authenticator, secret)
    if not hmac.compare_digest(expected, packet.authenticator):
        return "wrong_secret"
    claimed = packet.first(MESSAGE_AUTHENTICATOR)
    if claimed is None:
        return ""
    allowed = [request.authenticator]
    if packet.code == ACCOUNTING_RESPONSE and request.code == ACCOUNTING_REQUEST:
        allowed.append(_ZEROS)
    for authenticator in allowed:
        if hmac.compare_digest(message_authenticator(octets, authenticator, secret), claimed):
            return ""
    return "message_authenticator_wrong"
