"""A flow that is seen several times bills once: by direction, by interface, by exporter (0125).

The network: subscribers 10.0.0.1 and 10.0.0.2 behind interfaces 101 and 102 of a BNG (192.0.2.1),
the core behind its interface 1; behind the core a border router (192.0.2.254), interfaces 1 and 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from collectors.netflow.config import ExporterConfig, FlowDecodeConfig, check_decode
from tests.collectors.netflow import exports as x
from tests.streams.test_decode import OWN, Stage, datagram

FIELDS: tuple[x.Field, ...] = (
    (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 8), (2, 8), (10, 4), (14, 4), (61, 1),
)  # fmt: skip
BNG, BORDER = "192.0.2.1", "192.0.2.254"
INGRESS, EGRESS, UNSAID = 0, 1, 9

Seen = tuple[str, str, int, int, int]
"""Source, destination, octets, interface in, interface out."""

UP: Seen = ("10.0.0.1", "198.51.100.9", 100, 101, 1)
DOWN: Seen = ("198.51.100.9", "10.0.0.1", 9_000, 1, 101)
LOCAL: Seen = ("10.0.0.1", "10.0.0.2", 500, 101, 102)
TRANSIT: Seen = ("10.0.0.1", "198.51.100.9", 70, 3, 1)
FLOWS = (UP, DOWN, LOCAL)

ONCE = {("10.0.0.1",): (600, 9_000), ("10.0.0.2",): (0, 500)}


def _sent(flows: Sequence[Seen], *directions: int) -> bytes:
    records = [
        x.record(FIELDS, (x.v4(a), x.v4(b), 40_000, 443, 6, octets, 1, i, o, direction))
        for a, b, octets, i, o in flows
        for direction in directions
    ]
    return x.v9([x.template(256, FIELDS), x.data(256, records)])


def _stage(*rules: dict[str, Any]) -> Stage:
    entries = tuple(ExporterConfig(**{"address": BNG, **rule}) for rule in rules)
    assert check_decode(FlowDecodeConfig(exporters=entries)) == []
    return Stage(OWN, config=FlowDecodeConfig(exporters=entries))


def _billed(stage: Stage) -> dict[tuple[Any, ...], tuple[int, ...]]:
    return {key: sums[:2] for key, sums in stage.totals("address").items()}


def test_metered_at_every_ingress_each_flow_is_there_once() -> None:
    stage = _stage()
    stage.take(datagram(_sent(FLOWS, INGRESS)))
    assert _billed(stage) == ONCE


@pytest.mark.parametrize(
    "rule", [{"subscriber_interfaces": ("100-199",)}, {"core_interfaces": ("1", "3")}]
)
@pytest.mark.parametrize("direction", [INGRESS, EGRESS, UNSAID])
def test_only_flows_over_a_subscribers_interface_count(
    rule: dict[str, Any], direction: int
) -> None:
    stage = _stage(rule)
    stage.take(datagram(_sent((*FLOWS, TRANSIT), direction)))
    assert _billed(stage) == ONCE
    assert stage.counters["decode_flows_uncounted"] == 1


@pytest.mark.parametrize(
    "rule", [{"subscriber_interfaces": ("101-102",)}, {"core_interfaces": ("1-9",)}]
)
def test_metered_at_ingress_and_egress_the_boundary_counts_each_once(rule: dict[str, Any]) -> None:
    stage = _stage({**rule, "counted_direction": "boundary"})
    stage.take(datagram(_sent((*FLOWS, TRANSIT), INGRESS, EGRESS)))
    assert _billed(stage) == ONCE


def test_at_the_boundary_a_record_without_direction_counts_where_a_subscriber_is() -> None:
    stage = _stage({"core_interfaces": ("1", "3"), "counted_direction": "boundary"})
    stage.take(datagram(_sent((*FLOWS, TRANSIT), UNSAID)))
    assert _billed(stage) == ONCE


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_one_direction_and_interfaces_hold_together(direction: str) -> None:
    stage = _stage({"subscriber_interfaces": ("100-199",), "counted_direction": direction})
    stage.take(datagram(_sent((*FLOWS, TRANSIT), INGRESS, EGRESS)))
    assert _billed(stage) == ONCE


def test_an_ignored_interface_counts_in_neither_direction() -> None:
    cache: tuple[Seen, ...] = (
        ("10.0.0.1", "198.51.100.8", 11, 101, 50),
        ("198.51.100.8", "10.0.0.1", 12, 50, 101),
    )
    stage = _stage({"ignored_interfaces": ("50",)})
    stage.take(datagram(_sent((*FLOWS, *cache), INGRESS)))
    assert _billed(stage) == ONCE
    assert stage.counters["decode_flows_uncounted"] == 2


def test_interface_0_is_no_subscribers() -> None:
    dropped: Seen = ("10.0.0.1", "198.51.100.9", 33, 3, 0)
    stage = _stage({"core_interfaces": ("1", "3")})
    stage.take(datagram(_sent((*FLOWS, dropped), INGRESS)))
    assert _billed(stage) == ONCE


def test_physical_interfaces_stand_in_where_no_others_are_told() -> None:
    fields = tuple((252, 4) if f == (10, 4) else (253, 4) if f == (14, 4) else f for f in FIELDS)
    stage = _stage({"subscriber_interfaces": ("100-199",)})
    sent = [
        x.record(fields, (x.v4(a), x.v4(b), 40_000, 443, 6, octets, 1, i, o, INGRESS))
        for a, b, octets, i, o in (*FLOWS, TRANSIT)
    ]
    message = x.ipfix([x.template(256, fields, version=10), x.data(256, sent)])
    stage.take(datagram(message))
    assert _billed(stage) == ONCE


def test_v5_has_interfaces_too() -> None:
    # Its records here come in at interface 1 and go out at 2.
    record = x.v5_record("10.0.0.1", "198.51.100.9", 100)
    for index, expected in (("2", 100), ("3", 0)):
        stage = _stage({"subscriber_interfaces": (index,)})
        stage.take(datagram(x.v5([record])))
        assert sum(sums[0] for sums in _billed(stage).values()) == expected


def test_a_flow_that_bng_and_border_saw_bills_once() -> None:
    border = [(a, b, octets, 2, 1) for a, b, octets, _, _ in (UP, DOWN)]
    for rule in ({"role": "ignore"}, {"subscriber_interfaces": ("9",)}):
        stage = _stage({}, {"address": "192.0.2.240/28", **rule})
        stage.take(datagram(_sent(FLOWS, INGRESS)))
        stage.take(datagram(_sent(border, INGRESS), source=BORDER))
        assert _billed(stage) == ONCE
        assert stage.counters["decode_flows_uncounted"] == 2
        assert stage.counters["decode_data_records"] == 5


def test_the_rule_of_one_exporter_leaves_the_others_alone() -> None:
    stage = _stage({"address": BORDER, "role": "ignore"})
    stage.take(datagram(_sent(FLOWS, INGRESS)), datagram(_sent((UP,), EGRESS), source=BORDER))
    assert _billed(stage) == ONCE


@pytest.mark.parametrize(
    "rule",
    [
        {"subscriber_interfaces": ("seven",)},
        {"core_interfaces": ("9-7",)},
        {"ignored_interfaces": ("4294967296",)},
        {"subscriber_interfaces": ("-1",)},
        {"counted_direction": "boundary"},
        {"counted_direction": "boundary", "ignored_interfaces": ("7",)},
    ],
)
def test_interfaces_that_are_none_and_a_boundary_without_them_are_refused(
    rule: dict[str, Any],
) -> None:
    entry = ExporterConfig(BNG, **rule)
    (problem,) = check_decode(FlowDecodeConfig(exporters=(entry,)))
    assert problem.startswith("exporters.")


def test_ranges_that_overlap_are_one() -> None:
    stage = _stage({"subscriber_interfaces": ("101", "100-101", "102-150", "149-199")})
    stage.take(datagram(_sent((*FLOWS, TRANSIT), INGRESS)))
    assert _billed(stage) == ONCE


def test_totals_that_repeat_bill_once_and_only_the_difference_is_exported_volume() -> None:
    fields = tuple((85, 8) if field == (1, 8) else field for field in FIELDS)
    ends = (x.v4("10.0.0.1"), x.v4("198.51.100.9"), 40_000, 443, 6)
    stage = Stage(OWN)
    for number, octets in enumerate((1_000, 1_000, 1_700)):
        record = x.record(fields, (*ends, octets, 1, 101, 1, INGRESS))
        sets = [x.template(256, fields), x.data(256, [record])]
        stage.take(datagram(x.v9(sets, sequence=number)))
        stage.restart()
    assert stage.totals("address") == {("10.0.0.1",): (1_700, 0, 3, 0, 1_700)}
