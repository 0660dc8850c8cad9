"""Own prefixes and class rules: longest prefix, priority, and what is valid when."""

from __future__ import annotations

import ipaddress
import random

import numpy as np
import pytest

from rating.accounting import Prefix
from rating.addresses import pack_address, parse_prefix
from rating.classes import (
    CLASS_RULE,
    OWN_PREFIX,
    ClassRule,
    FarEnds,
    Rulebook,
    RuleEntry,
    Rules,
    decode_rule,
    encode_rule,
)
from rating.prefix_table import PrefixTable


def halves(addresses: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.frombuffer(b"".join(addresses), ">u8").reshape(-1, 2).astype(np.uint64)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def rule(
    entry_id: str, target: str, conditions: ClassRule, priority: int = 0,
    since: int = 0, until: int | None = None,
) -> RuleEntry:  # fmt: skip
    match = encode_rule(conditions)
    return RuleEntry(entry_id, 1, CLASS_RULE, match, target, priority, since, until)


def own(entry_id: str, prefix: str, since: int = 0, until: int | None = None) -> RuleEntry:
    return RuleEntry(entry_id, 1, OWN_PREFIX, prefix, "", 0, since, until)


def ends(
    addresses: list[str], *, asn: int = 0, port: int = 443, protocol: int = 6, dscp: int = 0
) -> FarEnds:
    n = len(addresses)
    high, low = halves([pack_address(text) for text in addresses])
    return FarEnds(
        high=high,
        low=low,
        asn=np.full(n, asn, np.uint32),
        port=np.full(n, port, np.uint16),
        protocol=np.full(n, protocol, np.uint8),
        dscp=np.full(n, dscp, np.uint8),
        application=np.zeros(n, np.uint32),
    )


def classes(book: Rulebook, flows: FarEnds) -> list[str]:
    return [book.names[index] for index in book.classify(flows)]


def _random_prefix(chance: random.Random) -> Prefix:
    if chance.random() < 0.5:
        address = chance.choice((0x0A000000, 0xC0000200, 0)) + chance.getrandbits(10)
        length = chance.choice((0, 1, 8, 20, 24, 25, 30, 31, 32))
        return parse_prefix(f"{ipaddress.IPv4Address(address)}/{length}")
    base = chance.choice((0x20010DB8 << 96, 0, 0xFFFF << 32, 0xFE80 << 112))
    address = base + chance.choice((chance.getrandbits(8), chance.getrandbits(8) << 64))
    length = chance.choice((0, 1, 32, 48, 63, 64, 65, 100, 126, 127, 128))
    network = ipaddress.IPv6Network((address, length), strict=False)
    return Prefix(network.network_address.packed, length)


def _covers(prefix: Prefix, address: bytes) -> bool:
    is_v4 = address.startswith(b"\0" * 10 + b"\xff\xff")
    whole, inside = int.from_bytes(prefix.address, "big"), int.from_bytes(address, "big")
    of_v4 = prefix.length >= 96 and prefix.address.startswith(b"\0" * 10 + b"\xff\xff")
    shift = 128 - prefix.length
    return of_v4 == is_v4 and whole >> shift == inside >> shift


def test_the_table_agrees_with_looking_at_every_prefix() -> None:
    chance = random.Random(1)
    for _ in range(150):
        prefixes = [_random_prefix(chance) for _ in range(chance.randrange(12))]
        table = PrefixTable(prefixes)
        addresses: list[bytes] = []
        for prefix in prefixes or [parse_prefix("::/0")]:
            first = int.from_bytes(prefix.address, "big")
            last = first + (1 << 128 - prefix.length) - 1
            for number in (first - 1, first, first + 1, last - 1, last, last + 1):
                addresses.append((number % (1 << 128)).to_bytes(16, "big"))
        addresses += [chance.randbytes(16) for _ in range(5)]
        for address, piece in zip(addresses, table.find(*halves(addresses)), strict=True):
            expected = [i for i, prefix in enumerate(prefixes) if _covers(prefix, address)]
            expected.sort(key=lambda i: (-prefixes[i].length, i))
            assert list(table.pieces[piece]) == expected


def test_own_prefixes_of_both_families() -> None:
    book = Rulebook([own("a", "10.0.0.0/8"), own("b", "2001:db8::/32"), own("c", "nonsense")])
    texts = ["10.255.0.1", "11.0.0.0", "2001:db8:ffff::1", "2001:db9::", "::", "::a00:1"]
    assert book.is_own(*halves([pack_address(t) for t in texts])).tolist() == [
        True, False, True, False, False, False,
    ]  # fmt: skip


def test_the_longest_prefix_wins_among_rules_of_one_priority() -> None:
    book = Rulebook(
        [
            rule("1", "international", ClassRule(prefixes=("0.0.0.0/0", "::/0"))),
            rule("2", "exchange", ClassRule(prefixes=("198.51.0.0/16",))),
            rule("3", "cdn", ClassRule(prefixes=("198.51.100.0/24", "2001:db8::/48"))),
        ]
    )
    texts = ["198.51.100.7", "198.51.101.7", "8.8.8.8", "2001:db8::1", "2001:db8:1::1"]
    expected = ["cdn", "exchange", "international", "cdn", "international"]
    assert classes(book, ends(texts)) == expected


def test_priority_goes_before_the_length_and_entry_id_breaks_the_tie() -> None:
    book = Rulebook(
        [
            rule("2", "second", ClassRule(prefixes=("192.0.2.0/24",))),
            rule("1", "first", ClassRule(prefixes=("192.0.2.0/24",))),
            rule("3", "free", ClassRule(ports=((53, 53),)), priority=5),
        ]
    )
    assert classes(book, ends(["192.0.2.1"])) == ["first"]
    assert classes(book, ends(["192.0.2.1"], port=53)) == ["free"]


@pytest.mark.parametrize(
    ("conditions", "met", "unmet"),
    [
        (ClassRule(asns=(64_500, 64_501)), {"asn": 64_501}, {"asn": 64_502}),
        (ClassRule(protocols=(17,)), {"protocol": 17}, {"protocol": 6}),
        (ClassRule(ports=((5_000, 5_010),)), {"port": 5_010}, {"port": 5_011}),
        (ClassRule(dscps=(46,)), {"dscp": 46}, {"dscp": 0}),
        (
            ClassRule(protocols=(17,), ports=((443, 443),)),
            {"protocol": 17, "port": 443},
            {"protocol": 17, "port": 80},
        ),
    ],
)
def test_each_condition(conditions: ClassRule, met: dict[str, int], unmet: dict[str, int]) -> None:
    book = Rulebook([rule("1", "hit", conditions)])
    assert classes(book, ends(["192.0.2.1", "2001:db8::1"], **met)) == ["hit", "hit"]
    assert classes(book, ends(["192.0.2.1"], **unmet)) == ["unclassified"]


def test_a_rule_that_is_not_met_leaves_the_flow_to_the_next() -> None:
    book = Rulebook(
        [
            rule("1", "quic", ClassRule(prefixes=("192.0.2.0/24",), protocols=(17,))),
            rule("2", "cdn", ClassRule(prefixes=("192.0.0.0/16",))),
        ]
    )
    assert classes(book, ends(["192.0.2.1"], protocol=6)) == ["cdn"]


def test_rules_hold_from_until() -> None:
    rules = Rules(
        [
            own("p", "10.0.0.0/8"),
            rule("1", "free", ClassRule(prefixes=("192.0.2.0/24",)), since=60_000, until=120_000),
        ]
    )
    at = np.array([59_999, 60_000, 119_999, 120_000])
    epochs = rules.epochs(at).tolist()
    names = [classes(rules.book(epoch), ends(["192.0.2.1"]))[0] for epoch in epochs]
    assert names == ["unclassified", "free", "free", "unclassified"]
    assert rules.book(rules.epochs(np.array([-1]))[0]).is_own(*halves([bytes(16)])).tolist() == [
        False
    ]


def test_rules_as_json_come_back() -> None:
    conditions = ClassRule(("192.0.2.0/24",), (1,), (6, 17), ((80, 443),), (46,))
    assert decode_rule(encode_rule(conditions)) == conditions
    assert decode_rule("{}") == ClassRule()


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "nonsense", '{"prefix": []}', '{"prefixes": "10.0.0.0/8"}',
        '{"prefixes": ["10.0.0.0/33"]}', '{"ports": [443]}', '{"ports": [[443, 80]]}',
        '{"asns": [true]}', '{"protocols": [256]}', '{"dscps": [64]}', '{"asns": [-1]}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_wrong_rules_are_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        decode_rule(text)
