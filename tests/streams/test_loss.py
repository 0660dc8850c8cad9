"""What is lost on the way is known per numbering and hour, however the log is cut into batches."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.datagrams import Datagram, encode_datagrams
from collectors.drops import Drops, report_of
from collectors.netflow.config import ExporterConfig, FlowDecodeConfig
from rating.ports import Batch, Block, MemoryState
from rating.rows import LossHour
from streams.codec import decode_value, encode_value
from streams.decode import COLLECTIONS, step
from tests.collectors.netflow import exports as x

NOW = x.EXPORTED_AT * 1000
HOUR_MS = 3_600_000
HOUR = NOW // HOUR_MS
FLOW = x.basic("10.0.0.1", "192.0.2.9", 10)


def v9(sequence: int, at: int = NOW, *, source: str = "192.0.2.1", port: int = 50_000) -> Datagram:
    """Return a v9 datagram with two records; its sequence counts datagrams."""
    sets = [x.template(256, x.BASIC), x.data(256, [FLOW, FLOW])]
    return Datagram(at, x.mapped(source), port, 2055, x.v9(sets, sequence=sequence))


def v5(sequence: int, records: int, at: int = NOW) -> Datagram:
    """Return a v5 datagram; its sequence counts flows."""
    flows = [x.v5_record("10.0.0.1", "192.0.2.9", 10)] * records
    return Datagram(at, x.mapped("192.0.2.1"), 50_000, 2055, x.v5(flows, sequence=sequence))


def ipfix(sequence: int, records: int, at: int = NOW, domain: int = 7) -> Datagram:
    """Return an IPFIX message; its sequence counts records."""
    sets = [x.template(256, x.BASIC, version=10), x.data(256, [FLOW] * records)]
    payload = x.ipfix(sets, sequence=sequence, domain=domain)
    return Datagram(at, x.mapped("192.0.2.1"), 50_000, 2055, payload)


class Stage:
    """The step over a state that is stored and read between any two batches."""

    def __init__(self, config: FlowDecodeConfig | None = None) -> None:
        self.config = config or FlowDecodeConfig()
        self.state = MemoryState()
        self.sums: Counter[tuple[str, str, int, str]] = Counter()
        self.skews: dict[tuple[str, str, int], int] = {}

    def take(self, datagrams: Sequence[Datagram]) -> None:
        """Run one batch and add its rows up, as the table does."""
        batch = Batch(blocks=[Block(1, "data", NOW, encode_datagrams(datagrams))])
        result = step(self.state, batch, watermark_at=0, config=self.config)
        self.state.apply(result)
        for row in result.rows:
            if isinstance(row, LossHour):
                key = (row.exporter, row.numbering, row.hour)
                for name in ("datagrams", "units", "lost"):
                    self.sums[*key, name] += getattr(row, name)
                self.skews[key] = row.clock_skew_ms

    def restart(self) -> None:
        """Keep nothing but what is stored."""
        for name, values in self.state.collections.items():
            for key, value in values.items():
                values[key] = decode_value(encode_value(value), COLLECTIONS[name])

    def hour(self, exporter: str, numbering: str, hour: int = HOUR) -> tuple[int, int, int]:
        """Return datagrams, units and lost."""
        key = (exporter, numbering, hour)
        return self.sums[*key, "datagrams"], self.sums[*key, "units"], self.sums[*key, "lost"]


def heard(datagrams: Iterable[Datagram], config: FlowDecodeConfig | None = None) -> Stage:
    """Return a stage that took all datagrams as one batch."""
    stage = Stage(config)
    stage.take(list(datagrams))
    return stage


def test_v9_counts_datagrams() -> None:
    assert heard(v9(n) for n in (1, 2, 5, 6)).hour("192.0.2.1", "v9/0") == (4, 4, 2)


def test_v5_counts_flows() -> None:
    sent = [v5(0, 3), v5(3, 2), v5(12, 1)]
    assert heard(sent).hour("192.0.2.1", "v5/0") == (3, 6, 7)


def test_ipfix_counts_records_by_domain() -> None:
    sent = [ipfix(0, 2), ipfix(5, 1), ipfix(0, 2, domain=8), ipfix(2, 2, domain=8)]
    stage = heard(sent)
    assert stage.hour("192.0.2.1", "v10/7") == (2, 3, 3)
    assert stage.hour("192.0.2.1", "v10/8") == (2, 4, 0)


def test_v1_has_no_numbers_and_loses_nothing_that_we_know_of() -> None:
    payloads = [x.v1([x.v1_record("10.0.0.1", "192.0.2.9", octets)]) for octets in (10, 11)]
    sent = [Datagram(NOW, x.mapped("192.0.2.1"), 1, 2055, payload) for payload in payloads]
    assert heard(sent).hour("192.0.2.1", "v1/0") == (2, 0, 0)


def test_each_hour_of_receipt_has_its_own_loss() -> None:
    stage = heard([v9(1), v9(3), v9(4, NOW + HOUR_MS), v9(9, NOW + HOUR_MS)])
    assert stage.hour("192.0.2.1", "v9/0") == (2, 2, 1)
    assert stage.hour("192.0.2.1", "v9/0", HOUR + 1) == (2, 2, 4)


def test_a_gap_over_the_end_of_an_hour_is_lost_in_the_hour_that_shows_it() -> None:
    stage = heard([v9(1), v9(4, NOW + HOUR_MS)])
    assert stage.hour("192.0.2.1", "v9/0")[2] == 0
    assert stage.hour("192.0.2.1", "v9/0", HOUR + 1)[2] == 2


def test_late_datagrams_take_their_loss_back() -> None:
    stage = Stage()
    for number, left in ((1, 0), (4, 2), (2, 1), (3, 0)):
        stage.take([v9(number)])
        assert stage.hour("192.0.2.1", "v9/0")[2] == left


def test_ports_that_are_told_apart_are_numberings_of_their_own() -> None:
    config = FlowDecodeConfig(exporters=(ExporterConfig("192.0.2.1", has_separate_ports=True),))
    stage = heard([v9(1, port=7), v9(90, port=8), v9(3, port=7), v9(91, port=8)], config)
    assert stage.hour("192.0.2.1", "v9/0:7") == (2, 2, 1)
    assert stage.hour("192.0.2.1", "v9/0:8") == (2, 2, 0)


def test_connections_of_an_exporter_are_one_numbering_and_count_by_themselves() -> None:
    sent = [(0, 5), (3, 5), (70, 6), (72, 6)]
    messages = [
        dataclasses.replace(ipfix(sequence, 2), connection=connection)
        for sequence, connection in sent
    ]
    assert heard(messages).hour("192.0.2.1", "v10/7:tcp") == (4, 8, 1)


def test_what_the_collector_dropped_is_nobodys_and_per_socket() -> None:
    reports = [report_of(Drops(2055, NOW, 3, 0)), report_of(Drops(4739, NOW + HOUR_MS, 1, 8))]
    stage = heard([v9(1), *reports])
    assert stage.hour("", "kernel/2055") == (0, 0, 3)
    assert stage.hour("", "kernel/4739", HOUR + 1) == (0, 0, 1)
    assert stage.hour("", "queue/4739", HOUR + 1) == (0, 0, 8)
    assert ("", "queue/2055", HOUR) not in stage.skews
    assert stage.hour("192.0.2.1", "v9/0") == (1, 1, 0)


def test_a_report_repeated_within_the_window_is_no_duplicate() -> None:
    stage = heard([report_of(Drops(2055, NOW, 3, 0))] * 2)
    assert stage.hour("", "kernel/2055") == (0, 0, 6)


def test_the_clocks_error_is_told() -> None:
    stage = heard([v9(1, NOW + 3_600_500), v9(2, NOW + 3_600_900)])
    assert stage.skews["192.0.2.1", "v9/0", HOUR + 1] == -3_600_500


@pytest.mark.parametrize("kind", ["v9", "v5", "ipfix"])
@given(data=st.data(), chance=st.randoms(use_true_random=False))
def test_batches_and_restarts_change_no_hours_loss(
    kind: str, data: st.DataObject, chance: random.Random
) -> None:
    """Lost, reordered and repeated datagrams over the ends of hours, cut anyhow."""
    count = data.draw(st.integers(1, 25))
    sizes = [chance.randint(1, 3) for _ in range(count)]
    starts = [sum(sizes[:n]) for n in range(count)]
    at = NOW
    sent: list[Datagram] = []
    for n in range(count):
        at += chance.choice((0, 1, 20 * 60_000))
        if kind == "v9":
            sent.append(v9(n, at))
        else:
            sent.append((v5 if kind == "v5" else ipfix)(starts[n], sizes[n], at))
    chosen = [n for n in range(count) if chance.random() < 0.8]
    for _ in range(chance.randint(0, 3)):
        if len(chosen) > 1:
            at_place = chance.randrange(len(chosen) - 1)
            chosen[at_place : at_place + 2] = chosen[at_place : at_place + 2][::-1]
    datagrams = [sent[n] for n in chosen]
    whole = heard(datagrams)
    cut = Stage()
    while datagrams:
        size = chance.randint(1, len(datagrams))
        cut.take(datagrams[:size])
        datagrams = datagrams[size:]
        cut.restart()
    assert {k: v for k, v in cut.sums.items() if v} == {k: v for k, v in whole.sums.items() if v}
    assert cut.skews == whole.skews
