"""Hypothesis writes RADIUS datagrams: signed lies reach the stage, unsigned ones are refused.

20,000 datagrams. Those with the secret carry any attributes, known types among them, of any length
and value; they go the whole way from the socket's octets to usage and state that can be stored.
"""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from collectors.config import NasConfig, RadiusConfig
from collectors.radius.log_codec import AccountingPacket, encode_packets
from collectors.radius.packet import Attribute, sign_request
from collectors.radius.server import REFUSALS, Accepted, AccountingServer, Refused
from rating.ports import Batch, Block, MemoryState, StepResult
from rating.session_config import SessionsConfig
from streams.codec import encode_value
from streams.sessions import SessionsStageConfig, step
from tests.collectors.radius.packets import NAS_ADDRESS, RECEIVED_AT, SECRET

EXAMPLES = 500
DATAGRAMS_PER_EXAMPLE = 40
CHOICES_PER_EXAMPLE = 4_000
NAS = NasConfig("bng1", "192.0.2.1", SECRET.decode())
RADIUS = RadiusConfig(clients=(NAS,))
TYPES = (1, 4, 5, 8, 25, 26, 31, 32, 40, 41, 42, 43, 46, 47, 48, 49, 50, 52, 53, 55, 87, 97, 123)
INT64 = range(-(1 << 63), 1 << 63)


class _Choices:
    """Octets drawn by hypothesis, read as decisions; after the last one all are 0."""

    def __init__(self, octets: bytes) -> None:
        self._octets = iter(octets)

    def below(self, limit: int) -> int:
        return next(self._octets, 0) % limit

    def value(self) -> bytes:
        kind = self.below(6)
        if kind < 3:
            return (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")[kind]
        if kind == 3:
            return bytes((0, 0, self.below(256), self.below(256)))
        return bytes(self.below(256) for _ in range((4, self.below(24))[kind - 4]))


def _request(choices: _Choices, number: int) -> bytes:
    """Return a signed packet of any code; three of four are of a session that others are of too."""
    attributes: list[Attribute] = []
    if choices.below(4):
        attributes.append((40, bytes((0, 0, 0, 1 + choices.below(3)))))
        attributes.append((44, b"%d" % choices.below(3)))
        attributes.append((46, bytes((0, 0, choices.below(16), choices.below(256)))))
    for _ in range(choices.below(6)):
        attributes.append((TYPES[choices.below(len(TYPES))], choices.value()))
    code = 4 if choices.below(8) else choices.below(64)
    return sign_request(code, number, attributes, SECRET)


def _spoiled(choices: _Choices, packet: bytes) -> bytes:
    """Return a packet with an octet changed, cut, or made longer."""
    kind, place = choices.below(3), choices.below(256) % len(packet)
    if kind == 0:
        changed = bytearray(packet)
        changed[place] ^= 1 + choices.below(255)
        return bytes(changed)
    return packet[:place] if kind == 1 else packet[:2] + b"\xff\xff" + packet[4:]


def _judged(octets: bytes) -> Iterator[AccountingPacket]:
    """Yield what the server accepts; all else it refuses, for a reason that it counts."""
    choices = _Choices(octets)
    server = AccountingServer(RADIUS)
    for number in range(DATAGRAMS_PER_EXAMPLE):
        packet = _request(choices, number)
        is_spoiled = choices.below(4) == 1
        datagram = _spoiled(choices, packet) if is_spoiled else packet
        judged = server.handle(datagram, NAS_ADDRESS, 40_000, RECEIVED_AT + 1_000 * number)
        if isinstance(judged, Refused):
            assert judged.reason in REFUSALS
            continue
        assert not is_spoiled
        if isinstance(judged, Accepted) and judged.packet is not None:
            yield judged.packet


def _check(result: StepResult) -> None:
    for change in result.changes:
        encode_value(getattr(change, "value", None))
    for row in result.rows:
        for name in row.__slots__:
            value = getattr(row, name)
            assert not isinstance(value, int) or value in INT64


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@example(b"")
@given(st.binary(min_size=CHOICES_PER_EXAMPLE, max_size=CHOICES_PER_EXAMPLE))
def test_twenty_thousand_datagrams_of_lies(octets: bytes) -> None:
    packets = list(_judged(octets))
    block = Block(1, "data", RECEIVED_AT, encode_packets(packets))
    config = SessionsStageConfig(SessionsConfig(), RADIUS)
    result = step(MemoryState(), Batch({}, [block]), watermark_at=0, config=config)
    assert result.counters.get("sessions_packets", 0) <= len(packets)
    _check(result)
    for output in result.outputs:
        assert output.frame.height
