"""Why a flow gets its class: every rule that is asked, in order, and what it says. For people.

One flow at a time and rule by rule, in plain Python: an account of `rating.classes` that shares
none of its tables, and that a test holds against them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

from rating.addresses import parse_prefix
from rating.classes import Application, ClassRule, RuleEntry
from rating.records import UNCLASSIFIED

_V4_MAPPED = 0xFFFF
_V4_LENGTH = 96


class Asked(NamedTuple):
    """What is known of a flow's far end; None is what nobody told, and may be anything.

    address is 16 octets; asn is what holds, from the flow or from the AS file.
    """

    address: bytes
    asn: int | None = None
    port: int | None = None
    protocol: int | None = None
    dscp: int | None = None
    application: Application | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What one rule says: it matches where nothing is unmet and nothing is open.

    prefix is the longest of its prefixes that covers the address, "" where it asks for none. unmet
    and open name conditions: those that are not met, and those about what nobody told.
    """

    entry: RuleEntry
    prefix: str
    unmet: tuple[str, ...]
    open: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """Return whether the flow meets the rule for certain."""
        return not self.unmet and not self.open


def answers(rules: Iterable[tuple[RuleEntry, ClassRule]], asked: Asked) -> list[Answer]:
    """Return what each rule says whose prefixes cover the address, in the order of asking.

    That is by priority, then the longest prefix (none comes last), then the entry_id.
    """
    ranked = []
    for entry, rule in rules:
        prefix, length = _longest(rule, asked.address)
        if rule.prefixes and not prefix:
            continue
        unmet, unknown = _conditions(rule, asked)
        ranked.append(
            ((-entry.priority, -length, entry.entry_id), Answer(entry, prefix, unmet, unknown))
        )
    return [answer for _, answer in sorted(ranked, key=lambda item: item[0])]


def winner_of(found: Iterable[Answer]) -> tuple[str, Answer | None]:
    """Return the class of the first rule that matches, and its answer; None: no rule does."""
    first = next((answer for answer in found if answer.matches), None)
    return (first.entry.target, first) if first else (UNCLASSIFIED, None)


def _longest(rule: ClassRule, address: bytes) -> tuple[str, int]:
    """Return the longest prefix of a rule that covers an address, and its length; -1: none."""
    best, length = "", -1
    for text in rule.prefixes:
        prefix = parse_prefix(text)
        if prefix.length > length and _covers(prefix.address, prefix.length, address):
            best, length = text, prefix.length
    return best, length


def _covers(network: bytes, length: int, address: bytes) -> bool:
    """Return whether a prefix covers an address; an IPv6 prefix covers no IPv4 address."""
    whole, inside = int.from_bytes(network, "big"), int.from_bytes(address, "big")
    of_v4 = length >= _V4_LENGTH and whole >> 32 == _V4_MAPPED
    if of_v4 != (inside >> 32 == _V4_MAPPED):
        return False
    shift = 128 - length
    return whole >> shift == inside >> shift


def _conditions(rule: ClassRule, asked: Asked) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the conditions besides the prefix that are not met, and those that are open."""
    ports = tuple(f"{first}-{last}" if first < last else f"{first}" for first, last in rule.ports)
    in_ports = asked.port is not None and any(a <= asked.port <= b for a, b in rule.ports)
    told = asked.application
    texts = [text.casefold() for text in rule.applications]
    is_application = told is not None and (told.id in texts or told.name.casefold() in texts)
    checks = (
        ("AS", rule.asns, asked.asn, asked.asn in rule.asns),
        ("protocol", rule.protocols, asked.protocol, asked.protocol in rule.protocols),
        ("port", ports, asked.port, in_ports),
        ("DSCP", rule.dscps, asked.dscp, asked.dscp in rule.dscps),
        ("application", rule.applications, told, is_application),
    )
    unmet, unknown = [], []
    for name, wanted, value, is_met in checks:
        text = f"{name} {' or '.join(map(str, wanted))}"
        if wanted and value is None:
            unknown.append(text)
        elif wanted and not is_met:
            unmet.append(text)
    return tuple(unmet), tuple(unknown)
