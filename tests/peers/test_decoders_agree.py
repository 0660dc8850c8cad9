"""nfdump, nfacctd, goflow2 and tshark read what we read: every case of the corpus and generated
traffic, in records, octets and packets, and by 5-tuple.

Where one of them disagrees, DISAGREEMENTS says what it finds and why (decision 0134); that is
asserted too, so that a change of either side is noticed. Data records are compared, not flows: a
record without a counter is one to all decoders. nfdump multiplies by the sampling rate: it is held
against our scaled figures, the others against the exported ones.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from collectors.datagrams import Datagram
from rating.addresses import format_address
from tests.benchmarks.flow_traffic import PROTOCOLS, Shape, generate
from tests.collectors.netflow.driver import Run, run_of
from tests.golden.test_flows import IDS, _datagrams
from tests.peers.peer_decoders import (
    DECODERS,
    BySource,
    Export,
    FiveTuple,
    Found,
    source_of,
)

_ICMP = (1, 58)
_SCALES = frozenset({"nfdump"})
"""Decoders whose figures are multiplied by the sampling rate."""
_SHOWS_OPTIONS = frozenset({"tshark"})
"""Decoders that show an option record as they show any other."""
_SPLIT_ICMP = frozenset({"nfdump"})
"""Decoders that keep type and code of ICMP elsewhere than in the port."""

Sums = tuple[int, int, int]
"""Data records, octets, packets."""

_OBEYS_COUNT = "stops after the 2 flowsets that the header announces; there are 6"
_TRUSTS_COUNT = "makes as many records as the header of NetFlow v5 announces; there are 30"
_SHOWS_WHAT_FITS = "shows the records that fit, although the header announces more"
_NO_TOTALS = "does not read totals (85/86)"
_NO_INITIATOR = "does not read initiatorOctets and responderOctets (231/232)"
_DROPS_DATAGRAM = "drops a datagram of which one set has no template, its other sets too"

DISAGREEMENTS: Mapping[tuple[str, str], tuple[Sums, str]] = {
    ("nfdump", "logstash/netflow9_test_invalid01"): (
        (2, 194, 2), "takes no rate from options whose scope has length 0",
    ),
    ("nfacctd", "logstash/netflow9_test_cisco_asa_2"): ((19, 0, 0), _NO_INITIATOR),
    ("nfacctd", "logstash/netflow9_test_cisco_wlc"): (
        (0, 0, 0), "makes nothing of records without IP addresses",
    ),
    ("nfacctd", "logstash/netflow9_test_invalid01"): ((0, 0, 0), _OBEYS_COUNT),
    ("nfacctd", "pmacct/106"): (
        (2, 142_341, 614), "1.7.7 leaves out the second record of template 6017; later ones do not",
    ),
    ("nfacctd", "telegraf/ipfix_example"): (
        (27, 110_656, 452), "leaves out the records that end in structured data",
    ),
    ("goflow2", "logstash/ipfix"): ((6, 2_716, 12), _DROPS_DATAGRAM),
    ("goflow2", "logstash/ipfix_test_netscaler"): ((0, 0, 0), _DROPS_DATAGRAM),
    ("goflow2", "logstash/ipfix_test_yaf"): ((2, 0, 0), _NO_TOTALS),
    ("goflow2", "logstash/netflow5_test_invalid01"): (
        (55_582, 3_685_383_960, 529_620), _TRUSTS_COUNT,
    ),
    ("goflow2", "logstash/netflow5_test_invalid02"): (
        (163, 7_452_936_707, 8_336_652_083), _TRUSTS_COUNT,
    ),
    ("goflow2", "logstash/netflow9_test_0length_fields_tpl"): (
        (10, 96, 3), "adds IE 23 to where IE 1 is present and 0",
    ),
    ("goflow2", "logstash/netflow9_test_cisco_asa_1"): ((14, 0, 0), _NO_TOTALS),
    ("goflow2", "logstash/netflow9_test_cisco_asa_2"): ((19, 0, 0), _NO_INITIATOR),
    ("goflow2", "logstash/netflow9_test_fortigate_fortios_521"): (
        (1, 0, 0), "takes IE 23, which is 0, after IE 1, which is not",
    ),
    ("goflow2", "logstash/netflow9_test_invalid01"): ((0, 0, 0), _OBEYS_COUNT),
    ("goflow2", "logstash/netflow9_test_iptnetflow_reduced_size_encoding_tpldata260"): (
        (0, 0, 0), _DROPS_DATAGRAM,
    ),
    ("goflow2", "telegraf/ipfix_example"): ((29, 0, 0), _NO_TOTALS),
    ("tshark", "logstash/netflow5_test_invalid01"): (
        (30, 3_685_383_960, 529_620), _SHOWS_WHAT_FITS,
    ),
    ("tshark", "logstash/netflow5_test_invalid02"): (
        (30, 7_452_936_707, 8_336_652_083), _SHOWS_WHAT_FITS,
    ),
    ("tshark", "logstash/netflow9_test_h3c"): (
        (1, 1_027_087, 697), "gives up at an address of 2 octets and leaves the other 15 records",
    ),
    ("tshark", "logstash/netflow9_test_invalid01"): ((0, 0, 0), _OBEYS_COUNT),
    **{
        (decoder, "logstash/ipfix_test_procera"): (
            (8, 0, 0), "reads none of Procera's own elements (15397/3 and 4), the only counters",
        )
        for decoder in ("nfdump", "nfacctd", "goflow2", "tshark")
    },
}  # fmt: skip
"""(decoder, case) -> what it finds there instead of what we find, and why."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ours:
    """What our decoder makes of a case: exported and scaled, and how many option records."""

    exported: Found
    scaled: Found
    option_records: int


def ours(run: Run) -> Ours:
    """Return a run's data records, sums and 5-tuples."""
    exported, scaled = Found(), Found()
    for decoded in run.flows:
        flows = decoded.flows
        ends = [
            np.stack([high, low], axis=1).astype(">u8").tobytes()
            for high, low in (
                (flows.source_high, flows.source_low),
                (flows.destination_high, flows.destination_low),
            )
        ]
        counts = (
            flows.octets,
            flows.packets,
            flows.scaled(flows.octets),
            flows.scaled(flows.packets),
        )
        numbers = zip(*(each.tolist() for each in counts), strict=True)
        for i, (octets, packets, all_octets, all_packets) in enumerate(numbers):
            source, destination = (format_address(end[16 * i : 16 * i + 16]) for end in ends)
            ports = (int(flows.source_port[i]), int(flows.destination_port[i]))
            key = (source, destination, *ports, int(flows.protocol[i]))
            exported.add(key, octets, packets)
            scaled.add(key, all_octets, all_packets)
    exported.flows = scaled.flows = run.counts["data_records"]
    return Ours(exported, scaled, run.counts["option_records"])


@functools.cache
def cases() -> Mapping[str, Sequence[Datagram]]:
    """Return the corpus' cases, and generated traffic of three protocols."""
    made = {
        f"generated/{protocol}": generate(
            Shape(protocol=protocol, flows=4_800, exporters=3, templates=15, layouts=5, refresh=20)
        )
        for protocol in PROTOCOLS
    }
    generated = {name: [t.datagram(n) for n in range(len(t))] for name, t in made.items()}
    return {**{case: list(_datagrams(case)) for case in IDS}, **generated}


@functools.cache
def expected(case: str) -> Ours:
    """Return what we find in a case."""
    return ours(run_of(cases()[case]))


@functools.cache
def exports() -> tuple[Sequence[Export], Mapping[str, str]]:
    """Return all datagrams, each exporter under an address of its own, and whose case that is."""
    sent: list[Export] = []
    case_of: dict[str, str] = {}
    for case, datagrams in cases().items():
        sources: dict[bytes, str] = {}
        for datagram in datagrams:
            source = sources.setdefault(datagram.source_address, source_of(len(case_of)))
            case_of[source] = case
            sent.append(Export(source, datagram.payload))
    return sent, case_of


@pytest.fixture(scope="module", params=sorted(DECODERS))
def told(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Mapping[str, Found]]:
    """Have a decoder take all cases at once; yield its name and what it found in each."""
    decoder: str = request.param
    sent, case_of = exports()
    found: BySource = DECODERS[decoder](sent, tmp_path_factory.mktemp(decoder))
    by_case: dict[str, Found] = {}
    for source, part in found.items():
        whole = by_case.setdefault(case_of[source], Found())
        whole.add(None, part.octets, part.packets, part.flows)
        for key, (octets, packets) in part.tuples.items():
            before = whole.tuples.get(key, (0, 0))
            whole.tuples[key] = (before[0] + octets, before[1] + packets)
    return decoder, by_case


def comparable(
    decoder: str, tuples: Mapping[FiveTuple, tuple[int, int]]
) -> Mapping[FiveTuple, Sums]:
    """Return what can be compared: what has addresses and a counter.

    Of ICMP no port, where the decoder has type and code elsewhere.
    """
    found: dict[FiveTuple, Sums] = {}
    for key, (octets, packets) in tuples.items():
        source, destination, *_, protocol = key
        if {source, destination} <= {"::", "0.0.0.0"} or not octets + packets:
            continue
        if decoder in _SPLIT_ICMP and protocol in _ICMP:
            key = (source, destination, 0, 0, protocol)
        before = found.get(key, (0, 0, 0))
        found[key] = (0, before[1] + octets, before[2] + packets)
    return found


@pytest.mark.parametrize("case", sorted(cases()))
def test_a_decoder_finds_what_we_find(told: tuple[str, Mapping[str, Found]], case: str) -> None:
    decoder, by_case = told
    mine = expected(case)
    found = mine.scaled if decoder in _SCALES else mine.exported
    theirs = by_case.get(case, Found())
    records, octets, packets = found.sums
    records += mine.option_records if decoder in _SHOWS_OPTIONS else 0
    known = DISAGREEMENTS.get((decoder, case))
    if known is not None:
        assert theirs.sums == known[0], known[1]
        assert theirs.sums != (records, octets, packets), "they agree: take it off the list"
        return
    assert theirs.sums == (records, octets, packets)
    assert comparable(decoder, theirs.tuples) == comparable(decoder, found.tuples)


def test_at_least_three_decoders_agree_on_every_case() -> None:
    """Ours and two others; nowhere is ours alone."""
    for case in cases():
        others = len(DECODERS) - sum(name == case for _, name in DISAGREEMENTS)
        assert others >= 2 or case in AGREE_IN_PARTS, case


AGREE_IN_PARTS = frozenset({"logstash/netflow9_test_invalid01", "logstash/ipfix_test_procera"})
"""What is ours alone (0134): that the announced rate counts, and that a vendor's octets do."""
