"""Values as a person reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.radius.attributes import (
    ATTRIBUTES,
    attribute_name,
    decode_prefix6,
    decode_text,
    render_kind,
    render_value,
)


@pytest.mark.parametrize(
    ("attribute_type", "value", "shown"),
    [
        (1, b"bob", "bob"),
        (4, bytes((192, 0, 2, 1)), "192.0.2.1"),
        (4, b"\x01\x02", "0x0102"),
        (40, b"\0\0\0\x03", "Interim-Update"),
        (42, b"\0\0\x01\0", "256"),
        (49, b"\0\0\0\x02", "Lost-Carrier"),
        (55, b"\x65\x53\xf1\x00", "2023-11-14T22:13:20+00:00"),
        (64, b"\x01\0\0\x0d", "1:13"),
        (66, b"\x01host", "1:host"),
        (66, b"host", "host"),
        (95, bytes(15) + b"\x01", "::1"),
        (96, bytes(7) + b"\x09", "0000:0000:0000:0009"),
        (97, b"\0\x20\x20\x01\x0d\xb8", "2001:db8::/32"),
        (97, b"\0", "0x00"),
        (101, b"\0\0\x01\xf7", "Session-Context-Not-Found"),
        (200, b"\xab", "0xab"),
    ],
)
def test_a_value_is_shown_by_its_kind(attribute_type: int, value: bytes, shown: str) -> None:
    assert render_value(attribute_type, value) == shown


def test_an_unknown_number_has_a_name_too() -> None:
    assert (attribute_name(1), attribute_name(200)) == ("User-Name", "Attribute-200")


@given(st.sampled_from(sorted({k.kind for k in ATTRIBUTES.values()})), st.binary(max_size=253))
def test_any_octets_can_be_shown(kind: str, value: bytes) -> None:
    assert isinstance(render_kind(kind, value, {}), str)


@given(st.integers(0, 128), st.binary(min_size=16, max_size=16))
def test_a_prefix_has_no_bits_behind_its_length(length: int, address: bytes) -> None:
    decoded = decode_prefix6(bytes((0, length)) + address)
    assert decoded is not None
    assert decoded[1] == length
    assert int.from_bytes(decoded[0], "big") & ((1 << (128 - length)) - 1) == 0
    assert decoded[0][: length // 8] == address[: length // 8]


@pytest.mark.parametrize("value", ["", "00", "0081", "004020010db8", "0081" + "00" * 16, "00" * 19])
def test_a_prefix_that_cannot_be_is_none(value: str) -> None:
    assert decode_prefix6(bytes.fromhex(value)) is None


def test_a_nul_inside_text_is_shown_and_one_behind_it_is_cut() -> None:
    assert decode_text(b"bob\0\0") == "bob"
    assert decode_text(b"b\0b\0") == r"b\x00b"
