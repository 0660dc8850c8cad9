"""What changes in an accounting packet on its way to a second server, and what must not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.radius.log_codec import AccountingPacket
from collectors.radius.packet import (
    MESSAGE_AUTHENTICATOR,
    PACKET_OCTETS_MAX,
    Attribute,
    Packet,
    decode_packet,
    verify_request,
)
from collectors.radius.relay_packets import (
    RelaySetting,
    is_looping,
    relay_request,
    session_of,
)
from tests.collectors.radius.packets import (
    NAS_ADDRESS,
    ON,
    RECEIVED_AT,
    STOP,
    integer,
    logged,
    request,
)

TAG = b"flowrate"
SETTING = RelaySetting(b"second-secret", TAG, False)
NAS_IP = (4, bytes((192, 0, 2, 9)))
NAMED = (NAS_IP, (33, b"one"), (1, b"alice"), (25, b"class-1"), (25, b"class-2"))


def relayed(packet: AccountingPacket, after_ms: int = 0, setting: RelaySetting = SETTING) -> Packet:
    """Return what the second server gets, verified with its secret."""
    octets = relay_request(packet, (7, 3), 99, RECEIVED_AT + after_ms, setting)
    decoded = decode_packet(octets)
    assert (decoded.fault, decoded.identifier) == ("", 99)
    assert verify_request(octets, decoded, setting.secret) == ""
    return decoded


def test_what_the_nas_said_stays_and_proxy_state_comes_behind_others() -> None:
    packet = logged(request(*NAMED, status=STOP))
    attributes = relayed(packet).attributes
    assert attributes[:-1] == decode_packet(packet.packet).attributes
    assert attributes[-1] == (33, TAG + bytes((0, 0, 0, 0, 0, 0, 0, 7, 0, 3)))


def test_the_time_held_is_added_to_the_delay() -> None:
    packet = logged(request(NAS_IP, integer(41, 5)))
    assert relayed(packet, 3_600_999).first(41) == (3_605).to_bytes(4, "big")


def test_a_packet_without_delay_gets_one_only_when_it_was_held() -> None:
    packet = logged(request(NAS_IP))
    assert relayed(packet, 999).first(41) is None
    assert relayed(packet, 61_000).first(41) == (61).to_bytes(4, "big")


def test_a_delay_does_not_begin_again_at_zero() -> None:
    packet = logged(request(NAS_IP, integer(41, 0xFFFFFFF0)))
    assert relayed(packet, 60_000).first(41) == b"\xff\xff\xff\xff"


def test_message_authenticator_is_made_anew_for_the_second_server() -> None:
    signed = logged(request(NAS_IP, with_message_authenticator=True))
    assert len(relayed(signed).all(MESSAGE_AUTHENTICATOR)) == 1
    plain = logged(request(NAS_IP))
    assert relayed(plain).first(MESSAGE_AUTHENTICATOR) is None
    demanded = SETTING._replace(sends_message_authenticator=True)
    assert relayed(plain, setting=demanded).attributes[0][0] == MESSAGE_AUTHENTICATOR


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (NAS_ADDRESS, (4, NAS_ADDRESS[12:])),
        (bytes.fromhex("20010db8" + "0" * 23 + "1"), None),
    ],
)
def test_a_nas_that_names_itself_nowhere_is_named_by_its_address(
    source: bytes, name: Attribute | None
) -> None:
    packet = logged(request())._replace(source_address=source)
    assert (name or (95, source)) in relayed(packet).attributes
    for own in (NAS_IP, (32, b"bng1"), (95, bytes(15) + b"\1")):
        named = logged(request(own))._replace(source_address=source)
        assert [kind for kind, _ in relayed(named).attributes if kind in (4, 32, 95)] == [own[0]]


@given(octets=st.integers(3_900, 4_060))
def test_a_packet_of_nearly_4096_octets_is_relayed_with_what_fits(octets: int) -> None:
    filler: list[Attribute] = []
    left = octets - 36
    while left > 2:
        size = min(left, 255)
        filler.append((26, bytes(size - 2)))
        left -= size
    packet = logged(request(*filler, with_message_authenticator=True))
    sent = relayed(packet, 5_000)
    assert sent.length <= PACKET_OCTETS_MAX
    assert [a for a in sent.attributes if a[0] == 26] == filler


def test_what_was_relayed_from_here_is_known_when_it_comes_back() -> None:
    packet = logged(request(*NAMED))
    octets = relay_request(packet, (7, 3), 1, RECEIVED_AT, SETTING)
    assert is_looping(packet._replace(packet=octets), TAG)
    assert not is_looping(packet, TAG)
    assert not is_looping(logged(request(NAS_IP, (1, TAG))), TAG)


def test_a_session_is_nas_and_session_id() -> None:
    assert session_of(logged(request(session_id=b"81"))) == ("bng1", b"81")
    assert session_of(logged(request(session_id=b"", status=ON))) == ("bng1", b"")
