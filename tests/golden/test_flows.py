"""Every NetFlow and IPFIX case of the corpus, through the real decoder and `inspect flows`.

The corpus README states seven invariants; each has its test here, over the recorded datagrams.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from collectors.adapters.captures import read_file
from collectors.datagrams import Datagram
from infra.inspect_flows import inspect
from tests.collectors.netflow.driver import PATIENT, FiveTuple, Run, run_of, run_singly
from tests.collectors.netflow.exports import block_of, mapped
from tests.corpus import corpus_path, corpus_present

Case = Mapping[str, Any]

REFUSED = {
    "v5_count_mismatch": "count_mismatch",
    "set_length_lt_4": "set_length_lt_4",
    "ipfix_length_mismatch": "ipfix_length_mismatch",
}
"""The corpus's names of what is malformed, where ours count the same."""

VENDORS: Mapping[str, tuple[str, ...]] = {"logstash/ipfix_test_procera": ("15397/3", "15397/4")}
"""Cases whose only counters are a vendor's: the corpus's rule reads none, we read both directions
(decision 0126)."""

ENDS_WITH_EXPORT = frozenset({"pmacct/111", "logstash/netflow9_test_cisco_asa_1"})
"""Cases with records that carry no end: ours is then the export time, the corpus leaves it out."""


@functools.cache
def _cases() -> dict[str, Case]:
    if not corpus_present():
        return {}
    cases = json.loads(corpus_path("expected.json").read_text())["cases"]
    flows = [c for c in cases if not any(p.startswith("sflow") for p in c["protocols"])]
    return {case["id"]: case for case in flows}


@functools.cache
def _datagrams(case_id: str) -> tuple[Datagram, ...]:
    files = _cases()[case_id]["files"]
    return tuple(d for f in files for d in read_file(corpus_path(f["path"])).datagrams)


@functools.cache
def _whole(case_id: str) -> Run:
    return run_of(_datagrams(case_id))


IDS = sorted(_cases())
MANY = [case_id for case_id in IDS if _cases()[case_id]["datagrams"] > 1]
ORDER_FREE = [case_id for case_id in IDS if _cases()[case_id].get("order_free")]


def test_the_corpus_is_there() -> None:
    corpus_path("expected.json")
    assert len(IDS) == 70
    assert len(ORDER_FREE) == 44


def test_counters_of_a_vendor_alone_are_read() -> None:
    for case_id, elements in VENDORS.items() if IDS else ():
        told = [_cases()[case_id]["octets_by_ie"][element]["sum"] for element in elements]
        totals = _whole(case_id).totals
        assert totals["octets"] + totals["octets_reverse"] == sum(told)


@pytest.mark.parametrize("case_id", sorted(set(IDS) - VENDORS.keys()))
def test_inspect_gives_the_expected_counts(case_id: str) -> None:
    case = _cases()[case_id]
    report = inspect([corpus_path(file["path"]) for file in case["files"]])
    totals = report["totals"]
    expected = {
        "datagrams": case["datagrams"],
        "templates": case["templates"],
        "data_records": case["data_records"],
        "option_records": case["option_records"],
        "octets_exported": case["octets"],
        "packets_exported": case["packets"],
        "held": case["data_sets_without_template"],
    }
    sampling = case.get("sampling")
    expected["octets_scaled"] = sampling["octets_scaled"] if sampling else case["octets"]
    expected["packets_scaled"] = sampling["packets_scaled"] if sampling else case["packets"]
    assert {name: totals[name] for name in expected} == expected
    assert len({e["exporter"] for e in report["exporters"]}) == case["exporters"]
    for protocol, datagrams in case["protocols"].items():
        of_protocol = [e for e in report["exporters"] if e["protocol"] == protocol]
        assert sum(e["datagrams"] for e in of_protocol) == datagrams
    malformed = case.get("malformed", {})
    for theirs, ours in REFUSED.items():
        assert totals["refused"].get(ours, 0) == malformed.get(theirs, 0)


@pytest.mark.parametrize("case_id", sorted(set(IDS) - VENDORS.keys()))
def test_counts_of_each_file_given_the_files_before_it(case_id: str) -> None:
    run = Run()
    for file in _cases()[case_id]["files"]:
        before, octets = Counter(run.counts), run.totals["octets"]
        run.take(block_of(read_file(corpus_path(file["path"])).datagrams))
        assert run.counts["data_records"] - before["data_records"] == file["data_records"]
        assert run.counts["option_records"] - before["option_records"] == file["option_records"]
        assert run.totals["octets"] - octets == file["octets"]


@pytest.mark.parametrize("case_id", IDS)
def test_times_and_reverse_octets(case_id: str) -> None:
    case = _cases()[case_id]
    flows = _whole(case_id).flows[0].flows
    if "start_min_ms" in case and len(flows):
        assert int(flows.start_at.min()) == case["start_min_ms"]
    if "end_max_ms" in case and len(flows) and case_id not in ENDS_WITH_EXPORT:
        assert int(flows.end_at.max()) == case["end_max_ms"]
    for name in ("octets_reverse", "packets_reverse"):
        if name in case:
            assert _whole(case_id).totals[name] == case[name]


def _events(case: Case) -> Iterator[tuple[FiveTuple, int, int]]:
    for event in case.get("golden", {}).get("events", []):
        told = event.get("event", event)
        if {"src", "dst", "octets"} <= told.keys():
            ports = (told.get("sport", 0), told.get("dport", 0))
            key = (told["src"], told["dst"], *ports, told.get("proto", 0))
            yield key, told["octets"], told.get("packets", 0)


def test_events_that_the_sources_recorded_are_found_by_5_tuple() -> None:
    compared = 0
    for case_id in IDS:
        ours = _whole(case_id).tuples()
        theirs: dict[FiveTuple, Counter[str]] = {}
        for key, octets, packets in _events(_cases()[case_id]):
            theirs.setdefault(key, Counter()).update(octets=octets, packets=packets, records=1)
        for key, told in theirs.items():
            assert key in ours, f"{case_id}: no flow {key}"
            mine = ours[key]
            # A source may assert a few of several equal flows, or one that sums several up.
            if told["records"] == mine["records"] or case_id.startswith("pmacct"):
                assert (mine["octets"], mine["packets"]) == (told["octets"], told["packets"])
            assert mine["octets"] >= told["octets"]
            compared += 1
    assert compared >= 238 or not IDS


@pytest.mark.parametrize("case_id", ORDER_FREE)
def test_any_order_gives_the_same_totals(case_id: str) -> None:
    datagrams = list(_datagrams(case_id))
    expected = _whole(case_id).result()
    chance = random.Random(case_id)
    orders = [datagrams[::-1]]
    orders += [chance.sample(datagrams, len(datagrams)) for _ in range(4)]
    for order in orders:
        assert run_of(order).result() == expected
        singly = run_singly(order, restart=True)
        assert singly.result() == expected


@pytest.mark.parametrize("case_id", MANY)
def test_a_restart_between_any_two_datagrams_changes_nothing(case_id: str) -> None:
    datagrams = _datagrams(case_id)
    expected = _whole(case_id).result()
    assert run_singly(datagrams, restart=False).result() == expected
    assert run_singly(datagrams, restart=True).result() == expected


@pytest.mark.parametrize("case_id", IDS)
def test_a_datagram_sent_twice_counts_once(case_id: str) -> None:
    datagrams = _datagrams(case_id)
    expected = _whole(case_id).result()
    twice = [copy for datagram in datagrams for copy in (datagram, datagram)]
    assert run_of(twice).result() == expected
    again = Run()
    for part in (datagrams, datagrams):
        again.take(block_of(part))
        again.restart()
    assert again.result() == expected
    assert again.counts["duplicate"] == len(datagrams)


def test_equal_sequence_numbers_are_no_duplicates() -> None:
    for case_id in IDS:
        if _cases()[case_id].get("different_datagrams_with_equal_sequence"):
            assert _whole(case_id).counts["duplicate"] == 0


def test_exporters_are_apart() -> None:
    """Neighbouring cases, interleaved from two addresses, give the sum of both."""
    for one, other in itertools.pairwise(IDS):
        mixed: list[Datagram] = []
        for number, case_id in enumerate((one, other)):
            address = mapped(f"203.0.113.{number + 1}")
            mixed += [dataclasses.replace(d, source_address=address) for d in _datagrams(case_id)]
        mixed.sort(key=lambda d: (len(d.payload), d.payload))
        if not all(_cases()[c].get("order_free") or len(_datagrams(c)) == 1 for c in (one, other)):
            continue
        expected = Counter(_whole(one).result())
        expected.update(_whole(other).result())
        assert run_of(mixed).result() == dict(expected), (one, other)


def _apart(payloads: Iterator[bytes]) -> Iterator[list[Datagram]]:
    """Yield blocks in which every payload comes from an exporter of its own."""
    block: list[Datagram] = []
    for number, payload in enumerate(payloads):
        address = b"\xfd" + number.to_bytes(15, "big")
        block.append(Datagram(0, address, 1, 2055, payload))
        if len(block) == 2_000:
            yield block
            block = []
    if block:
        yield block


def test_truncation_at_any_octet_is_survived() -> None:
    payloads = [d.payload for case_id in IDS for d in _datagrams(case_id)[:3]]
    cut = (payload[:end] for payload in payloads for end in range(0, len(payload), 3))
    count = 0
    for block in _apart(cut):
        decoded = Run(PATIENT).take(block_of(block))
        assert len({number for number, _ in decoded.counts}) == len(block)
        count += len(block)
    assert count > 20_000 or not IDS


def test_flipped_bits_are_survived() -> None:
    chance = random.Random(7)
    payloads = [d.payload for case_id in IDS for d in _datagrams(case_id)[:3]]

    def flipped() -> Iterator[bytes]:
        for payload in payloads:
            for _ in range(60):
                octets = bytearray(payload)
                for _ in range(chance.randrange(1, 4)):
                    octets[chance.randrange(min(len(octets), 400))] ^= 1 << chance.randrange(8)
                yield bytes(octets)

    for block in _apart(flipped()):
        run = Run(PATIENT)
        run.take(block_of(block))
        assert run.counts["datagrams"] == len(block)


def test_options_are_never_traffic() -> None:
    only_options = [
        c for c in IDS if _cases()[c]["option_records"] and not _cases()[c]["data_records"]
    ]
    assert len(only_options) >= 5 or not IDS
    for case_id in only_options:
        totals = _whole(case_id).totals
        assert all(totals[name] == 0 for name in totals), case_id
