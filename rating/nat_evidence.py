"""What speaks for somebody having held a port of an outside address at an instant.

The stage translate asks minute by minute; this answers who asks about one instant, also of long
ago: a clerk, or the police. Events and formula are told apart, since they prove different things.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from rating.addresses import format_prefix
from rating.nat_pools import CompiledPool, has_ports
from rating.ports import StateView
from rating.translations import Rows, address_key, past_key, read_rows

EVENT, FORMULA = "event", "formula"
_MINUTE_MS = 60_000


class Lent(NamedTuple):
    """Ports of an outside address that an inside one held; addresses are 16 octets.

    evidence is EVENT (since_at to until_at, last told at seen_at, ms) or FORMULA (of the pool that
    `pool` names; all three are None). protocol 0 is every one. is_certain says that it held at the
    instant asked for, not only at another of its minute.
    """

    outside: bytes
    first_port: int
    last_port: int
    port_step: int
    protocol: int
    inside: bytes
    evidence: str
    pool: str
    since_at: int | None
    seen_at: int | None
    until_at: int | None
    is_certain: bool


class Question(NamedTuple):
    """What is asked: port None is any, protocol 0 is any; at_ms is an instant."""

    port: int | None
    protocol: int
    at_ms: int


def by_formula(pool: CompiledPool, outside: bytes, asked: Question) -> list[Lent]:
    """Return who held ports of an outside address by a pool's formula, at most one with a port."""
    if not pool.pool.inside:
        return []
    name = format_prefix(pool.outside.address, pool.outside.length)
    low = np.array([int.from_bytes(outside[8:], "big")], np.uint64)
    size = pool.pool.ports_per_subscriber
    starts = range(pool.pool.first_port, pool.dynamic_from, size)
    firsts = list(starts) if asked.port is None else [asked.port]
    found = []
    for port in firsts:
        protocol = asked.protocol or 6
        known, high, inside = pool.inside_of(low, np.array([port]), np.array([protocol]))
        if known[0]:
            address = high.to_bytes(8, "big") + int(inside[0]).to_bytes(8, "big")
            ends = pool.outside_of(address)
            assert ends is not None, "the formula has an inverse"
            found.append(Lent(*ends, 1, 0, address, FORMULA, name, None, None, None, True))
    return found


def outside_by_formula(pool: CompiledPool, inside: bytes) -> list[Lent]:
    """Return the ports that a pool's formula gives to an inside address."""
    ends = pool.outside_of(inside)
    name = format_prefix(pool.outside.address, pool.outside.length)
    if ends is None:
        return []
    return [Lent(*ends, 1, 0, inside, FORMULA, name, None, None, None, True)]


def by_events(view: StateView, outside: bytes, asked: Question, pool: str) -> list[Lent]:
    """Return who held ports of an outside address by its NAT's events, the latest begun first.

    view is the state of the stage translate. An allocation that held only at another instant of the
    minute is told too, not as certain; one to a routing instance of others has an inside of zeros.
    """
    key = address_key(outside)
    bodies = [view.get("translations", key) or b""]
    start_at = asked.at_ms // _MINUTE_MS * _MINUTE_MS
    past = view.scan("translations_past", past_key(key, start_at), f"{key}0")
    bodies += [body for _, body in past]
    found = [lent for body in bodies for lent in _matching(read_rows(body), outside, asked, pool)]
    return _in_order(found)


def outside_by_events(view: StateView, inside: bytes, at_ms: int) -> list[Lent]:
    """Return the ports that an inside address held by events, of one task's whole state."""
    asked = Question(None, 0, at_ms)
    start_at = at_ms // _MINUTE_MS * _MINUTE_MS
    found = []
    for collection in ("translations", "translations_past"):
        for key, body in view.scan(collection):
            address, _, hour = key.partition("/")
            if hour and key < past_key(address, start_at):
                continue
            told = _matching(read_rows(body), bytes.fromhex(address), asked, "", inside)
            found += list(told)
    return _in_order(found)


def _in_order(found: list[Lent]) -> list[Lent]:
    """Return what was found, certain ones first, then the latest begun, each once."""
    return sorted(set(found), key=lambda lent: (not lent.is_certain, -(lent.since_at or 0), lent))


def _matching(
    rows: Rows, outside: bytes, asked: Question, pool: str, inside: bytes | None = None
) -> Iterator[Lent]:
    """Yield the allocations among rows that held in the minute asked for."""
    start_at = asked.at_ms // _MINUTE_MS * _MINUTE_MS
    holds = (rows["is_release"] == 0) & (rows["at"] < start_at + _MINUTE_MS)
    holds &= (rows["until_at"] > start_at) & (rows["until_at"] > rows["at"])
    if asked.port is not None:
        first, step = rows["first"].astype(np.int64), rows["step"].astype(np.int64)
        holds &= (first <= asked.port) & (rows["last"] >= asked.port)
        holds &= (asked.port - first) % np.maximum(step, 1) == 0
    if asked.protocol:
        holds &= (rows["protocol"] == 0) | (rows["protocol"] == asked.protocol)
    if asked.protocol and not has_ports(np.array([asked.protocol]))[0]:
        holds &= (rows["first"] == 0) & (rows["last"] == 65_535) & (rows["step"] == 1)
    if inside is not None:
        holds &= rows["inside_hi"] == int.from_bytes(inside[:8], "big")
        holds &= rows["inside_lo"] == int.from_bytes(inside[8:], "big")
    for row in rows[holds]:
        since_at, until_at = int(row["at"]), int(row["until_at"])
        address = int(row["inside_hi"]) << 64 | int(row["inside_lo"])
        yield Lent(
            outside, int(row["first"]), int(row["last"]), int(row["step"]), int(row["protocol"]),
            address.to_bytes(16, "big"), EVENT, pool, since_at, int(row["seen_at"]), until_at,
            since_at <= asked.at_ms < until_at,
        )  # fmt: skip
