"""Flows of public addresses that subscribers share: by formula, by events, and seen by the NAT."""

from __future__ import annotations

from rating.nat_pools import PORTS, NatPool
from tests.collectors.netflow import exports as x
from tests.streams.nat_stage import NOW, Decode, own_prefix, pool_entry

FIELDS: tuple[x.Field, ...] = (
    (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (152, 8), (153, 8),
)  # fmt: skip
WITH_NAT: tuple[x.Field, ...] = (*FIELDS, (225, 4), (226, 4), (227, 2), (228, 2))
DYNAMIC = NatPool("198.51.100.0/24", block_ports=512)
FORMULA = NatPool("203.0.113.0/30", inside="100.64.0.0/24", ports_per_subscriber=1000)
INSIDE = own_prefix("100.64.0.0/10")


def flow(
    source: str, port: int, target: str, target_port: int, octets: int, protocol: int = 6
) -> bytes:
    values = (x.v4(source), x.v4(target), port, target_port, protocol, octets, 1, NOW - 9, NOW)
    return x.record(FIELDS, values)


def message(*records: bytes) -> bytes:
    return x.ipfix([x.template(256, FIELDS, version=10), x.data(256, records)])


def test_a_border_router_sees_the_block_of_the_port_up_and_down() -> None:
    decode = Decode(pool_entry(DYNAMIC), INSIDE)
    decode.take(
        message(
            flow("198.51.100.7", 1600, "192.0.2.9", 443, 10),
            flow("192.0.2.9", 443, "198.51.100.7", 2047, 1000),
            flow("192.0.2.9", 443, "198.51.100.7", 2048, 7),
            flow("100.64.0.1", 1600, "192.0.2.9", 443, 3),
        )
    )
    assert decode.outside() == {
        ("198.51.100.7", 1536, 2047, 0): (10, 1000),
        ("198.51.100.7", 2048, 2559, 0): (0, 7),
    }
    assert decode.inside() == {"100.64.0.1": (3, 0)}
    assert decode.counters["decode_flows_outside"] == 3


def test_the_formula_gives_the_inside_address_without_any_event() -> None:
    decode = Decode(pool_entry(FORMULA))
    decode.take(
        message(
            flow("203.0.113.0", 1024, "192.0.2.9", 443, 10),
            flow("192.0.2.9", 443, "203.0.113.1", 3024, 1000),
            flow("203.0.113.0", 65_100, "192.0.2.9", 443, 5),
        )
    )
    assert decode.inside() == {"100.64.0.0": (10, 0), "100.64.0.66": (0, 1000)}
    assert decode.outside() == {("203.0.113.0", 65_024, 65_535, 0): (5, 0)}
    assert decode.counters["decode_flows_by_formula"] == 2


def test_icmps_type_and_code_are_no_port() -> None:
    decode = Decode(pool_entry(DYNAMIC), pool_entry(FORMULA))
    decode.take(
        message(
            flow("192.0.2.9", 0, "198.51.100.7", 2048, 10, protocol=1),
            flow("192.0.2.9", 0, "203.0.113.0", 2048, 20, protocol=1),
        )
    )
    assert decode.outside() == {
        ("198.51.100.7", 0, PORTS - 1, 0): (0, 10),
        ("203.0.113.0", 0, PORTS - 1, 0): (0, 20),
    }
    assert not decode.inside()


def test_a_nat_that_exports_both_sides_is_counted_under_the_inside_address() -> None:
    decode = Decode(pool_entry(DYNAMIC), INSIDE)
    ends = (x.v4("198.51.100.7"), x.v4("192.0.2.9"), 1600, 443)
    up = flow("100.64.0.1", 40_000, "192.0.2.9", 443, 10) + x.record(WITH_NAT[-4:], ends)
    ends = (x.v4("192.0.2.9"), x.v4("100.64.0.1"), 443, 40_000)
    down = flow("192.0.2.9", 443, "198.51.100.7", 1600, 1000) + x.record(WITH_NAT[-4:], ends)
    decode.take(x.ipfix([x.template(256, WITH_NAT, version=10), x.data(256, [up, down])]))
    assert decode.inside() == {"100.64.0.1": (10, 1000)}
    assert not decode.outside()


def test_an_outside_address_behind_the_translation_yields_to_the_inside_one() -> None:
    decode = Decode(pool_entry(DYNAMIC), INSIDE)
    ends = (x.v4("192.0.2.9"), x.v4("198.51.100.7"), 443, 1600)
    down = flow("192.0.2.9", 443, "100.64.0.1", 40_000, 1000) + x.record(WITH_NAT[-4:], ends)
    decode.take(x.ipfix([x.template(256, WITH_NAT, version=10), x.data(256, [down])]))
    assert decode.inside() == {"100.64.0.1": (0, 1000)}
    assert not decode.outside()


def test_where_only_the_outside_is_own_the_translated_port_decides() -> None:
    decode = Decode(pool_entry(DYNAMIC))
    ends = (x.v4("198.51.100.7"), x.v4("192.0.2.9"), 1600, 443)
    up = flow("10.9.9.9", 40_000, "192.0.2.9", 443, 10) + x.record(WITH_NAT[-4:], ends)
    decode.take(x.ipfix([x.template(256, WITH_NAT, version=10), x.data(256, [up])]))
    assert decode.outside() == {("198.51.100.7", 1536, 2047, 0): (10, 0)}


def test_two_subscribers_of_one_address_that_talk_to_each_other_are_two_halves() -> None:
    decode = Decode(pool_entry(DYNAMIC))
    decode.take(message(flow("198.51.100.7", 1024, "198.51.100.7", 1536, 10)))
    assert decode.outside() == {
        ("198.51.100.7", 1024, 1535, 0): (10, 0),
        ("198.51.100.7", 1536, 2047, 0): (0, 10),
    }


def test_the_longest_pool_wins_and_a_pool_holds_at_its_time() -> None:
    inner = NatPool("198.51.100.0/28", block_ports=64)
    ended = NatPool("203.0.113.0/24")
    decode = Decode(
        pool_entry(DYNAMIC), pool_entry(inner), pool_entry(ended, until=NOW - 3_600_000)
    )
    decode.take(
        message(
            flow("198.51.100.7", 1100, "192.0.2.9", 443, 1),
            flow("198.51.100.77", 1100, "192.0.2.9", 443, 2),
            flow("203.0.113.7", 1100, "192.0.2.9", 443, 4),
        )
    )
    assert decode.outside() == {
        ("198.51.100.7", 1088, 1151, 0): (1, 0),
        ("198.51.100.77", 1024, 1535, 0): (2, 0),
    }
    assert decode.counters["decode_octets_transit"] == 4


def test_a_pool_that_cannot_be_read_is_left_out_and_counted() -> None:
    broken = pool_entry(NatPool("nowhere"))
    decode = Decode(broken, INSIDE)
    decode.take(message(flow("100.64.0.1", 1, "192.0.2.9", 443, 1)))
    assert decode.inside() == {"100.64.0.1": (1, 0)}
    assert decode.counters["decode_rules_refused"] == 1
