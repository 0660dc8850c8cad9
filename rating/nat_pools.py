"""Public addresses that many subscribers share, and which ports of one are asked for together.

A pool is a row of topic `directory` (kind `nat_pool`), valid in [from, until); its `match` is the
JSON of `NatPool`. A pool with an inside prefix is *deterministic* (RFC 7422): outside address and
port follow from the inside address by a formula, no log needed. Whatever the formula leaves over,
and all of a pool without one, is cut into *cells* of `block_ports` ports; the events of the
NAT say who holds each. The cell is the `port_block` of a flow minute.
"""

from __future__ import annotations

import dataclasses
import json

import numpy as np
from numpy.typing import NDArray

from rating.accounting import Prefix
from rating.addresses import parse_prefix

NAT_POOL = "nat_pool"
PORTS = 1 << 16
PORT_PROTOCOLS = (6, 17, 33, 132, 136)
"""TCP, UDP, DCCP, SCTP and UDP-Lite: of others the port columns are no ports (ICMP: type, code)."""
SEQUENTIAL = "sequential"
_LENGTH_MIN = 64
"""Shortest prefix over 128 bits: an index then fits the low half of the address."""
_SIZE_SHIFT = 16
_PROTOCOL_SHIFT = 40

UInt64s = NDArray[np.uint64]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class NatPool:
    """Outside addresses and how their ports are given to inside addresses."""

    outside: str
    """Prefix of the public addresses."""
    first_port: int = 1024
    """First port that the NAT gives away."""
    last_port: int = 65_535
    """Last port that the NAT gives away."""
    block_ports: int = 512
    """Ports of a block, counted from first_port (of a formula: from behind its ports)."""
    inside: str = ""
    """Prefix of the inside addresses of a deterministic NAT; empty: only events tell."""
    ports_per_subscriber: int = 0
    """Ports that the formula gives to each inside address."""
    subscribers_per_address: int = 0
    """Inside addresses that share an outside one by formula; 0: as many as have room."""
    algorithm: str = SEQUENTIAL
    """How the formula goes: the first block to the first inside address, and so on."""

    @property
    def sharers(self) -> int:
        """How many inside addresses share an outside one by formula, 0 without a formula."""
        if not self.inside:
            return 0
        room = (self.last_port - self.first_port + 1) // self.ports_per_subscriber
        return self.subscribers_per_address or room

    @property
    def dynamic_from(self) -> int:
        """The first port that is not given by formula."""
        return self.first_port + self.sharers * self.ports_per_subscriber


def decode_pool(text: str) -> NatPool:
    """Return the pool of a `match`. Raises ValueError that says what is wrong with it."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a NAT pool is a JSON object: {error}") from None
    if not isinstance(given, dict):
        raise ValueError("a NAT pool is a JSON object")
    fields = {field.name: field for field in dataclasses.fields(NatPool)}
    for name, value in given.items():
        if name not in fields:
            raise ValueError(f"a NAT pool has no key {name!r}")
        kind = str if fields[name].type == "str" else int
        if type(value) is not kind:
            raise ValueError(f"{name}: expected {'text' if kind is str else 'a whole number'}")
    if "outside" not in given:
        raise ValueError("outside: missing")
    pool = NatPool(**given)
    problems = check_pool(pool)
    if problems:
        raise ValueError(problems[0])
    return pool


def encode_pool(pool: NatPool) -> str:
    """Return a pool as the JSON that `decode_pool` reads."""
    return json.dumps(dataclasses.asdict(pool), sort_keys=True)


def check_pool(pool: NatPool) -> list[str]:
    """Return one message per key that cannot work: the key and what was expected."""
    problems = []
    sizes: dict[str, int] = {}
    for name in ("outside", *(("inside",) if pool.inside else ())):
        text = getattr(pool, name)
        try:
            length = parse_prefix(text).length
        except ValueError:
            problems.append(f"{name}: {text!r}: expected a prefix such as 198.51.100.0/24")
            continue
        if length < _LENGTH_MIN:
            problems.append(f"{name}: {text!r}: expected a prefix of at most 2^64 addresses")
        sizes[name] = 1 << (128 - length)
    if not 0 <= pool.first_port <= pool.last_port < PORTS:
        problems.append("first_port, last_port: expected 0 <= first_port <= last_port <= 65535")
    if not 1 <= pool.block_ports <= PORTS:
        problems.append(f"block_ports = {pool.block_ports}: expected 1 to {PORTS}")
    if pool.algorithm != SEQUENTIAL:
        problems.append(f'algorithm = {pool.algorithm!r}: expected "{SEQUENTIAL}"')
    if problems:
        return problems
    return _check_formula(pool, sizes) if pool.inside else problems


def _check_formula(pool: NatPool, sizes: dict[str, int]) -> list[str]:
    """Return what is wrong with a formula whose other keys are sound."""
    ports = pool.last_port - pool.first_port + 1
    if not 1 <= pool.ports_per_subscriber <= ports:
        return [f"ports_per_subscriber = {pool.ports_per_subscriber}: expected 1 to {ports}"]
    room = ports // pool.ports_per_subscriber
    if not 0 <= pool.subscribers_per_address <= room:
        return [f"subscribers_per_address = {pool.subscribers_per_address}: expected 0 to {room}"]
    held = sizes["outside"] * pool.sharers
    if sizes["inside"] > held:
        return [f"inside: {pool.inside!r}: expected {held} addresses at most, what outside holds"]
    return []


# -- cells -----------------------------------------------------------------------------------------


def cell_of(first: int, size: int, protocol: int = 0) -> int:
    """Return the port_block of `size` ports from `first` on; protocol 0 stands for every one."""
    return protocol << _PROTOCOL_SHIFT | size << _SIZE_SHIFT | first


WHOLE = cell_of(0, PORTS)
"""The cell of flows without ports: only who holds all ports of the address can be theirs."""


def cell_parts(cells: Int64s) -> tuple[Int64s, Int64s, Int64s]:
    """Return first port, last port and protocol of cells."""
    first = cells & (PORTS - 1)
    size = (cells >> _SIZE_SHIFT) & ((1 << (_PROTOCOL_SHIFT - _SIZE_SHIFT)) - 1)
    return first, first + size - 1, cells >> _PROTOCOL_SHIFT


class CompiledPool:
    """A pool ready for columns of addresses and ports."""

    def __init__(self, pool: NatPool) -> None:
        """Take a pool that `check_pool` finds nothing wrong with."""
        self.pool = pool
        self.outside = parse_prefix(pool.outside)
        self._outside_low = _low(self.outside)
        self.dynamic_from = pool.dynamic_from
        if pool.inside:
            inside = parse_prefix(pool.inside)
            self._inside_high = int.from_bytes(inside.address[:8], "big")
            self._inside_low = _low(inside)
            self._inside_size = 1 << (128 - inside.length)

    def cells(self, port: Int64s, protocol: Int64s) -> Int64s:
        """Return the cell of each flow's own port, int64 [n].

        Ports below and above those that the NAT gives away are one cell each.
        """
        pool, low = self.pool, self.dynamic_from
        size = pool.block_ports
        first = low + (port - low) // size * size
        last = np.minimum(first + size - 1, pool.last_port)
        below, above = port < low, port > pool.last_port
        first = np.where(below, 0, np.where(above, pool.last_port + 1, first))
        last = np.where(below, low - 1, np.where(above, PORTS - 1, last))
        cells = (last - first + 1) << _SIZE_SHIFT | first
        if size == 1:
            cells |= protocol << _PROTOCOL_SHIFT
        return np.where(has_ports(protocol), cells, WHOLE)

    def inside_of(self, low: UInt64s, port: Int64s, protocol: Int64s) -> tuple[Bools, int, UInt64s]:
        """Return which flows the formula knows, and the inside address (high, low [n]).

        low is the low half of the outside address. A flow without ports has an inside address only
        where nobody shares the outside one.
        """
        pool = self.pool
        if not pool.inside:
            return np.zeros(len(low), np.bool_), 0, low
        place = (low - np.uint64(self._outside_low)).astype(np.int64)
        share = (port - pool.first_port) // pool.ports_per_subscriber
        inside_shares = (port >= pool.first_port) & (share < pool.sharers)
        with_ports = has_ports(protocol)
        if pool.sharers == 1 and self.dynamic_from > pool.last_port:
            share = np.where(with_ports, share, 0)
            known = inside_shares | ~with_ports
        else:
            known = inside_shares & with_ports
        index = place * pool.sharers + share
        known &= (place >= 0) & (index >= 0) & (index < self._inside_size)
        inside = np.uint64(self._inside_low) + np.where(known, index, 0).astype(np.uint64)
        return known, self._inside_high, inside

    def outside_of(self, address: bytes) -> tuple[bytes, int, int] | None:
        """Return outside address, first and last port of an inside address; None: not by formula.

        address has 16 octets.
        """
        if not self.pool.inside or int.from_bytes(address[:8], "big") != self._inside_high:
            return None
        index = int.from_bytes(address[8:], "big") - self._inside_low
        if not 0 <= index < self._inside_size:
            return None
        place, share = divmod(index, self.pool.sharers)
        first = self.pool.first_port + share * self.pool.ports_per_subscriber
        outside = self.outside.address[:8] + (self._outside_low + place).to_bytes(8, "big")
        return outside, first, first + self.pool.ports_per_subscriber - 1


def has_ports(protocol: Int64s) -> Bools:
    """Return which protocols have ports."""
    return np.isin(protocol, PORT_PROTOCOLS)


def _low(prefix: Prefix) -> int:
    return int.from_bytes(prefix.address[8:], "big")
