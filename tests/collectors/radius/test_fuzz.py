"""Hostile octets never raise, are never accepted, and leave nothing behind (24,000 inputs)."""

from __future__ import annotations

import random

import pytest

from collectors.config import NasConfig, RadiusConfig
from collectors.radius.accounting import decode_record
from collectors.radius.server import REFUSALS, AccountingServer, Refused
from tests.collectors.radius.packets import NAS_ADDRESS, RECEIVED_AT, integer, logged, request

NAS = NasConfig("bng1", "192.0.2.1", "testing123")
CONFIG = RadiusConfig(clients=(NAS,))
VALID = [
    request(integer(42, 2**31), integer(52, 1), (1, b"bob"), (8, b"\x0a\0\0\x01")),
    request(
        (25, b"c" * 40), (123, b"\0\x38" + bytes(7)), status=2, with_message_authenticator=True
    ),
    request(*[(33, bytes((n,)) * 9) for n in range(60)], status=3),
]


def hostile(chance: random.Random, kind: str) -> bytes:
    packet = bytearray(chance.choice(VALID))
    if kind == "noise":
        packet = bytearray(chance.randbytes(chance.randrange(120)))
        if len(packet) >= 4 and chance.random() < 0.8:
            packet[0] = chance.choice((4, 12, 40, 43))
            packet[2:4] = len(packet).to_bytes(2, "big")
    elif kind == "cut":
        del packet[chance.randrange(len(packet)) :]
    else:
        for _ in range(chance.randrange(1, 4)):
            packet[chance.randrange(len(packet))] ^= 1 << chance.randrange(8)
    return bytes(packet)


@pytest.mark.parametrize("kind", ["noise", "cut", "flip"])
def test_nothing_hostile_is_accepted(kind: str) -> None:
    chance = random.Random(kind)
    server = AccountingServer(CONFIG)
    reasons = set()
    for _ in range(8_000):
        datagram = hostile(chance, kind)
        if datagram in VALID:  # Two flips of one bit.
            continue
        judged = server.handle(datagram, NAS_ADDRESS, 40_000, RECEIVED_AT)
        assert isinstance(judged, Refused), datagram.hex()
        reasons.add(judged.reason)
        decode_record(logged(datagram), NAS, CONFIG)
    assert reasons <= set(REFUSALS)
    assert server.cached == 0
    # The inputs reach behind the length field and into the attributes, or they prove nothing.
    expected = {"length_field_too_large"} if kind == "cut" else {"attribute_overflows"}
    assert expected <= reasons
