"""Accounting-Requests for tests, made attribute by attribute."""

from __future__ import annotations

import struct

from collectors.radius.log_codec import AccountingPacket
from collectors.radius.packet import ACCOUNTING_REQUEST, Attribute, sign_request

SECRET = b"testing123"
NAS_ADDRESS = bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 1))
RECEIVED_AT = 1_700_000_000_000

START, STOP, INTERIM, ON, OFF = 1, 2, 3, 7, 8


def integer(attribute_type: int, value: int) -> Attribute:
    return attribute_type, struct.pack("!I", value)


def request(
    *attributes: Attribute,
    status: int = START,
    session_id: bytes = b"5A001",
    identifier: int = 1,
    secret: bytes = SECRET,
    with_message_authenticator: bool = False,
) -> bytes:
    """A signed Accounting-Request with status and session id before what else is given."""
    return sign_request(
        ACCOUNTING_REQUEST,
        identifier,
        [integer(40, status), (44, session_id), *attributes],
        secret,
        with_message_authenticator=with_message_authenticator,
    )


def logged(packet: bytes, received_at: int = RECEIVED_AT, nas_id: str = "bng1") -> AccountingPacket:
    return AccountingPacket(received_at, nas_id, NAS_ADDRESS, 40_000, packet)
