"""Vendor-Specific attributes, also of vendors with their own field sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.radius.packet import Packet
from collectors.radius.vendors import (
    VendorAttribute,
    decode_extended,
    decode_vendor,
    encode_vendor,
    vendor_attributes,
)


@given(
    st.sampled_from([9, 14988, 4846, 8164, 429, 32768]),
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), min_size=1, max_size=3),
)
def test_what_is_encoded_decodes(vendor: int, attributes: list[tuple[int, bytes]]) -> None:
    attributes = attributes[:1] if vendor == 429 else attributes
    attribute_type, value = encode_vendor(vendor, attributes)
    assert attribute_type == 26
    assert decode_vendor(value) == [VendorAttribute(vendor, n, v) for n, v in attributes]


@pytest.mark.parametrize(
    "value", ["", "00000009", "00000009abcdef", "0000000901", "01000009010401"]
)
def test_another_form_is_opaque_and_no_fault(value: str) -> None:
    assert decode_vendor(bytes.fromhex(value)) is None


@given(st.binary(max_size=253))
def test_no_octets_break_it(value: bytes) -> None:
    decode_vendor(value)
    decode_extended(value)


def test_a_packet_lists_its_vendors_in_order() -> None:
    attributes = (
        (26, bytes.fromhex("00003a8c0805323030")),
        (1, b"bob"),
        (26, b"opaque"),
        (241, bytes.fromhex("1a0000197f26abcdef")),
        (241, bytes.fromhex("0100")),
    )
    assert vendor_attributes(Packet(4, 1, 0, bytes(16), attributes, "")) == [
        VendorAttribute(14988, 8, b"200"),
        VendorAttribute(6527, 38, b"\xab\xcd\xef"),
    ]


@pytest.mark.parametrize(
    ("vendor", "attributes"),
    [(9, [(256, b"")]), (9, [(1, b"x" * 254)]), (429, [(1, b""), (2, b"")]), (429, [])],
)
def test_what_does_not_fit_is_refused(vendor: int, attributes: list[tuple[int, bytes]]) -> None:
    with pytest.raises(ValueError, match=f"vendor {vendor}"):
        encode_vendor(vendor, attributes)
