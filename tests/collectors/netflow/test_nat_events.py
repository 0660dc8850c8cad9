"""Records of NATs: one oddity, one test. They become events and never flows."""

from __future__ import annotations

import pytest

from collectors.netflow.config import FlowDecodeConfig
from rating.nat_pools import PORTS, NatPool
from tests.collectors.netflow import exports as x
from tests.streams.nat_stage import NOW, Decode, pool_entry

POOL = pool_entry(NatPool("198.51.100.0/24", block_ports=512))
BLOCK: tuple[x.Field, ...] = (
    (230, 1), (323, 8), (234, 4), (8, 4), (225, 4), (361, 2), (362, 2), (363, 2), (364, 2),
)  # fmt: skip
SESSION: tuple[x.Field, ...] = (
    (323, 8), (8, 4), (225, 4), (7, 2), (227, 2), (4, 1), (12, 4), (11, 2), (226, 4), (228, 2),
    (229, 1), (230, 1),
)  # fmt: skip
NSEL: tuple[x.Field, ...] = (
    (8, 4), (7, 2), (12, 4), (11, 2), (4, 1), (225, 4), (226, 4), (227, 2), (228, 2), (233, 1),
    (323, 8), (231, 4), (232, 4), (152, 8),
)  # fmt: skip
ALICE, OUTSIDE, FAR = x.v4("100.64.0.1"), x.v4("198.51.100.7"), x.v4("192.0.2.9")


def block(
    code: int, first: int = 1024, last: int = 1535, step: int = 0, count: int = 0,
    *, at: int = NOW, vrf: int = 0,
) -> bytes:  # fmt: skip
    return x.record(BLOCK, (code, at, vrf, ALICE, OUTSIDE, first, last, step, count))


def session(code: int, port: int = 5000, protocol: int = 6, realm: int = 1) -> bytes:
    values = (NOW, ALICE, OUTSIDE, 40_000, port, protocol, FAR, 443, FAR, 443, realm, code)
    return x.record(SESSION, values)


def message(fields: tuple[x.Field, ...], *records: bytes, version: int = 10) -> bytes:
    sets = [x.template(256, fields, version=version), x.data(256, records)]
    return x.ipfix(sets) if version == 10 else x.v9(sets)


def decoded(
    fields: tuple[x.Field, ...], *records: bytes, config: FlowDecodeConfig | None = None
) -> Decode:
    decode = Decode(POOL, config=config)
    decode.take(message(fields, *records))
    return decode


def test_a_port_block_allocated_and_taken_back() -> None:
    decode = decoded(BLOCK, block(16, at=NOW - 5000), block(17))
    given, taken = decode.events()
    assert given == {
        "address": "198.51.100.7",
        "first_port": 1024,
        "last_port": 1535,
        "port_step": 1,
        "protocol": 0,
        "is_release": False,
        "inside_address": "100.64.0.1",
        "event_at": NOW - 5000,
        "exporter": "192.0.2.1",
        "received_at": NOW,
    }
    assert taken == {**given, "is_release": True, "event_at": NOW}
    assert decode.counters["decode_nat_events"] == 2
    assert not decode.counters["decode_flows"]
    assert not decode.inside()
    assert not decode.outside()


def test_the_same_in_netflow_v9() -> None:
    decode = Decode(POOL)
    decode.take(message(BLOCK, block(1), block(2), version=9))
    assert [e["is_release"] for e in decode.events()] == [False, True]


@pytest.mark.parametrize(
    ("ports", "range_and_step"),
    [
        ((1024, 1535, 0, 0), (1024, 1535, 1)),
        ((1024, 1535, 1, 512), (1024, 1535, 1)),
        ((1024, 0, 0, 512), (1024, 1535, 1)),
        ((1024, 0, 1, 512), (1024, 1535, 1)),
        ((1024, 0, 8, 64), (1024, 1528, 8)),
        ((1024, 1528, 8, 64), (1024, 1528, 8)),
        ((1024, 1024, 8, 1), (1024, 1024, 1)),
    ],
)
def test_a_range_by_its_end_or_by_its_number_of_ports(
    ports: tuple[int, int, int, int], range_and_step: tuple[int, int, int]
) -> None:
    [event] = decoded(BLOCK, block(16, *ports)).events()
    assert (event["first_port"], event["last_port"], event["port_step"]) == range_and_step


@pytest.mark.parametrize("ports", [(1024, 0, 0, 0), (1535, 1024, 0, 0), (65_000, 0, 1, 1000),
                                   (0, 0, 0, 0)])  # fmt: skip
def test_a_block_whose_ports_cannot_be_is_counted(ports: tuple[int, int, int, int]) -> None:
    decode = decoded(BLOCK, block(16, *ports))
    assert not decode.events()
    assert decode.counters["decode_refused_nat_event_unusable"] == 1


@pytest.mark.parametrize(("code", "is_release"), [(4, False), (5, True), (6, False), (7, True),
                                                  (8, False), (9, True), (10, False), (11, True),
                                                  (1, False), (2, True)])  # fmt: skip
def test_sessions_and_bib_entries_are_of_one_port_and_protocol(code: int, is_release: bool) -> None:
    [event] = decoded(SESSION, session(code, protocol=17)).events()
    assert (event["first_port"], event["last_port"], event["protocol"]) == (5000, 5000, 17)
    assert event["is_release"] is is_release


def test_a_session_without_a_port_is_not_of_all_ports() -> None:
    decode = decoded(SESSION, session(4, port=0), session(1, port=0))
    assert not decode.events()
    assert decode.counters["decode_refused_nat_event_unusable"] == 2


@pytest.mark.parametrize(("code", "protocol"), [(14, 6), (15, 0), (1, 0), (2, 0)])
def test_an_address_binding_is_of_all_ports(code: int, protocol: int) -> None:
    [event] = decoded(SESSION, session(code, port=0, protocol=protocol)).events()
    assert (event["first_port"], event["last_port"]) == (0, PORTS - 1)


def test_a_session_that_began_outside_has_its_outside_at_the_destination() -> None:
    values = (NOW, FAR, FAR, 40_000, 40_000, 6, OUTSIDE, 5000, ALICE, 443, 2, 4)
    [event] = decoded(SESSION, x.record(SESSION, values)).events()
    assert (event["address"], event["first_port"]) == ("198.51.100.7", 5000)
    assert event["inside_address"] == "100.64.0.1"


def test_nat64_has_an_inside_of_another_family() -> None:
    fields: tuple[x.Field, ...] = ((230, 1), (323, 8), (27, 16), (225, 4), (227, 2), (4, 1))
    inside = bytes.fromhex("20010db8000000000000000000000001")
    [event] = decoded(fields, x.record(fields, (6, NOW, inside, OUTSIDE, 5000, 6))).events()
    assert event["inside_address"] == "2001:db8::1"


def test_exhaustion_and_quotas_are_counted_and_translate_nothing() -> None:
    decode = decoded(BLOCK, block(3), block(12), block(13), block(18))
    assert not decode.events()
    assert decode.counters["decode_nat_exhausted"] == 2
    assert decode.counters["decode_nat_limited"] == 2


def test_an_event_that_the_registry_does_not_have_is_counted() -> None:
    decode = decoded(BLOCK, block(0), block(99))
    assert not decode.events()
    assert decode.counters["decode_refused_nat_event_unknown"] == 2


def test_what_a_nat_translates_for_other_routing_instances_is_nobodys() -> None:
    config = FlowDecodeConfig(nat_inside_vrfs=(7,))
    decode = decoded(BLOCK, block(16, vrf=7), block(16, vrf=8), block(17, vrf=8), config=config)
    assert [event["inside_address"] for event in decode.events()] == ["100.64.0.1", "::"]


def test_an_event_outside_of_every_pool_is_left_out() -> None:
    elsewhere = x.record(BLOCK, (16, NOW, 0, ALICE, FAR, 1024, 1535, 0, 0))
    decode = decoded(BLOCK, elsewhere)
    assert not decode.events()
    assert decode.counters["decode_nat_events_elsewhere"] == 1


def test_an_event_at_a_time_that_cannot_be_happens_when_it_is_received() -> None:
    decode = decoded(BLOCK, block(16, at=NOW - 86_400_000), block(17, at=NOW + 86_400_000))
    assert [event["event_at"] for event in decode.events()] == [NOW, NOW]
    assert decode.counters["decode_nat_events_retimed"] == 2


def test_an_event_without_a_time_is_of_its_export() -> None:
    fields = tuple(field for field in BLOCK if field[0] != 323)
    [event] = decoded(fields, x.record(fields, (16, 0, ALICE, OUTSIDE, 1024, 1535, 0, 0))).events()
    assert event["event_at"] == NOW


def nsel(event: int, up: int = 0, down: int = 0, outside: int = OUTSIDE, port: int = 5000) -> bytes:
    values = (ALICE, 40_000, FAR, 443, 6, outside, FAR, port, 443, event, NOW, up, down, NOW - 9)
    return x.record(NSEL, values)


def test_a_firewalls_session_is_an_event_and_its_end_a_flow_besides() -> None:
    decode = decoded(NSEL, nsel(1), nsel(2, up=10, down=1000))
    assert [(e["first_port"], e["is_release"]) for e in decode.events()] == [
        (5000, False),
        (5000, True),
    ]
    assert decode.outside() == {("198.51.100.7", 4608, 5119, 0): (10, 1000)}


def test_a_firewalls_update_says_again_what_holds() -> None:
    assert [e["is_release"] for e in decoded(NSEL, nsel(5)).events()] == [False]


def test_a_firewalls_denial_translates_nothing() -> None:
    assert not decoded(NSEL, nsel(3), nsel(0), nsel(4)).events()


def test_a_firewalls_session_without_translation_says_nothing() -> None:
    decode = decoded(NSEL, nsel(1, outside=ALICE, port=40_000), nsel(1, outside=0, port=0))
    assert not decode.events()
    assert not decode.counters["decode_refused_nat_event_unusable"]


def test_the_elements_that_firewalls_used_before_the_registry() -> None:
    swaps = {225: 40001, 226: 40002, 227: 40003, 228: 40004, 233: 40005}
    fields = tuple((swaps.get(field[0], field[0]), field[1]) for field in NSEL)
    decode = Decode(POOL)
    decode.take(message(fields, nsel(1), version=9))
    [event] = decode.events()
    assert (event["address"], event["first_port"]) == ("198.51.100.7", 5000)


NOKIA: tuple[x.Field, ...] = (
    (148, 8), (225, 4), (12, 4), (7, 2), (227, 2), (11, 2), (152, 8), (4, 1), (93, 65_535, 637),
)  # fmt: skip
NOKIA_END = tuple((153, 8) if field[0] == 152 else field for field in NOKIA)


def nokia(fields: tuple[x.Field, ...], name: bytes, at: int = NOW) -> bytes:
    return x.record(fields, (7, OUTSIDE, FAR, 40_000, 5000, 443, at, 6, name))


def test_a_nat_that_names_the_subscriber_has_the_inside_address_behind_his_name() -> None:
    decode = Decode(POOL)
    decode.take(
        message(NOKIA, nokia(NOKIA, b"LSN-Host@100.64.0.1", NOW - 5000)),
        x.ipfix(
            [
                x.template(257, NOKIA_END, version=10),
                x.data(257, [nokia(NOKIA_END, b"LSN-Host@100.64.0.1\0\0")]),
            ],
            sequence=1,
        ),
    )
    given, taken = decode.events()
    assert (given["address"], given["inside_address"]) == ("198.51.100.7", "100.64.0.1")
    assert (given["first_port"], given["last_port"], given["protocol"]) == (5000, 5000, 6)
    assert (given["is_release"], given["event_at"]) == (False, NOW - 5000)
    assert taken == {**given, "is_release": True, "event_at": NOW}


@pytest.mark.parametrize("name", [b"alice", b"alice@example.net", b"", b"\xff@\xfe", b"x" * 300])
def test_a_name_without_an_address_translates_nothing(name: bytes) -> None:
    decode = decoded(NOKIA, nokia(NOKIA, name))
    assert not decode.events()
    assert decode.counters["decode_refused_nat_event_unusable"] == 1


def test_the_same_events_in_other_datagrams_are_the_same() -> None:
    records = [block(16), block(17), block(16, 1536, 2047)]
    apart = Decode(POOL)
    for number, record in enumerate(records):
        sets = [x.template(256, BLOCK, version=10), x.data(256, [record])]
        apart.take(x.ipfix(sets, sequence=number))
    assert apart.events() == decoded(BLOCK, *records).events()
