"""One packet: decoded exactly, refused with the right reason, signed as others sign."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad.dictionary import Dictionary
from pyrad.packet import AcctPacket

from collectors.radius import packet as radius
from tests.collectors.radius.packets import SECRET, integer, request

HEADER = bytes.fromhex("000102030405060708090a0b0c0d0e0f")


def octets(code: int, body: bytes, length: int | None = None) -> bytes:
    length = 20 + len(body) if length is None else length
    return bytes((code, 9)) + length.to_bytes(2, "big") + HEADER + body


def test_a_packet_comes_apart_into_its_fields() -> None:
    decoded = radius.decode_packet(octets(4, b"\x01\x05bob\x19\x02"))
    assert decoded == radius.Packet(4, 9, 27, HEADER, ((1, b"bob"), (25, b"")), "")
    assert decoded.first(1) == b"bob"
    assert decoded.first(2) is None


def test_octets_behind_the_length_field_are_padding() -> None:
    decoded = radius.decode_packet(octets(4, b"\x01\x05bob") + b"\xff\xff\xff")
    assert (decoded.attributes, decoded.fault) == (((1, b"bob"),), "")


@pytest.mark.parametrize(
    ("packet", "fault"),
    [
        (b"", "packet_too_short"),
        (octets(4, b"")[:19], "packet_too_short"),
        (octets(4, b"", length=19), "packet_too_short"),
        (octets(4, b"\x01\x05bob", length=26), "length_field_too_large"),
        (octets(4, b"\x01\x05bob" * 900, length=4097), "packet_too_long"),
        (octets(0, b""), "unknown_code"),
        (octets(6, b""), "unknown_code"),
        (octets(4, b"\x01\x05bob\x01"), "attribute_header_cut"),
        (octets(4, b"\x00\x03x"), "attribute_zero"),
        (octets(4, b"\x01\x01"), "attribute_length_lt_2"),
        (octets(4, b"\x01\x06bob"), "attribute_overflows"),
        (octets(4, b"\x50\x11" + bytes(15)), "message_authenticator_length"),
        (octets(4, (b"\x50\x12" + bytes(16)) * 2), "message_authenticator_repeated"),
        (octets(12, b""), "message_authenticator_missing"),
        (octets(1, b"\x4f\x03x"), "message_authenticator_missing"),
    ],
)
def test_a_broken_packet_has_exactly_one_reason(packet: bytes, fault: str) -> None:
    assert radius.decode_packet(packet).fault == fault
    assert fault in radius.FAULTS


def test_what_stands_before_the_fault_is_kept() -> None:
    assert radius.decode_packet(octets(4, b"\x01\x05bob\x02\x01")).attributes == ((1, b"bob"),)


ATTRIBUTES = st.lists(
    st.tuples(st.integers(1, 255).filter(lambda t: t not in (79, 80)), st.binary(max_size=253)),
    max_size=15,
)


@given(st.sampled_from([4, 40, 43]), st.integers(0, 255), ATTRIBUTES, st.binary(min_size=1))
def test_what_is_signed_decodes_and_verifies(
    code: int, identifier: int, attributes: list[radius.Attribute], secret: bytes
) -> None:
    packet = radius.sign_request(code, identifier, attributes, secret)
    decoded = radius.decode_packet(packet)
    assert (decoded.code, decoded.identifier, decoded.fault) == (code, identifier, "")
    assert list(decoded.attributes) == attributes
    assert radius.verify_request(packet, decoded, secret) == ""
    assert radius.verify_request(packet, decoded, secret + b"x") == "wrong_secret"


@given(ATTRIBUTES, st.integers(0), st.integers(1, 255))
def test_any_changed_octet_breaks_the_signature(
    attributes: list[radius.Attribute], position: int, change: int
) -> None:
    packet = bytearray(
        radius.sign_request(4, 1, attributes, SECRET, with_message_authenticator=True)
    )
    packet[position % len(packet)] ^= change
    decoded = radius.decode_packet(bytes(packet))
    assert decoded.fault or radius.verify_request(bytes(packet), decoded, SECRET)


def test_a_forged_message_authenticator_is_found_behind_a_good_request_authenticator() -> None:
    forged = radius.encode_packet(4, 1, bytes(16), [(80, b"x" * 16)])
    signed = forged[:4] + radius.request_authenticator(forged, SECRET) + forged[20:]
    decoded = radius.decode_packet(signed)
    assert radius.verify_request(signed, decoded, SECRET) == "message_authenticator_wrong"


def test_pyrad_makes_the_same_octets() -> None:
    # Another implementation's signature is the only proof that ours is not wrong twice.
    names = "ATTRIBUTE Acct-Status-Type 40 integer\nATTRIBUTE Acct-Session-Id 44 string\n"
    theirs = AcctPacket(id=7, secret=SECRET, dict=Dictionary(io.StringIO(names)))
    theirs["Acct-Status-Type"] = 1
    theirs["Acct-Session-Id"] = "5A001"
    assert theirs.RequestPacket() == request(identifier=7)


def test_pyrad_believes_our_answer() -> None:
    theirs = AcctPacket(id=7, secret=SECRET, dict=Dictionary(io.StringIO("")))
    asked = radius.decode_packet(theirs.RequestPacket())
    answer = radius.sign_response(5, asked, [(33, b"proxy")], SECRET)
    assert theirs.VerifyReply(theirs.CreateReply(packet=answer), rawreply=answer)


@pytest.mark.parametrize("with_message_authenticator", [False, True])
def test_an_answer_fits_its_request_only(with_message_authenticator: bool) -> None:
    asked = radius.decode_packet(request(integer(41, 0)))
    other = radius.decode_packet(request(integer(41, 1)))
    octets = radius.sign_response(
        5, asked, [], SECRET, with_message_authenticator=with_message_authenticator
    )
    answer = radius.decode_packet(octets)
    assert radius.verify_response(octets, answer, asked, SECRET) == ""
    assert radius.verify_response(octets, answer, other, SECRET) == "wrong_secret"
    assert radius.verify_response(octets, answer, asked, b"else") == "wrong_secret"


@pytest.mark.parametrize(
    "attributes", [[(0, b"")], [(256, b"")], [(1, b"x" * 254)], [(1, b"x" * 253)] * 17]
)
def test_what_does_not_fit_is_not_encoded(attributes: list[radius.Attribute]) -> None:
    with pytest.raises(ValueError, match=r"octets|type"):
        radius.encode_packet(4, 1, bytes(16), attributes)
