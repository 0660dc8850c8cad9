"""What a cluster's benchmark feeds in: subscribers, NetFlow v9 of many exporters, interim updates.

Everything is made with seeds and before any clock starts.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import struct
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from collectors.datagrams import Datagram, encode_datagrams
from collectors.radius.log_codec import AccountingPacket, encode_packets
from collectors.radius.packet import ACCOUNTING_REQUEST, sign_request
from rating.events import SubscriptionStarted, account_event
from rating.periods import Calendar
from rating.plans import plan_from
from rating.records import AccountEvent, DirectoryEntry
from tests.benchmarks.flow_traffic import V9_FIELDS as FIELDS
from tests.collectors.netflow import exports

SECRET = "bench"
NAS_ID = "nas1"
START, INTERIM = 1, 3
UPTIME_MS = 3_600_000
RECORDS_PER_DATAGRAM = 24
CDN, ELSEWHERE = int(ipaddress.ip_address("192.0.2.7")), int(ipaddress.ip_address("198.18.0.1"))
_FIRST_ADDRESS = int(ipaddress.ip_address("100.64.0.0"))
_SOURCE = bytes(10) + b"\xff\xff" + bytes((127, 0, 0, 1))

ALLOWANCE_OCTETS = 10**12
"""Never reached but where `throttling_octets` says so."""

PLAN = {
    "plan_id": "p",
    "version": 1,
    "name": "P",
    "currency": "BDT",
    "meters": [
        {
            "meter_id": "data",
            "curve": {
                "model": "allowance_overage",
                "allowance": ALLOWANCE_OCTETS,
                "unit_price": "1",
                "unit": 10**9,
            },
        }
    ],
    "throttle_steps": [{"meter_id": "data", "profile": "throttled", "at_percent": 100}],
}

Log = tuple[str, str, int, bytes]
"""Topic, kind, received_at in ms, body: what a collector appends."""


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """How much of what: subscribers each with one session, exporters, flows per second of all."""

    subscribers: int = 5_000
    exporters: int = 32
    flows_per_second: int = 2_500
    packets_per_block: int = 100
    interim_seconds: int = 300


def address_of(line: int) -> str:
    """Return the address that a line's session holds."""
    return str(ipaddress.ip_address(_FIRST_ADDRESS + line))


def session_of(line: int) -> str:
    """Return a line's Acct-Session-Id."""
    return f"{line:08x}"


def directory(load: Load) -> list[DirectoryEntry]:
    """Return own prefixes, a class, and who each line is."""
    rules = [
        DirectoryEntry("own", 1, "own_prefix", "100.64.0.0/10", "", 0, 0, None),
        DirectoryEntry("cdn", 1, "class_rule", '{"prefixes": ["192.0.2.0/24"]}', "cdn", 0, 0, None),
    ]
    for line in range(load.subscribers):
        name = f"line{line}"
        identity = f"user_name:{name}"
        rules.append(DirectoryEntry(f"i{line}", 1, "identity", identity, name, 0, 0, None))
        rules.append(DirectoryEntry(f"m{line}", 1, "membership", name, name, 0, 0, None))
    return rules


def subscriptions(load: Load, at_seconds: int) -> list[AccountEvent]:
    """Return the start of every subscription."""
    payload = SubscriptionStarted(plan=plan_from(PLAN), calendar=Calendar())
    at = at_seconds * 1000
    return [
        account_event(f"e{line}", f"line{line}", payload, effective_at=at, received_at=at)
        for line in range(load.subscribers)
    ]


def accounting_request(
    line: int, status: int, at_seconds: int, age_seconds: int, octets: int
) -> bytes:
    """Return a signed Accounting-Request of 15 attributes; octets are those down."""
    up = octets // 8
    numbers = {
        40: status,
        42: up % 2**32,
        52: up >> 32,
        43: octets % 2**32,
        53: octets >> 32,
        46: age_seconds,
        47: octets // 900,
        48: octets // 900,
        55: at_seconds,
    }
    attributes = [(kind, struct.pack("!I", number)) for kind, number in numbers.items()]
    attributes += [
        (44, session_of(line).encode()),
        (1, f"line{line}".encode()),
        (4, bytes((127, 0, 0, 1))),
        (8, struct.pack("!I", _FIRST_ADDRESS + line)),
        (31, b"00:11:22:33:44:55"),
        (87, b"ge-0/0/1.100:1234"),
    ]
    return sign_request(ACCOUNTING_REQUEST, line % 256, attributes, SECRET.encode())


def starts(load: Load, at_seconds: int) -> Iterator[Log]:
    """Yield the start of every line's session, and the marker behind them."""
    yield from _accounting(load, START, at_seconds, [0] * load.subscribers, 0)


def interims(load: Load, begun_at: int, since: int, rounds: int) -> Iterator[Log]:
    """Yield rounds of interim updates of every line after `since`; all times in seconds."""
    for number in range(1, rounds + 1):
        at_seconds = since + number * load.interim_seconds
        age = at_seconds - begun_at
        octets = [age * (10_000 + line % 977) for line in range(load.subscribers)]
        yield from _accounting(load, INTERIM, at_seconds, octets, age)


def _accounting(
    load: Load, status: int, at_seconds: int, octets: Sequence[int], age: int
) -> Iterator[Log]:
    at_ms = at_seconds * 1000
    for first in range(0, load.subscribers, load.packets_per_block):
        packets = [
            AccountingPacket(
                at_ms,
                NAS_ID,
                _SOURCE,
                50_000,
                accounting_request(line, status, at_seconds, age, octets[line]),
            )
            for line in range(first, min(first + load.packets_per_block, load.subscribers))
        ]
        yield "radius.accounting", "data", at_ms, encode_packets(packets)
    yield "radius.accounting", "marker", at_ms, b""
    yield "flow.datagrams", "marker", at_ms, b""


class FlowSource:
    """Exporters of NetFlow v9: 24 records of 50 octets a datagram, a template each minute.

    A line is behind one exporter, and each exporter has its share of the lines.
    """

    def __init__(self, load: Load, seed: int = 1) -> None:
        """Begin at sequence 0."""
        self._load = load
        self._chance = np.random.default_rng(seed)
        self._sequences = [0] * load.exporters

    def seconds(self, first: int, count: int) -> Iterator[Log]:
        """Yield the block of each second, and each ten seconds the markers behind it."""
        for second in range(first, first + count):
            at_ms = (second + 1) * 1000
            yield "flow.datagrams", "data", at_ms, encode_datagrams(list(self._second(second)))
            if second % 10 == 9 or second == first + count - 1:
                yield "flow.datagrams", "marker", at_ms, b""
                yield "radius.accounting", "marker", at_ms, b""

    def _second(self, second: int) -> Iterator[Datagram]:
        # The order of the records in a datagram says nothing, the exporters take turns.
        count = self._load.flows_per_second // RECORDS_PER_DATAGRAM
        exporters = (second * count + np.arange(count)) % self._load.exporters
        body = self._records(np.repeat(exporters, RECORDS_PER_DATAGRAM))
        size = len(body) // count
        for number, exporter in enumerate(exporters.tolist()):
            sets = [exports.data(256, [body[number * size : (number + 1) * size]])]
            sequence = self._sequences[exporter]
            if sequence % 500 == 0:
                sets.insert(0, exports.template(256, FIELDS))
            self._sequences[exporter] += 1
            head = struct.pack(">HHIIII", 9, len(sets), UPTIME_MS, second + 1, sequence, exporter)
            source = bytes(10) + b"\xff\xff" + bytes((127, 0, 1, exporter + 1))
            payload = head + b"".join(sets)
            yield Datagram((second + 1) * 1000, source, 50_000, 2055, payload)

    def _records(self, exporters: NDArray[np.int64]) -> bytes:
        chance, count = self._chance, len(exporters)
        lines_each = self._load.subscribers // self._load.exporters
        own = _FIRST_ADDRESS + chance.integers(0, lines_each, count) * self._load.exporters
        own += exporters
        remote = np.where(chance.random(count) < 0.6, CDN, ELSEWHERE)
        is_download = chance.random(count) < 0.75
        known = {
            8: np.where(is_download, remote, own),
            12: np.where(is_download, own, remote),
            1: chance.integers(40, 200_000, count),
            2: chance.integers(1, 150, count),
            22: chance.integers(UPTIME_MS - 30_000, UPTIME_MS - 1_000, count),
            21: chance.integers(UPTIME_MS - 1_000, UPTIME_MS, count),
            4: np.full(count, 6),
            61: chance.integers(0, 2, count),
        }
        columns = []
        for element, octets, *_ in FIELDS:
            values = known.get(element)
            if values is None:
                values = chance.integers(0, min(1 << (8 * octets), 1 << 32), count)
            wide = values.astype(">u8").view(np.uint8).reshape(count, 8)
            columns.append(wide[:, 8 - octets :])
        return np.concatenate(columns, axis=1).tobytes()
