"""NAT pools: the formula both ways, cells of ports, and what is refused."""

from __future__ import annotations

import dataclasses
import ipaddress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.addresses import format_address, pack_address
from rating.nat_pools import (
    PORTS,
    WHOLE,
    CompiledPool,
    NatPool,
    cell_of,
    cell_parts,
    check_pool,
    decode_pool,
    encode_pool,
)

FORMULA = NatPool("198.51.100.0/30", inside="100.64.0.0/24", ports_per_subscriber=1000)
"""64 inside addresses share each outside one; 512 ports are left over at its end."""
PROPERTY = settings(max_examples=200, deadline=None)


def inside(pool: NatPool, outside: str, port: int, protocol: int = 6) -> str:
    low = np.array([int.from_bytes(pack_address(outside)[8:], "big")], np.uint64)
    known, high, found = CompiledPool(pool).inside_of(low, np.array([port]), np.array([protocol]))
    if not known[0]:
        return ""
    return format_address(high.to_bytes(8, "big") + int(found[0]).to_bytes(8, "big"))


def cell(pool: NatPool, port: int, protocol: int = 6) -> tuple[int, int, int]:
    made = CompiledPool(pool).cells(np.array([port]), np.array([protocol]))
    first, last, kind = cell_parts(made)
    return int(first[0]), int(last[0]), int(kind[0])


def test_the_formula_gives_the_first_block_to_the_first_inside_address() -> None:
    assert inside(FORMULA, "198.51.100.0", 1024) == "100.64.0.0"
    assert inside(FORMULA, "198.51.100.0", 2023) == "100.64.0.0"
    assert inside(FORMULA, "198.51.100.0", 2024) == "100.64.0.1"
    assert inside(FORMULA, "198.51.100.1", 1024) == "100.64.0.64"
    assert inside(FORMULA, "198.51.100.3", 65_023) == "100.64.0.255"


def test_ports_that_the_formula_leaves_over_are_nobodys_by_formula() -> None:
    assert not inside(FORMULA, "198.51.100.0", 1023)
    assert not inside(FORMULA, "198.51.100.0", 65_024)
    fewer = dataclasses.replace(FORMULA, inside="100.64.0.0/26", subscribers_per_address=16)
    assert inside(fewer, "198.51.100.3", 16_024) == "100.64.0.63"
    assert not inside(fewer, "198.51.100.3", 17_024)


def test_without_ports_the_inside_is_known_only_where_nobody_shares_the_address() -> None:
    assert not inside(FORMULA, "198.51.100.0", 2048, protocol=1)
    alone = NatPool("198.51.100.0/30", inside="100.64.0.0/30", ports_per_subscriber=64_512)
    assert inside(alone, "198.51.100.2", 0, protocol=1) == "100.64.0.2"
    assert inside(alone, "198.51.100.2", 65_535) == "100.64.0.2"
    shared = dataclasses.replace(alone, ports_per_subscriber=60_000)
    assert not inside(shared, "198.51.100.2", 0, protocol=1)


@PROPERTY
@given(
    outside_length=st.integers(24, 32),
    inside_length=st.integers(16, 32),
    first=st.integers(0, 4096),
    last=st.integers(20_000, 65_535),
    ports=st.integers(1, 20_000),
    sharers=st.integers(0, 4),
    number=st.integers(0, 1 << 16),
)
def test_outside_of_is_the_inverse_and_ports_of_two_never_overlap(
    outside_length: int, inside_length: int, first: int, last: int, ports: int, sharers: int,
    number: int,
) -> None:  # fmt: skip
    pool = NatPool(
        f"203.0.113.0/{outside_length}" if outside_length < 32 else "203.0.113.0",
        first, last, 64, f"10.0.0.0/{inside_length}", ports, sharers,
    )  # fmt: skip
    if check_pool(pool):
        return
    network = ipaddress.ip_network(pool.inside)
    number %= network.num_addresses
    address = str(network[number])
    found = CompiledPool(pool).outside_of(pack_address(address))
    assert found is not None
    outside, lowest, highest = found
    # By hand: blocks of ports, counted through the outside addresses one after another.
    room = sharers or (last - first + 1) // ports
    assert format_address(outside) == str(ipaddress.ip_address("203.0.113.0") + number // room)
    assert (lowest, highest) == (first + number % room * ports, lowest + ports - 1)
    assert first <= lowest <= highest <= last
    for port in (lowest, highest):
        assert inside(pool, format_address(outside), port) == address
    for port in {lowest - 1, highest + 1} & set(range(first, last + 1)):
        assert inside(pool, format_address(outside), port) != address


def test_an_inside_address_that_is_not_the_pools_has_no_outside() -> None:
    compiled = CompiledPool(FORMULA)
    assert compiled.outside_of(pack_address("100.64.1.0")) is None
    assert compiled.outside_of(pack_address("2001:db8::1")) is None
    assert CompiledPool(NatPool("198.51.100.0/24")).outside_of(pack_address("10.0.0.1")) is None


def test_cells_are_counted_from_the_first_port() -> None:
    pool = NatPool("198.51.100.0/24", first_port=1000, last_port=65_000, block_ports=500)
    assert cell(pool, 1000) == (1000, 1499, 0)
    assert cell(pool, 1499) == (1000, 1499, 0)
    assert cell(pool, 1500) == (1500, 1999, 0)
    assert cell(pool, 65_000) == (65_000, 65_000, 0)
    assert cell(pool, 999) == (0, 999, 0)
    assert cell(pool, 65_001) == (65_001, 65_535, 0)


def test_cells_begin_behind_what_the_formula_gives_away() -> None:
    pool = dataclasses.replace(FORMULA, block_ports=256)
    assert cell(pool, 65_024) == (65_024, 65_279, 0)
    assert cell(pool, 65_535) == (65_280, 65_535, 0)


def test_cells_of_one_port_are_of_one_protocol() -> None:
    pool = NatPool("198.51.100.0/24", block_ports=1)
    assert cell(pool, 5000, 17) == (5000, 5000, 17)


@pytest.mark.parametrize("protocol", [1, 47, 50, 58])
def test_a_flow_without_ports_asks_for_the_whole_address(protocol: int) -> None:
    # Of an echo request, routers export type and code as a destination port: 8 * 256.
    compiled = CompiledPool(NatPool("198.51.100.0/24"))
    assert compiled.cells(np.array([2048]), np.array([protocol])).tolist() == [WHOLE]
    assert cell_parts(np.array([WHOLE]))[0:2] == (np.array([0]), np.array([65_535]))


@PROPERTY
@given(first=st.integers(0, 65_535), size=st.integers(1, 65_536), protocol=st.integers(0, 255))
def test_a_cell_says_its_ports(first: int, size: int, protocol: int) -> None:
    parts = cell_parts(np.array([cell_of(first, size, protocol)]))
    assert [int(part[0]) for part in parts] == [first, first + size - 1, protocol]
    assert cell_of(first, size, protocol) != 0


@PROPERTY
@given(first=st.integers(0, 60_000), size=st.integers(1, 70_000), port=st.integers(0, 65_535))
def test_every_port_lies_in_its_cell_and_cells_do_not_overlap(
    first: int, size: int, port: int
) -> None:
    pool = NatPool("198.51.100.0/24", first_port=first, block_ports=min(size, PORTS))
    lowest, highest, _ = cell(pool, port)
    assert 0 <= lowest <= port <= highest <= 65_535
    assert cell(pool, lowest) == cell(pool, highest) == (lowest, highest, cell(pool, port)[2])


def test_a_pool_is_text_and_back() -> None:
    assert decode_pool(encode_pool(FORMULA)) == FORMULA
    assert decode_pool('{"outside": "198.51.100.0/24"}') == NatPool("198.51.100.0/24")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "a NAT pool is a JSON object"),
        ("{", "a NAT pool is a JSON object"),
        ("{}", "outside: missing"),
        ('{"outside": 7}', "outside: expected text"),
        ('{"outside": "198.51.100.0/24", "ports": 1}', "no key 'ports'"),
        ('{"outside": "198.51.100.0/24", "block_ports": true}', "block_ports: expected a whole"),
        ('{"outside": "nowhere"}', "expected a prefix"),
        ('{"outside": "2001:db8::/48"}', "at most 2^64 addresses"),
        ('{"outside": "198.51.100.0/24", "first_port": 70000}', "first_port <= last_port"),
        ('{"outside": "198.51.100.0/24", "block_ports": 0}', "block_ports = 0: expected 1 to"),
        ('{"outside": "198.51.100.0/24", "algorithm": "random"}', 'expected "sequential"'),
        ('{"outside": "198.51.100.0/24", "inside": "10.0.0.0/30"}', "ports_per_subscriber = 0"),
        (
            '{"outside": "198.51.100.0/24", "inside": "10.0.0.0/8", "ports_per_subscriber": 1000}',
            "expected 16384 addresses at most",
        ),
        (
            '{"outside": "198.51.100.0/24", "inside": "10.0.0.0/30", "ports_per_subscriber": 1000,'
            ' "subscribers_per_address": 65}',
            "subscribers_per_address = 65: expected 0 to 64",
        ),
    ],
)
def test_what_cannot_work_is_refused_by_key(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace("^", "\\^").replace("[", "\\[")):
        decode_pool(text)
