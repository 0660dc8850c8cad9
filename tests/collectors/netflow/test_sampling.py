"""Which sampling rate holds for a record, by each way in which exporters say it."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest

from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run

PLAIN: tuple[x.Field, ...] = ((8, 4), (12, 4), (1, 4), (10, 4))
OCTETS = 10


def options(
    scopes: Sequence[x.Field], fields: Sequence[x.Field], *rows: Sequence[int | bytes], version: int
) -> list[bytes]:
    """Return an options template and its records, scope values first."""
    records = [x.record([*scopes, *fields], row) for row in rows]
    return [x.options_template(300, scopes, fields, version=version), x.data(300, records)]


def flows(
    fields: Sequence[x.Field], *rows: Sequence[int], interface: int = 7, version: int
) -> list[bytes]:
    """Return a template of PLAIN and more fields, and a record for each row of their values."""
    both = [*PLAIN, *fields]
    records = [x.record(both, (1, 2, OCTETS, interface, *row)) for row in rows]
    return [x.template(256, both, version=version), x.data(256, records)]


def rates(*datagrams: Sequence[bytes], version: int = 10) -> list[float]:
    """Return the rate of each flow of datagrams, one a batch with a restart between; 0: unknown."""
    run, found = Run(), []
    for number, sets in enumerate(datagrams):
        one = x.ipfix(sets, sequence=number) if version == 10 else x.v9(sets, sequence=number)
        decoded = run.take(x.block([one])).flows
        rate = decoded.rate_numerator / decoded.rate_denominator
        found += [float(r) if k else 0.0 for r, k in zip(rate, decoded.rate_known, strict=True)]
        run.restart()
    return found


@pytest.mark.parametrize("octets", [1, 2, 4, 8])
def test_selector_ids_of_every_length(octets: int) -> None:
    """Also one above 2^63, which no signed number holds."""
    high = (1 << 8 * octets) - 1
    told = options([(302, octets)], [(305, 4), (306, 4)], (high, 1, 99), (1, 1, 9), version=10)
    sent = flows([(302, octets)], (high,), (1,), (2,), version=10)
    assert rates(told, sent) == [100.0, 10.0, 0.0]


def test_an_option_with_interval_and_algorithm_is_no_puzzle() -> None:
    """34 and 35 in one option template (nfdump 1.7.1 ignores it)."""
    told = options([(1, 4)], [(34, 4), (35, 1)], (0, 512, 2), version=9)
    assert rates([*told, *flows([], (), version=9)], version=9) == [512.0]


def test_a_cisco_sampler_table_with_mode_and_name() -> None:
    fields: list[x.Field] = [(48, 1), (84, 32), (49, 1), (50, 4)]
    name = b"sampler-a".ljust(32, b"\0")
    told = options([(1, 4)], fields, (0, 3, name, 2, 1_000), (0, 4, name, 2, 50), version=9)
    sent = flows([(48, 1)], (3,), (4,), version=9)
    assert rates([*told, *sent], version=9) == [1_000.0, 50.0]


@pytest.mark.parametrize(
    ("algorithm", "fields", "values", "rate"),
    [
        (1, [(305, 4), (306, 4)], (2, 998), 500.0),
        (2, [(307, 4), (308, 4)], (10, 990), 100.0),
        (3, [(309, 4), (310, 4)], (3, 300), 100.0),
        (4, [(311, 8)], (struct.pack(">d", 1 / 64),), 64.0),
    ],
    ids=["count based", "time based", "random n of N", "uniform probability"],
)
def test_psamp_selectors_by_their_algorithm(
    algorithm: int, fields: list[x.Field], values: tuple[int | bytes, ...], rate: float
) -> None:
    """Element 304 says how, the others how many (RFC 5477 §8.2)."""
    told = options([(302, 2)], [(304, 2), *fields], (5, algorithm, *values), version=10)
    assert rates([*told, *flows([(302, 2)], (5,), version=10)]) == [rate]


@pytest.mark.parametrize(
    ("fields", "values", "rate"),
    [
        ([(34, 4)], (100,), 100.0),
        ([(50, 4)], (200,), 200.0),
        ([(34, 4), (50, 4)], (0, 300), 300.0),
        ([(305, 4), (306, 4)], (1, 399), 400.0),
        ([(305, 4)], (1,), 1.0),
        ([(309, 4), (310, 4)], (2, 1_000), 500.0),
        ([(34, 4), (305, 4), (306, 4)], (0, 1, 9), 10.0),
        ([(34, 4), (35, 1)], (0, 0), 0.0),
    ],
)
def test_a_record_tells_its_own_rate(
    fields: list[x.Field], values: tuple[int, ...], rate: float
) -> None:
    assert rates(flows(fields, values, version=10)) == [rate]


def test_records_of_one_set_with_rates_of_their_own() -> None:
    assert rates(flows([(34, 4)], (1,), (10,), (0,), version=10)) == [1.0, 10.0, 0.0]


@pytest.mark.parametrize("version", [9, 10])
def test_a_rate_by_interface_holds_for_what_enters_there(version: int) -> None:
    """Scope 2 of NetFlow v9 (RFC 3954 §6.1), element 10 of IPFIX."""
    scope: list[x.Field] = [(2 if version == 9 else 10, 4)]
    told = options(scope, [(34, 4)], (7, 100), (8, 1_000), version=version)
    sent = [flows([], (), interface=n, version=version) for n in (7, 8, 9)]
    assert rates(told, *sent, version=version) == [100.0, 1_000.0, 0.0]


def test_interfaces_that_agree_speak_for_the_others_and_a_sampler_before_them() -> None:
    told = options([(10, 4)], [(34, 4)], (7, 100), (8, 100), version=10)
    sampler = options([(302, 2)], [(34, 4)], (5, 20), version=10)
    assert rates(told, flows([], (), interface=9, version=10)) == [100.0]
    named = flows([(302, 2)], (5,), (6,), interface=7, version=10)
    assert rates(told, sampler, named) == [20.0, 100.0]


def test_a_rate_that_changes_in_the_middle_of_a_block() -> None:
    sent = flows([(302, 1)], (1,), (2,), version=10)
    first = options([(302, 1)], [(34, 4)], (1, 10), (2, 5), version=10)
    second = options([(302, 1)], [(34, 4)], (1, 20), version=10)
    payloads = [x.ipfix(sets, sequence=n) for n, sets in enumerate((first, sent, second, sent))]
    found = Run().take(x.block(payloads)).flows
    assert found.rate_numerator.tolist() == [10, 5, 20, 5]


def test_the_same_selector_of_two_domains_and_two_exporters() -> None:
    run = Run()
    for source, domain, rate in (("192.0.2.1", 1, 10), ("192.0.2.1", 2, 20), ("192.0.2.2", 1, 30)):
        told = options([(302, 1)], [(34, 4)], (1, rate), version=10)
        run.take(x.block([x.ipfix(told, domain=domain)], source=source))
        sets = flows([(302, 1)], (1,), version=10)
        found = run.take(x.block([x.ipfix(sets, domain=domain, sequence=1)], source=source)).flows
        assert found.rate_numerator.tolist() == [rate]


def test_v5s_header_field_has_a_mode_in_its_top_bits() -> None:
    for mode in (0, 1, 2, 3):
        payload = x.v5([x.v5_record("10.0.0.1", "192.0.2.9", 10)], sampling=mode << 14 | 1_000)
        assert Run().take(x.block([payload])).flows.rate_numerator.tolist() == [1_000]
