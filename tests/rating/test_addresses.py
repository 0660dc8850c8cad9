"""Addresses, prefixes and MAC addresses as people and NASes write them."""

from __future__ import annotations

import ipaddress

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.address_columns import halves, packed
from rating.addresses import (
    format_address,
    format_prefix,
    mask_address,
    normalise_mac,
    pack_address,
    parse_prefix,
)


@pytest.mark.parametrize("text", ["203.0.113.9", "2001:db8::7", "::", "0.0.0.0"])
def test_an_address_comes_back_as_it_was_written(text: str) -> None:
    packed = pack_address(text)
    assert len(packed) == 16
    assert format_address(packed) == text


@pytest.mark.parametrize(
    ("text", "length", "shown"),
    [
        ("203.0.113.8/29", 125, "203.0.113.8/29"),
        ("203.0.113.9/29", 125, "203.0.113.8/29"),
        ("203.0.113.9", 128, "203.0.113.9"),
        ("0.0.0.0/0", 96, "0.0.0.0/0"),
        ("2001:db8:1:100::/56", 56, "2001:db8:1:100::/56"),
        ("2001:db8::1", 128, "2001:db8::1"),
    ],
)
def test_a_prefix_counts_over_sixteen_octets(text: str, length: int, shown: str) -> None:
    prefix = parse_prefix(text)
    assert prefix.length == length
    assert format_prefix(prefix.address, prefix.length) == shown


@pytest.mark.parametrize("text", ["", "alice", "10.0.0.0/33", "2001:db8::/129"])
def test_text_that_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_prefix(text)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 128))
def test_a_mask_clears_the_bits_behind_it(address: bytes, length: int) -> None:
    network = ipaddress.ip_network((address, length), strict=False)
    assert mask_address(address, length) == network.network_address.packed


@pytest.mark.parametrize(
    "text",
    [
        "AA-BB-CC-00-00-01",
        "aa:bb:cc:00:00:01",
        "aabb.cc00.0001",
        "AABBCC000001",
        "AA-BB-CC-00-00-01:Cafe-WiFi",
        "aabbcc000001 eth0",
    ],
)
def test_every_spelling_of_a_mac_address_is_one(text: str) -> None:
    assert normalise_mac(text) == "aa:bb:cc:00:00:01"


@pytest.mark.parametrize("text", ["", "alice", "+491701234567", "10.0.0.1", "aabbcc0000012"])
def test_what_is_no_mac_address_is_none(text: str) -> None:
    assert normalise_mac(text) == ""


def test_halves_of_a_column_are_those_of_each_address_also_of_a_part() -> None:
    addresses = [bytes(range(n, n + 16)) for n in range(20)] + [b"\xff" * 16]
    whole = pl.concat([pl.Series(addresses[:9]), pl.Series(addresses[9:])], rechunk=False)
    for part in (slice(0, 21), slice(3, 15), slice(8, 10), slice(20, 21), slice(4, 4)):
        high, low = halves(whole[part.start : part.stop])
        found = [hi << 64 | lo for hi, lo in zip(high.tolist(), low.tolist(), strict=True)]
        assert found == [int.from_bytes(one, "big") for one in addresses[part]]
        assert packed(high, low).to_list() == addresses[part]
