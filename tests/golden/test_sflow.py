"""Every sFlow case of the corpus, through the real decoder and `inspect flows`, to the octet."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from collectors.adapters.captures import read_file
from collectors.datagrams import Datagram
from infra.inspect_flows import inspect
from tests.collectors.netflow.driver import Run, run_of, run_singly
from tests.collectors.netflow.exports import block_of
from tests.corpus import corpus_path, corpus_present

Case = Mapping[str, Any]

UPPER_OF_EXTENSIONS = {("fe80::f3a8:9738:cab4:2286", "ff02::16"): 58}
"""Where the source's decoder gives the first next header (0), ours, as element 4, the last."""


@functools.cache
def _cases() -> dict[str, Case]:
    if not corpus_present():
        return {}
    cases = json.loads(corpus_path("expected.json").read_text())["cases"]
    return {case["id"]: case for case in cases if "sflow5" in case["protocols"]}


def _datagrams(case_id: str) -> tuple[Datagram, ...]:
    files = _cases()[case_id]["files"]
    return tuple(d for f in files for d in read_file(corpus_path(f["path"])).datagrams)


IDS = sorted(_cases())


def test_the_corpus_is_there() -> None:
    corpus_path("expected.json")
    assert len(IDS) == 4


@pytest.mark.parametrize("case_id", IDS)
def test_samples_octets_and_packets(case_id: str) -> None:
    case = _cases()[case_id]
    expected = case["sflow"]
    totals = inspect([corpus_path(file["path"]) for file in case["files"]])["totals"]
    samples = totals["samples"]
    assert totals["datagrams"] == case["datagrams"]
    assert samples["flow_samples"] == expected["flow_samples"]
    assert samples["counter_samples"] == expected["counter_samples"]
    assert samples["drop_notifications"] == expected["drop_samples"]
    assert samples["samples_not_ip"] == expected["samples_without_ip"]
    assert totals["octets_exported"] == expected["ip_octets"]
    assert totals["packets_scaled"] == expected["packets_scaled"]
    # One rate in each of these cases, so that frames and packets scale alike.
    rates = expected["rates"] or [1]
    assert totals["octets_scaled"] == expected["ip_octets"] * rates[0]
    assert totals["refused"] == {}
    rate = run_of(_datagrams(case_id)).flows[0].flows.rate_numerator
    assert np.unique(rate).tolist() == expected["rates"]


def _events(case: Case) -> Iterator[tuple[str, str, int, int, int]]:
    for event in case["golden"]["events"]:
        if "src" in event:
            ends = (event["src"], event["dst"])
            ports = (event.get("sport", 0), event.get("dport", 0))
            yield *ends, *ports, UPPER_OF_EXTENSIONS.get(ends, event["proto"])


def test_packets_that_the_source_recorded_are_found_by_5_tuple() -> None:
    compared = 0
    for case_id in IDS:
        theirs = list(_events(_cases()[case_id]))
        assert set(run_of(_datagrams(case_id)).tuples()) == set(theirs)
        compared += len(theirs)
    assert compared == 6 or not IDS


@pytest.mark.parametrize("case_id", IDS)
def test_interface_counters_are_what_the_source_recorded(case_id: str) -> None:
    case = _cases()[case_id]
    report = inspect([corpus_path(file["path"]) for file in case["files"]])
    interfaces = [i for exporter in report["exporters"] for i in exporter["interfaces"]]
    theirs = [e for e in case["golden"]["events"] if "octets" in e and "src" not in e]
    assert [(i["index"], i["octets_in"]) for i in interfaces] == [
        (e["in_if"], e["octets"]) for e in theirs
    ]


def test_an_interface_whole() -> None:
    path = corpus_path("netflow/telegraf/sflow_v5_example/sflow_v5.bin")
    (exporter,) = inspect([path])["exporters"]
    assert (exporter["exporter"], exporter["protocol"]) == ("192.168.119.184", "sflow5")
    assert exporter["observation_domain"] == 100_000
    (interface,) = exporter["interfaces"]
    known = {name: value for name, value in interface.items() if value is not None}
    assert known == {
        "index": 3, "name": "eno1", "speed": 10**9, "is_up": True, "is_running": True,
        "octets_in": 3_910, "packets_in": 28, "discards_in": 0, "errors_in": 0,
        "octets_out": 3_946, "packets_out": 29, "discards_out": 0, "errors_out": 0,
    }  # fmt: skip
    assert {n for n in interface if n not in known} == {
        "multicast_in", "broadcast_in", "multicast_out", "broadcast_out",
    }  # fmt: skip


def test_all_cases_at_once_in_any_order_with_restarts_and_copies() -> None:
    datagrams = [d for case_id in IDS for d in _datagrams(case_id)]
    expected = run_of(datagrams).result()
    assert expected.get("octets", 0) == sum(c["sflow"]["ip_octets"] for c in _cases().values())
    for order in itertools.permutations(datagrams) if IDS else ():
        assert run_of([*order, *order]).result() == expected
        assert run_singly(order, restart=True).result() == expected


def test_truncation_at_any_octet_and_every_flipped_bit_are_survived() -> None:
    for case_id in IDS:
        for datagram in _datagrams(case_id):
            payload = datagram.payload
            hurt = [payload[:end] for end in range(len(payload))]
            for position in range(8 * len(payload)):
                octets = bytearray(payload)
                octets[position // 8] ^= 1 << position % 8
                hurt.append(bytes(octets))
            run = Run()
            apart = (
                Datagram(0, b"\xfd" + number.to_bytes(15, "big"), 1, 6343, octets)
                for number, octets in enumerate(hurt)
            )
            run.take(block_of(apart))
            assert run.counts["datagrams"] == len(hurt)
            assert run.totals["octets"] >= 0
