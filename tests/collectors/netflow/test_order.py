"""Generated exports in any order, in any batches, sent twice, over restarts: the same totals."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.datagrams import Datagram
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run, run_of

WIDE: tuple[x.Field, ...] = ((8, 4), (371, 0xFFFF), (12, 4), (1, 3), (2, 2), (4, 1))


@st.composite
def exports(draw: st.DrawFn) -> tuple[list[Datagram], int, int]:
    """Return the datagrams of a few exporters, and the octets and records that they hold."""
    datagrams: list[Datagram] = []
    octets = records = 0
    for number in range(draw(st.integers(1, 3))):
        version = draw(st.sampled_from((9, 10)))
        address = x.mapped(f"192.0.2.{number + 1}")
        payloads: list[list[bytes]] = [[x.template(256, x.BASIC, version=version)]]
        payloads.append([x.template(257, WIDE, version=version)])
        for _ in range(draw(st.integers(1, 6))):
            sets = []
            for volume in draw(st.lists(st.integers(0, 1 << 24), min_size=1, max_size=4)):
                if draw(st.booleans()):
                    sent = x.data(256, [x.basic("10.0.0.1", "192.0.2.9", volume)])
                else:
                    values = (1, b"n" * (volume % 7), 2, volume % (1 << 24), 1, 6)
                    sent = x.data(257, [x.record(WIDE, values)])
                    volume %= 1 << 24
                sets.append(sent)
                octets += volume
                records += 1
            payloads.append(sets)
        for sequence, sets in enumerate(payloads):
            make = x.v9 if version == 9 else x.ipfix
            payload = make(sets, sequence=sequence, domain=7)
            datagrams.append(Datagram(x.EXPORTED_AT * 1000, address, 50_000, 2055, payload))
    return datagrams, octets, records


def _in_batches(datagrams: Sequence[Datagram], cuts: Sequence[int]) -> Run:
    """Return a run over batches of the given sizes, restarted after each."""
    run = Run()
    first = 0
    for size in [*cuts, len(datagrams)]:
        run.take(x.block_of(datagrams[first : first + size]))
        run.restart()
        first += size
    return run


@settings(max_examples=120, deadline=None)
@given(exports(), st.randoms(use_true_random=False), st.lists(st.integers(0, 5), max_size=8))
def test_order_batches_duplicates_and_restarts_change_nothing(
    sent: tuple[list[Datagram], int, int], chance: object, cuts: list[int]
) -> None:
    datagrams, octets, records = sent
    plain = run_of(datagrams).result()
    assert (plain["octets"], plain["data_records"], plain["held"]) == (octets, records, 0)
    shuffled = datagrams * 2
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert run_of(shuffled).result() == plain
    assert _in_batches(shuffled, cuts).result() == plain


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 1_000), min_size=2, max_size=5), st.lists(st.integers(0, 3)))
def test_of_rates_that_waited_for_one_template_the_last_received_stands(
    rates: list[int], cuts: list[int]
) -> None:
    def sent(number: int, sets: list[bytes]) -> Datagram:
        received_at = x.EXPORTED_AT * 1000 + number
        payload = x.ipfix(sets, sequence=number)
        return Datagram(received_at, x.mapped("192.0.2.1"), 50_000, 4739, payload)

    datagrams = [
        sent(number, [x.data(300, [rate.to_bytes(8, "big")])]) for number, rate in enumerate(rates)
    ]
    templates = [
        x.options_template(300, ((149, 4),), ((34, 4),), version=10),
        x.template(256, x.BASIC, version=10),
    ]
    flow = x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 1)])
    datagrams += [sent(len(rates), templates), sent(len(rates) + 1, [flow])]
    run = _in_batches(datagrams, cuts)
    assert run.totals["octets_scaled"] == rates[-1]
