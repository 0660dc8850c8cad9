"""What `flowrate classify` says is what the stage decides, for any rules and flows."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.addresses import pack_address
from rating.asn_table import AS_TRANS, ASN_FILE, AsnTable, build_table
from rating.classes import (
    CLASS_RULE,
    Application,
    ClassRule,
    FarEnds,
    Rulebook,
    RuleEntry,
    encode_rule,
)
from rating.explaining import Asked, answers, winner_of

PREFIXES = (
    "0.0.0.0/0", "192.0.2.0/24", "192.0.2.128/25", "192.0.2.129/32", "198.51.0.0/16", "::/0",
    "2001:db8::/32", "2001:db8:0:1::/64", "2001:db8::80/121", "::ffff:0:0/96", "10.0.0.0/7",
)  # fmt: skip
ADDRESSES = (
    "192.0.2.1", "192.0.2.129", "192.0.2.130", "198.51.100.1", "203.0.113.9", "0.0.0.0",
    "2001:db8::1", "2001:db8::81", "2001:db8:0:1::1", "2001:db9::1", "::", "::c000:201",
    "11.255.255.255",
)  # fmt: skip
APPLICATIONS = (
    Application(), Application("13:480", ""), Application("13:480", "YouTube"),
    Application("", "ssl"), Application("3:80", "http"),
)  # fmt: skip
ASNS = (0, 64_500, 64_501, AS_TRANS)
DIGEST = "ab" * 32


class Files:
    def table(self, digest: str) -> AsnTable:
        assert digest == DIGEST
        v4 = int.from_bytes(pack_address("192.0.2.0")[12:], "big")
        v6 = int.from_bytes(pack_address("2001:db8::"), "big")
        return build_table([(v4, v4 + 127, 64_500)], [(v6, v6 + 128, 64_501)], {})


def some(values: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(values, max_size=2).map(tuple)


conditions = st.builds(
    ClassRule,
    prefixes=some(st.sampled_from(PREFIXES)),
    asns=some(st.sampled_from(ASNS)),
    protocols=some(st.sampled_from((6, 17))),
    ports=some(st.sampled_from(((443, 443), (0, 1023), (8000, 8099)))),
    dscps=some(st.sampled_from((0, 46))),
    applications=some(st.sampled_from(("13:480", "youtube", "SSL", "3:80", "x"))),
)
rules = st.lists(
    st.tuples(conditions, st.sampled_from(("cdn", "free", "unclassified")), st.integers(-1, 1)),
    max_size=8,
)
flows = st.lists(
    st.tuples(
        st.sampled_from(ADDRESSES),
        st.sampled_from(ASNS),
        st.sampled_from((443, 80, 8050, 65_535)),
        st.sampled_from((6, 17, 1)),
        st.sampled_from((0, 46, 10)),
        st.sampled_from(range(len(APPLICATIONS))),
    ),
    min_size=1,
    max_size=20,
)
Flow = tuple[str, int, int, int, int, int]


def columns(sent: list[Flow]) -> FarEnds:
    packed = b"".join(pack_address(address) for address, *_ in sent)
    halves = np.frombuffer(packed, ">u8").reshape(-1, 2).astype(np.uint64)
    asn, port, protocol, dscp, application = (
        np.array([flow[at] for flow in sent]) for at in range(1, 6)
    )
    return FarEnds(
        halves[:, 0],
        halves[:, 1],
        asn.astype(np.uint32),
        port.astype(np.uint16),
        protocol.astype(np.uint8),
        dscp.astype(np.uint8),
        application.astype(np.uint32),
        APPLICATIONS,
    )


@settings(max_examples=300, deadline=None)
@given(rules, flows, st.sampled_from(("", "unknown", "always")))
def test_classify_says_what_decode_decides(
    drawn: list[tuple[ClassRule, str, int]], sent: list[Flow], asks: str
) -> None:
    entries = [
        RuleEntry(f"{number}", 1, CLASS_RULE, encode_rule(rule), target, priority, 0, None)
        for number, (rule, target, priority) in enumerate(drawn)
    ]
    if asks:
        entries.append(RuleEntry("file", 1, ASN_FILE, DIGEST, asks, 0, 0, None))
    book = Rulebook(entries, Files())
    far = columns(sent)
    decided = [book.names[number] for number in book.classify(far).tolist()]
    asns = book.asns_of(far).tolist()
    for flow, asn, expected in zip(sent, asns, decided, strict=True):
        address, _, port, protocol, dscp, application = flow
        asked = Asked(pack_address(address), asn, port, protocol, dscp, APPLICATIONS[application])
        found = answers(book.entries(), asked)
        assert winner_of(found)[0] == expected
        assert all(not answer.open for answer in found)


@settings(max_examples=100, deadline=None)
@given(rules, flows)
def test_what_nobody_told_never_decides(
    drawn: list[tuple[ClassRule, str, int]], sent: list[Flow]
) -> None:
    """A rule that matches with less known also matches with all known, and one unmet stays so."""
    entries = [
        RuleEntry(f"{number}", 1, CLASS_RULE, encode_rule(rule), target, priority, 0, None)
        for number, (rule, target, priority) in enumerate(drawn)
    ]
    book = Rulebook(entries)
    for address, asn, port, protocol, dscp, application in sent:
        packed = pack_address(address)
        whole = Asked(packed, asn, port, protocol, dscp, APPLICATIONS[application])
        full = answers(book.entries(), whole)
        for field in ("asn", "port", "protocol", "dscp", "application"):
            partly = answers(book.entries(), Asked(**{**whole._asdict(), field: None}))
            assert [a.entry for a in partly] == [a.entry for a in full]
            for less, more in zip(partly, full, strict=True):
                assert set(less.unmet) <= set(more.unmet)
                assert more.matches or not less.matches
