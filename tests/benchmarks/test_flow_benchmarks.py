"""The benchmarks' own parts: traffic is what it says and is sent so, a trial loses nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from collectors.datagrams import decode_datagrams
from tests.benchmarks.accounting_sender import requests_of, steady, storm
from tests.benchmarks.accounting_servers import bare, flowrate, in_process
from tests.benchmarks.bench_accounting import weather
from tests.benchmarks.bench_engine import measure
from tests.benchmarks.bench_peers import contestants, run_trial
from tests.benchmarks.flow_sender import Order, real_clock, sending
from tests.benchmarks.flow_traffic import (
    PROTOCOLS,
    RECORDS_PER_DATAGRAM,
    Protocol,
    Shape,
    generate,
    source_address,
)
from tests.benchmarks.sample_traffic import SAMPLES_PER_DATAGRAM, sampled_blocks
from tests.collectors.netflow.driver import Run
from tests.collectors.netflow.exports import EXPORTED_AT


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("layouts", [1, 20])
def test_traffic_is_what_it_says(protocol: Protocol, layouts: int) -> None:
    shape = Shape(
        protocol=protocol, flows=4_800, exporters=4, templates=40, layouts=layouts, refresh=30
    )
    traffic = generate(shape)
    run = Run()
    for turn in range(2):
        traffic.again(turn, EXPORTED_AT + 60 * turn)
        export_ms = 1000 * (EXPORTED_AT + 60 * turn)
        for body in traffic.blocks(export_ms):
            decoded = run.take(decode_datagrams(body))
            assert (decoded.flows.end_at <= export_ms).all()
            assert (decoded.flows.start_at >= export_ms - 60_000).all()
    assert run.totals["flows"] == 2 * traffic.flows == 9_600
    assert run.totals["octets"] == 2 * int(traffic.octets_of.sum())
    assert run.counts["data_records"] == 9_600
    # No duplicate, no gap, no refusal: of all that is counted, only these are not 0.
    counted = {name for name, count in run.counts.items() if count}
    assert counted <= {"datagrams", "templates", "data_records"}


def test_the_sender_sends_every_datagram_from_its_exporter() -> None:
    shape = Shape(flows=960, exporters=3, templates=3, burst=4)
    traffic = generate(shape)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        sending(shape, None) as sender,
    ):
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_194_304)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        sent = sender.send(Order(receiver.getsockname()[1], 1_000, 100, real_clock()))
        found = [receiver.recvfrom(65_535) for _ in range(100)]
    assert (sent.datagrams, sent.flows) == (100, 100 * RECORDS_PER_DATAGRAM)
    assert sent.octets == int(traffic.octets_of.sum()) * 2 + int(traffic.octets_of[:20].sum())
    assert sent.rate <= 1_100
    sources = [source_address(int(traffic.exporters[n % 40])) for n in range(100)]
    assert [address[0] for _, address in found] == sources
    assert len({payload for payload, _ in found}) == 100, "a repetition would be a duplicate"


@pytest.mark.parametrize("name", ["receive", "whole"])
def test_a_trial_counts_what_came_out(name: str) -> None:
    (contestant,) = contestants((name,))
    with sending(Shape(flows=4_800), None) as sender:
        trial = run_trial(contestant, sender, 400, 1.0)
    assert (trial.drops, trial.missing_flows) == (0, 0)
    assert trial.sent.datagrams == 400
    assert trial.resident_octets > 10_000_000
    assert trial.cpu_seconds > 0


def test_the_engine_measures_every_octet() -> None:
    # It ends the process where usage is not what was exported.
    cost, rate = measure(Shape(flows=4_800, lines=50, exporters=2, templates=6, layouts=3), 2)
    assert cost > 0
    assert rate > 0


def test_every_request_is_answered_and_timed(tmp_path: Path) -> None:
    with in_process(bare, tmp_path) as (at_work, _):
        answered = steady(at_work.port, requests_of(0, 300), 1_000)
    assert (answered.asked, answered.unanswered) == (300, 0)
    assert 0 < answered.percentile_ms(50) <= answered.percentile_ms(99)


def test_a_storm_loses_and_doubles_nothing() -> None:
    # It ends the process where an octet is lost or doubled.
    told = weather(sessions=600, away_seconds=2.5)
    assert "600 logged" in told
    transmissions = int(told.partition(" datagrams sent")[0].rpartition(" ")[2].replace(",", ""))
    assert transmissions > 600, "nobody asked twice: that was no outage"


def test_a_storm_that_is_never_answered_ends(tmp_path: Path) -> None:
    with (
        in_process(flowrate, tmp_path, 60.0) as (at_work, _),
        pytest.raises(TimeoutError, match="20 sessions are not answered"),
    ):
        storm(at_work.port, requests_of(0, 20), 0.2, 1.0)


def test_sampled_traffic_is_read_to_the_last_packet() -> None:
    run = Run()
    for body in sampled_blocks(4_000, agents=5):
        run.take(decode_datagrams(body))
    datagrams = 4_000 // SAMPLES_PER_DATAGRAM
    counted = {name: count for name, count in run.counts.items() if count}
    assert counted == {"datagrams": datagrams, "flow_samples": 4_000}
    assert run.totals["flows"] == 4_000
    assert {len(decoded.origins) for decoded in run.flows} == {5}
