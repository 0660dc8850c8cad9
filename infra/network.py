"""The network as settings: own prefixes, classes and NAT pools, kept in step with `directory`.

Stages look everything up at event time, so a change of settings is a change with a date: what was
removed ends, what is new begins, at the next whole minute. The first time, everything is valid
from the beginning.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Literal

from rating.asn_table import ASN_FILE
from rating.classes import ClassRule, decode_rule, encode_rule
from rating.nat_pools import NAT_POOL, NatPool, check_pool, encode_pool
from rating.records import DirectoryEntry

MINUTE_MS = 60_000

KINDS = ("own_prefix", "class_rule", NAT_POOL, ASN_FILE)
"""Kinds of directory rows that the settings of the network decide."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClassRuleConfig:
    """Traffic whose far end meets every condition that is set belongs to the class."""

    traffic_class: str
    """Name of the class, as plans weigh it."""
    prefixes: tuple[str, ...] = ()
    """The far end lies in one of these; of several rules the longest matching prefix wins."""
    asns: tuple[int, ...] = ()
    """The far end's AS number is one of these, as the flow or the AS file (asn_file) tells it."""
    protocols: tuple[int, ...] = ()
    """The IP protocol is one of these: 6 is TCP, 17 is UDP."""
    ports: tuple[str, ...] = ()
    """The far end's port lies in one of these ranges: "443", "8000-8099"."""
    dscps: tuple[int, ...] = ()
    """The differentiated services code point is one of these (RFC 2474)."""
    applications: tuple[str, ...] = ()
    """The exporter tells one of these applications: its id, "13:480" (engine and selector, RFC
    6759), or its name in any case, which is known once the exporter's options told it."""
    priority: int = 0
    """Rules of higher priority are asked first, before longer prefixes."""


@dataclasses.dataclass(frozen=True, slots=True)
class NatPoolConfig:
    """Outside addresses of a NAT, and who holds their ports: by its events, or by a formula."""

    outside: str
    """Prefix of the public addresses, "198.51.100.0/24"."""
    first_port: int = 1_024
    """First port that the NAT gives away."""
    last_port: int = 65_535
    """Last port that the NAT gives away."""
    block_ports: int = 512
    """Ports of a block as the NAT allocates them (or what divides all its sizes), counted from
    first_port; 1 where it logs session by session. Ports of a block across two holders are
    nobody's."""
    inside: str = ""
    """Prefix of the inside addresses of a deterministic NAT (RFC 7422); empty: events tell."""
    ports_per_subscriber: int = 0
    """Ports that each inside address has by the formula."""
    subscribers_per_address: int = 0
    """Inside addresses that share an outside one by the formula; 0: as many as have room. What
    ports are left then are blocks that events tell of."""
    algorithm: str = "sequential"
    """How the formula goes: "sequential" gives the first ports of the first address to the first
    inside address, and so on."""


@dataclasses.dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Whose addresses are ours, and which traffic counts as what."""

    own_prefixes: tuple[str, ...] = ()
    """Prefixes of subscribers: the end of a flow that lies here is the subscriber's."""
    class_rules: tuple[ClassRuleConfig, ...] = ()
    """Rules that give a flow its traffic class; what none matches is "unclassified"."""
    nat_pools: tuple[NatPoolConfig, ...] = ()
    """Public addresses that subscribers share behind a carrier-grade NAT."""
    asn_file: str = ""
    """File of AS numbers (MaxMind DB: GeoLite2-ASN, DB-IP, IPinfo), read at the start and by
    `flowrate network apply`, and in force from the next minute; empty: none. A relative path counts
    from the working directory."""
    asn_file_asked: Literal["unknown", "always"] = "unknown"
    """Where the flow tells no AS number (0, or 23456, which stands for a longer one), or "always",
    for exporters that tell the neighbour's in place of the origin's."""


def check(config: NetworkConfig) -> list[str]:
    """Return one message per prefix or rule that cannot work: the key and what was expected."""
    problems = [
        f"own_prefixes: {prefix!r}: expected a prefix such as 100.64.0.0/16"
        for prefix in config.own_prefixes
        if not _is_prefix(prefix)
    ]
    for number, rule in enumerate(config.class_rules):
        where = f"class_rules[{number}]"
        if not rule.traffic_class:
            problems.append(f"{where}.traffic_class: may not be empty")
        try:
            if encode_rule(_rule_of(rule)) == encode_rule(ClassRule()):
                problems.append(f"{where}: expected at least one condition (prefixes, asns, …)")
            decode_rule(encode_rule(_rule_of(rule)))
        except ValueError as error:
            problems.append(f"{where}: {error}")
    for number, nat_pool in enumerate(config.nat_pools):
        problems += [f"nat_pools[{number}].{found}" for found in check_pool(_pool_of(nat_pool))]
    return problems


def _pool_of(config: NatPoolConfig) -> NatPool:
    """Return the pool as the directory carries it."""
    return NatPool(**dataclasses.asdict(config))


def _rule_of(config: ClassRuleConfig) -> ClassRule:
    """Return the rule as the directory carries it. Raises ValueError for a bad port range."""
    ranges = []
    for text in config.ports:
        first, _, last = text.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            raise ValueError(f'ports: {text!r}: expected a port or a range, "8000-8099"')
        ranges.append((int(first), int(last or first)))
    return ClassRule(
        prefixes=config.prefixes,
        asns=config.asns,
        protocols=config.protocols,
        ports=tuple(ranges),
        dscps=config.dscps,
        applications=config.applications,
    )


def _is_prefix(text: str) -> bool:
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def wanted_entries(
    config: NetworkConfig, asn_digest: str = ""
) -> dict[str, tuple[str, str, str, int]]:
    """Return entry_id to (kind, match, target, priority) of what the settings say.

    asn_digest is of the AS file, empty where the settings name none.
    """
    wanted: dict[str, tuple[str, str, str, int]] = {}
    for prefix in config.own_prefixes:
        wanted[f"own_prefix:{prefix}"] = ("own_prefix", prefix, "", 0)
    for rule in config.class_rules:
        match = encode_rule(_rule_of(rule))
        entry_id = f"class_rule:{match}:{rule.traffic_class}:{rule.priority}"
        wanted[entry_id] = ("class_rule", match, rule.traffic_class, rule.priority)
    for nat_pool in config.nat_pools:
        match = encode_pool(_pool_of(nat_pool))
        wanted[f"nat_pool:{match}"] = (NAT_POOL, match, "", 0)
    if asn_digest:
        asked = config.asn_file_asked
        wanted[f"{ASN_FILE}:{asn_digest}:{asked}"] = (ASN_FILE, asn_digest, asked, 0)
    return wanted


def entries_to_write(
    config: NetworkConfig,
    standing: Mapping[str, DirectoryEntry],
    now_at: int,
    asn_digest: str = "",
) -> list[DirectoryEntry]:
    """Return the directory rows that bring what stands to what the settings say.

    standing maps entry_id to the newest row of KINDS; now_at is ms; asn_digest as
    `wanted_entries`.
    """
    wanted = wanted_entries(config, asn_digest)
    minute_at = (now_at // MINUTE_MS + 1) * MINUTE_MS
    begin_at = minute_at if standing else 0
    rows: list[DirectoryEntry] = []
    for entry_id, (kind, match, target, priority) in wanted.items():
        old = standing.get(entry_id)
        if old is None:
            rows.append(DirectoryEntry(entry_id, 1, kind, match, target, priority, begin_at, None))
        elif old.valid_until_at is not None:
            # It comes back under an id of its own: the gap between stays a gap.
            again = f"{entry_id}@{minute_at}"
            if not any(
                e.match == match and e.target == target and e.valid_until_at is None
                for e in standing.values()
            ):
                rows.append(
                    DirectoryEntry(again, 1, kind, match, target, priority, minute_at, None)
                )
    for entry_id, old in standing.items():
        if entry_id.partition("@")[0] not in wanted and old.valid_until_at is None:
            rows.append(
                dataclasses.replace(old, revision=old.revision + 1, valid_until_at=minute_at)
            )
    return rows
