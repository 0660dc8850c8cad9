"""Own prefixes and traffic classes: which end of a flow is a subscriber's, and what the flow is.

They come as rows of topic `directory` (kinds `own_prefix`, `class_rule` and `asn_file`), each valid
in [from, until); outside addresses of a NAT (`nat_pool`, see `rating.nat_pools`) are own as well. A
rule's `match` is the JSON of `ClassRule`; of the rules that match a flow the greatest priority
wins, then the longest prefix, then the least entry_id. No rule: `unclassified`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rating.accounting import Prefix
from rating.addresses import parse_prefix
from rating.asn_table import AS_TRANS, ASN_FILE, UNKNOWN, AsnTables, NoAsnTables, is_asn_file
from rating.nat_pools import NAT_POOL, CompiledPool, decode_pool
from rating.prefix_table import PrefixTable
from rating.records import UNCLASSIFIED

OWN_PREFIX = "own_prefix"
CLASS_RULE = "class_rule"
_NO_TABLES = NoAsnTables()

UInt64s = NDArray[np.uint64]
Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, slots=True)
class ClassRule:
    """Conditions on the far end of a flow; each list is "any of", an empty one asks nothing.

    As JSON: ``{"prefixes": ["192.0.2.0/24"], "protocols": [17], "ports": [[443, 443]]}``.
    """

    prefixes: tuple[str, ...] = ()
    """Prefixes of the far end's address."""
    asns: tuple[int, ...] = ()
    """Autonomous system numbers of the far end, as the exporter or the AS file knows them."""
    protocols: tuple[int, ...] = ()
    """IP protocol numbers: 6 is TCP, 17 is UDP."""
    ports: tuple[tuple[int, int], ...] = ()
    """Ranges of the far end's port, both bounds included."""
    dscps: tuple[int, ...] = ()
    """Differentiated services code points, 0 to 63 (RFC 2474 §3)."""
    applications: tuple[str, ...] = ()
    """Applications as the exporter tells them, by id (``13:480``, RFC 6759) or by name."""


def decode_rule(text: str) -> ClassRule:
    """Return the rule of a `match`. Raises ValueError that says what is wrong with it."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a class rule is a JSON object: {error}") from None
    if not isinstance(given, dict):
        raise ValueError("a class rule is a JSON object")
    unknown = sorted(set(given) - {field.name for field in dataclasses.fields(ClassRule)})
    if unknown:
        raise ValueError(f"a class rule has no key {unknown[0]!r}")
    prefixes = given.get("prefixes", [])
    if not isinstance(prefixes, list) or not all(isinstance(text, str) for text in prefixes):
        raise ValueError("prefixes: expected a list of prefixes")
    for prefix in prefixes:
        parse_prefix(prefix)
    ports = given.get("ports", [])
    if not isinstance(ports, list) or not all(_is_range(pair) for pair in ports):
        raise ValueError("ports: expected a list of [first, last], each 0 to 65535")
    applications = given.get("applications", [])
    if not isinstance(applications, list) or not all(
        isinstance(text, str) and text for text in applications
    ):
        raise ValueError('applications: expected a list of ids, "13:480", or names')
    return ClassRule(
        prefixes=tuple(prefixes),
        asns=_numbers(given, "asns", (1 << 32) - 1),
        protocols=_numbers(given, "protocols", 255),
        ports=tuple((first, last) for first, last in ports),
        dscps=_numbers(given, "dscps", 63),
        applications=tuple(applications),
    )


def encode_rule(rule: ClassRule) -> str:
    """Return a rule as the JSON that `decode_rule` reads; conditions that ask nothing left out."""
    return json.dumps({k: v for k, v in dataclasses.asdict(rule).items() if v}, sort_keys=True)


def _is_range(pair: Any) -> bool:
    """Return whether this is [first, last] of ports."""
    return (
        isinstance(pair, list)
        and len(pair) == 2
        and all(type(port) is int for port in pair)
        and 0 <= pair[0] <= pair[1] <= 0xFFFF
    )


def _numbers(given: dict[str, Any], name: str, highest: int) -> tuple[int, ...]:
    """Return a list of whole numbers from 0 to highest; raises ValueError for anything else."""
    numbers = given.get(name, [])
    if not isinstance(numbers, list) or not all(
        type(number) is int and 0 <= number <= highest for number in numbers
    ):
        raise ValueError(f"{name}: expected a list of whole numbers from 0 to {highest}")
    return tuple(numbers)


@dataclasses.dataclass(frozen=True, slots=True)
class RuleEntry:
    """One standing row of the directory that decode looks up; as `records.DirectoryEntry`."""

    entry_id: str
    revision: int
    kind: str
    match: str
    target: str
    priority: int
    valid_from_at: int
    valid_until_at: int | None

    def holds_at(self, at: int) -> bool:
        """Return whether the entry is valid at an instant, ms."""
        return self.valid_from_at <= at and (
            self.valid_until_at is None or at < self.valid_until_at
        )


class Application(NamedTuple):
    """What an exporter says a flow is: engine and selector (RFC 6759 §4), and the name of it.

    Each is "" where it is not told.
    """

    id: str = ""
    name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class FarEnds:
    """What rules ask of flows, columns [n]: the far end, and the flow itself.

    application indexes applications, which is no column.
    """

    high: UInt64s
    low: UInt64s
    asn: NDArray[np.uint32]
    port: NDArray[np.uint16]
    protocol: NDArray[np.uint8]
    dscp: NDArray[np.uint8]
    application: NDArray[np.uint32]
    applications: Sequence[Application] = (Application(),)


class Rulebook:
    """The own prefixes, class rules and AS file that hold at one instant."""

    def __init__(self, entries: Iterable[RuleEntry], asn_tables: AsnTables = _NO_TABLES) -> None:
        """Compile the entries; what is no prefix or no rule is left out (the API refuses it)."""
        own: list[Prefix] = []
        self.pools: list[CompiledPool] = []
        self._asn_tables = asn_tables
        self.asn_file: RuleEntry | None = None
        """The file that holds: of several the greatest priority, then the latest."""
        self._rules: list[tuple[RuleEntry, ClassRule]] = []
        for entry in sorted(entries, key=lambda entry: entry.entry_id):
            try:
                if entry.kind == OWN_PREFIX:
                    own.append(parse_prefix(entry.match))
                elif entry.kind == CLASS_RULE:
                    self._rules.append((entry, decode_rule(entry.match)))
                elif entry.kind == NAT_POOL:
                    self.pools.append(CompiledPool(decode_pool(entry.match)))
                elif entry.kind == ASN_FILE and is_asn_file(entry.match, entry.target):
                    held: RuleEntry | None = self.asn_file
                    if held is None or _file_rank(entry) > _file_rank(held):
                        self.asn_file = entry
            except ValueError:
                continue
        self._asks_asn = any(rule.asns for _, rule in self._rules)
        outside = [pool.outside for pool in self.pools]
        self._own = PrefixTable([*own, *outside])
        self._outside = PrefixTable(outside)
        self._pool_of = np.array([next(iter(p), -1) for p in self._outside.pieces], np.int64)
        self._prefix_rules: list[int] = []
        prefixes: list[Prefix] = []
        for number, (_, rule) in enumerate(self._rules):
            for text in rule.prefixes:
                prefixes.append(parse_prefix(text))
                self._prefix_rules.append(number)
        self._lengths = [prefix.length for prefix in prefixes]
        self._far = PrefixTable(prefixes)
        names = sorted({entry.target for entry, _ in self._rules} - {UNCLASSIFIED})
        self.names: tuple[str, ...] = (UNCLASSIFIED, *names)
        self._index = {name: index for index, name in enumerate(self.names)}
        self._ranked: dict[int, tuple[int, ...]] = {}

    def is_own(self, high: UInt64s, low: UInt64s) -> Bools:
        """Return which addresses lie inside an own prefix, bool [n]."""
        return self._own.find(high, low) > 0

    def pool_of(self, high: UInt64s, low: UInt64s) -> Int64s:
        """Return the index in `pools` of the longest that each address lies in, -1 for none."""
        return self._pool_of[self._outside.find(high, low)]

    def classify(self, flows: FarEnds) -> Int64s:
        """Return the class of each flow as an index into `names`, int64 [n]."""
        classes = np.zeros(len(flows.high), np.int64)
        if not self._rules or not len(classes):
            return classes
        if self._asks_asn:
            flows = dataclasses.replace(flows, asn=self.asns_of(flows))
        piece = self._far.find(flows.high, flows.low)
        if len(self._far.pieces) < 1 << 16:
            piece = piece.astype(np.uint16)  # A stable sort of so short numbers looks at each once.
        order = np.argsort(piece, kind="stable")
        bounds = np.flatnonzero(np.diff(piece[order])) + 1
        for place in np.split(order, bounds):
            self._classify_piece(classes, place, flows, int(piece[place[0]]))
        return classes

    def asns_of(self, flows: FarEnds) -> NDArray[np.uint32]:
        """Return the AS number of each far end: what the flow tells, else the file, uint32 [n].

        LookupError where the file that holds is not there: the answer would be another one than
        that of a process that has it.
        """
        if self.asn_file is None:
            return flows.asn
        told = flows.asn
        asked = np.ones(len(told), np.bool_)
        if self.asn_file.target == UNKNOWN:
            asked = (told == 0) | (told == AS_TRANS)
            if not asked.any():
                return told
        table = self._asn_tables.table(self.asn_file.match)
        found = told.copy()
        found[asked] = table.find(flows.high[asked], flows.low[asked])
        return np.where(found == 0, told, found)

    def entries(self) -> list[tuple[RuleEntry, ClassRule]]:
        """Return the class rules in the order in which a flow that all of them meet is asked.

        Their prefixes apart: these come between priority and entry_id (`explaining`).
        """
        return sorted(self._rules, key=lambda item: (-item[0].priority, item[0].entry_id))

    def _classify_piece(self, classes: Int64s, place: Int64s, flows: FarEnds, piece: int) -> None:
        """Write the classes of the flows at `place`, whose far ends share a piece."""
        left = place
        for number in self._candidates(piece):
            if not len(left):
                return
            entry, rule = self._rules[number]
            met = _matches(rule, flows, left)
            if met is None:
                classes[left] = self._index[entry.target]
                return
            classes[left[met]] = self._index[entry.target]
            left = left[~met]

    def _candidates(self, piece: int) -> tuple[int, ...]:
        """Return the rules whose prefixes cover a piece, and those without prefix, best first."""
        ranked = self._ranked.get(piece)
        if ranked is None:
            ranked = self._ranked[piece] = self._rank(piece)
        return ranked

    def _rank(self, piece: int) -> tuple[int, ...]:
        """Return the rules that may match in a piece by priority, prefix length and entry_id."""
        lengths = {number: -1 for number, (_, rule) in enumerate(self._rules) if not rule.prefixes}
        for prefix in self._far.pieces[piece]:
            number = self._prefix_rules[prefix]
            lengths[number] = max(lengths.get(number, -1), self._lengths[prefix])
        return tuple(
            sorted(
                lengths,
                key=lambda n: (
                    -self._rules[n][0].priority,
                    -lengths[n],
                    self._rules[n][0].entry_id,
                ),
            )
        )


def _matches(rule: ClassRule, flows: FarEnds, at: Int64s) -> Bools | None:
    """Return which flows meet the rule's conditions besides the prefix; None: it has none."""
    met: Bools | None = None
    for wanted, column in (
        (rule.asns, flows.asn),
        (rule.protocols, flows.protocol),
        (rule.dscps, flows.dscp),
    ):
        if wanted:
            found = np.isin(column[at], wanted)
            met = found if met is None else met & found
    if rule.applications:
        found = _is_wanted(rule.applications, flows.applications)[flows.application[at]]
        met = found if met is None else met & found
    if rule.ports:
        port = flows.port[at]
        found = np.zeros(len(at), np.bool_)
        for first, last in rule.ports:
            found |= (port >= first) & (port <= last)
        met = found if met is None else met & found
    return met


def _is_wanted(wanted: tuple[str, ...], applications: Sequence[Application]) -> Bools:
    """Return which applications a rule means, by id or by name in any case."""
    texts = {text.casefold() for text in wanted}
    means = [told.id in texts or told.name.casefold() in texts for told in applications]
    return np.array(means, np.bool_)


def _file_rank(entry: RuleEntry) -> tuple[int, int, str]:
    return entry.priority, entry.valid_from_at, entry.entry_id


class Rules:
    """All standing entries, and the rulebook of any instant."""

    def __init__(self, entries: Sequence[RuleEntry], asn_tables: AsnTables = _NO_TABLES) -> None:
        """Keep the entries; rulebooks are compiled when an instant first asks for one."""
        self._entries = tuple(entries)
        self._asn_tables = asn_tables
        bounds = {entry.valid_from_at for entry in entries}
        bounds |= {e.valid_until_at for e in entries if e.valid_until_at is not None}
        self._bounds = np.array(sorted(bounds), np.int64)
        self._books: dict[int, Rulebook] = {}

    def epochs(self, at: Int64s) -> Int64s:
        """Return for each instant (ms) the epoch in which no rule begins or ends, int64 [n]."""
        return np.searchsorted(self._bounds, at, side="right")

    def book(self, epoch: int) -> Rulebook:
        """Return the rulebook that holds throughout an epoch."""
        book = self._books.get(epoch)
        if book is None:
            at = int(self._bounds[epoch - 1]) if epoch else -1
            held = [entry for entry in self._entries if epoch and entry.holds_at(at)]
            book = Rulebook(held, self._asn_tables)
            self._books[epoch] = book
        return book
