"""Which entry of the settings holds for an exporter, and what its rates do to a record."""

from __future__ import annotations

import pytest

from collectors.netflow.config import ExporterConfig, FlowDecodeConfig, check_decode
from collectors.netflow.exporters import Exporters
from rating.addresses import pack_address
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run

ENTRIES = (
    ExporterConfig("0.0.0.0/0", sampling_rate=1),
    ExporterConfig("192.0.2.0/24", sampling_rate=2),
    ExporterConfig("192.0.2.64/26", sampling_rate=3),
    ExporterConfig("192.0.2.65", sampling_rate=4),
    ExporterConfig("::/0", sampling_rate=5),
    ExporterConfig("2001:db8:1::/48", sampling_rate=6),
)


@pytest.mark.parametrize(
    ("address", "rate"),
    [
        ("203.0.113.1", 1),
        ("192.0.2.63", 2),
        ("192.0.2.64", 3),
        ("192.0.2.127", 3),
        ("192.0.2.65", 4),
        ("192.0.2.128", 2),
        ("2001:db8:1::", 6),
        ("2001:db8:1:ffff::1", 6),
        ("2001:db8:2::1", 5),
    ],
)
def test_the_longest_prefix_that_holds_the_address_wins(address: str, rate: int) -> None:
    for entries in (ENTRIES, ENTRIES[::-1]):
        found = Exporters(entries).find(pack_address(address))
        assert found is not None
        assert found.sampling_rate == rate


def test_an_ipv6_prefix_holds_no_ipv4_exporter_and_none_is_none() -> None:
    assert Exporters([ENTRIES[4]]).find(pack_address("192.0.2.1")) is None
    assert Exporters([ENTRIES[1]]).find(pack_address("192.0.3.1")) is None
    assert Exporters([]).find(pack_address("192.0.2.1")) is None


SILENT = x.v9([x.template(256, x.BASIC), x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 10)])])
"""A flow of 10 octets whose exporter says nothing of sampling."""

ANNOUNCED = x.v9(
    [
        x.options_template(300, [], [(34, 4)]),
        x.data(300, [x.record([(34, 4)], (100,))]),
        x.template(256, x.BASIC),
        x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 10)]),
    ]
)
"""The same, announced as one packet in 100."""


def scaled(run: Run, payload: bytes, source: str) -> tuple[int, bool]:
    """Return the scaled octets of a payload from a source, and whether the rate was known."""
    before = run.totals["octets_scaled"]
    flows = run.take(x.block([payload], source=source)).flows
    return run.totals["octets_scaled"] - before, bool(flows.rate_known.all())


def test_the_default_rate_of_a_prefix_holds_where_nothing_was_announced() -> None:
    entry = ExporterConfig("192.0.2.0/24", default_sampling_rate=7)
    run = Run(FlowDecodeConfig(exporters=(entry,), default_sampling_rate=3))
    assert scaled(run, SILENT, "192.0.2.1") == (70, True)
    assert scaled(run, SILENT, "198.51.100.1") == (30, True)
    assert scaled(run, ANNOUNCED, "192.0.2.2") == (1000, True)


def test_nothing_announced_and_no_default_is_a_rate_not_known() -> None:
    entry = ExporterConfig("192.0.2.0/24", default_sampling_rate=7)
    run = Run(FlowDecodeConfig(exporters=(entry,)))
    assert scaled(run, SILENT, "198.51.100.1") == (10, False)


def test_the_rate_of_a_prefix_overrides_what_its_exporters_announce() -> None:
    run = Run(FlowDecodeConfig(exporters=(ExporterConfig("192.0.2.0/24", sampling_rate=5),)))
    assert scaled(run, ANNOUNCED, "192.0.2.1") == (50, True)
    assert scaled(run, ANNOUNCED, "192.0.3.1") == (1000, True)


def test_one_batch_of_exporters_with_and_without_an_entry() -> None:
    """Rates by setting are looked up per session, also for sessions that join in mid-batch."""
    entries = (
        ExporterConfig("192.0.2.0/24", sampling_rate=5),
        ExporterConfig("192.0.2.9", default_sampling_rate=2),
    )
    run = Run(FlowDecodeConfig(exporters=entries))
    datagrams = [
        x.block([payload], source=source).datagram(0)
        for payload, source in (
            (SILENT, "192.0.2.1"),
            (SILENT, "192.0.2.9"),
            (ANNOUNCED, "192.0.2.10"),
            (ANNOUNCED, "203.0.113.1"),
        )
    ]
    run.take(x.block_of(datagrams))
    assert run.totals["octets_scaled"] == 50 + 20 + 50 + 1000


def test_exporters_of_a_prefix_have_separate_ports() -> None:
    entry = ExporterConfig("192.0.2.0/24", has_separate_ports=True)
    run = Run(FlowDecodeConfig(exporters=(entry,)))
    run.take(x.block([x.v9([x.template(256, x.BASIC)])], source_port=1))
    data = x.v9([x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 10)])])
    run.take(x.block([data], source_port=2))
    assert (run.held, run.totals["octets"]) == (1, 0)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ((ExporterConfig("192.0.2.1/24"),), "'192.0.2.1/24': expected an IP address, or a prefix"),
        ((ExporterConfig("router1"),), "'router1': expected an IP address, or a prefix"),
        ((ExporterConfig("10.0.0.1"), ExporterConfig("10.0.0.1/32")), "expected one entry only"),
        ((ExporterConfig("10.0.0.1", sampling_rate=-1),), "exporters.sampling_rate = -1: expected"),
        (
            (ExporterConfig("10.0.0.1", default_sampling_rate=-1),),
            "exporters.default_sampling_rate",
        ),
    ],
)
def test_entries_that_cannot_work_are_named(entries: tuple[ExporterConfig, ...], said: str) -> None:
    (problem,) = check_decode(FlowDecodeConfig(exporters=entries))
    assert said in problem


def test_entries_that_work_are_not_refused() -> None:
    assert check_decode(FlowDecodeConfig(exporters=ENTRIES)) == []
