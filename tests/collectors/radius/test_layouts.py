"""A packet of a known layout says what it says attribute by attribute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.config import NasConfig, RadiusConfig
from collectors.radius import accounting
from collectors.radius.accounting import decode_record
from collectors.radius.layouts import LAYOUTS_OF_LENGTH_MAX, Layouts
from collectors.radius.packet import Attribute, decode_packet
from tests.collectors.radius.packets import INTERIM, STOP, integer, logged, request

CONFIG = RadiusConfig()
NASES = (
    NasConfig("bng1", "192.0.2.1", "testing123"),
    NasConfig("bng2", "192.0.2.2", "testing123", swap_input_output=True, has_gigawords=False),
)
NUMBERS = (5, 41, 42, 43, 46, 47, 48, 49, 52, 53, 55)
TEXTS = (1, 30, 31, 32, 50, 87)
OCTETS = (4, 8, 25, 79, 80, 95, 96, 97, 123, 168, 200)

kinds = st.lists(st.sampled_from((*NUMBERS, *TEXTS, *OCTETS)), max_size=12)
values = st.one_of(st.just(bytes(16)), st.binary(min_size=16, max_size=16))


@st.composite
def alike(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Two requests of one layout, each with values of its own."""
    lengths = [
        (kind, 4 if kind in NUMBERS else draw(st.sampled_from((1, 4, 8, 16))))
        for kind in draw(kinds)
    ]

    def one() -> bytes:
        made: list[Attribute] = [(kind, draw(values)[:size]) for kind, size in lengths]
        session_id = draw(st.sampled_from((b"5A", b"6B", b"\0\0")))
        return request(
            *made, status=draw(st.sampled_from((INTERIM, STOP, 9))), session_id=session_id
        )

    return one(), one()


@given(alike(), st.sampled_from(NASES))
def test_a_known_layout_says_the_same(packets: tuple[bytes, bytes], nas: NasConfig) -> None:
    first, second = map(logged, packets)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounting, "_LAYOUTS", emptied())
        decode_record(first, nas, CONFIG)
        known = decode_record(second, nas, CONFIG)
        patch.setattr(accounting, "_LAYOUTS", emptied())
        assert known == decode_record(second, nas, CONFIG)


def emptied() -> Layouts:
    kept = accounting._LAYOUTS
    return Layouts(kept._fields, kept._integer, kept._required)


def test_a_layout_is_read_by_its_plan() -> None:
    layouts = emptied()
    packet = request(integer(42, 7), status=INTERIM, session_id=b"5A")
    layouts.learn(packet, decode_packet(packet).attributes)
    assert layouts.read(request(integer(42, 8), status=INTERIM, session_id=b"6B")) == {
        "status_type": INTERIM,
        "acct_session_id": "6B",
        "input_octets": 8,
    }
    assert layouts.read(request(integer(43, 8), status=INTERIM, session_id=b"6B")) is None


def test_plans_are_bounded() -> None:
    layouts = emptied()
    for size in range(1, LAYOUTS_OF_LENGTH_MAX + 20):
        # Two texts that share out the same octets: one length, many layouts.
        packet = request((1, b"u" * size), (87, b"p" * (100 - size)), status=INTERIM)
        layouts.learn(packet, decode_packet(packet).attributes)
    [plans] = layouts._plans.values()
    assert len(plans) == LAYOUTS_OF_LENGTH_MAX
