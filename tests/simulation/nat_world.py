"""A carrier-grade NAT, its subscribers and a border router, under one seed; and who used what.

The NAT gives blocks of ports to inside addresses, takes them back and gives them to others; its
reports get lost, come late and come twice. The border router exports what it sees outside. Inside
addresses move between subscribers by sessions. The auditor knows what was sent and the stated
rules, and adds up by loops: no code of Flowrate decides whose an octet is.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter

from rating.addresses import pack_address, parse_prefix
from rating.nat_pools import NatPool
from rating.records import NatEvent, SessionBinding
from tests.collectors.netflow import exports as x
from tests.rating.nat_oracle import NOBODY, Held, allocations, holder

MINUTE_MS = 60_000
START_AT = x.EXPORTED_AT * 1000 // MINUTE_MS * MINUTE_MS
MINUTES = 20
OUTSIDES = ("198.51.100.7", "198.51.100.8")
DYNAMIC = NatPool("198.51.100.0/24", block_ports=64, last_port=1535)
FORMULA = NatPool("203.0.113.0/31", inside="100.65.0.0/29", ports_per_subscriber=10_000,
                  subscribers_per_address=4)  # fmt: skip
INSIDES = tuple(f"100.64.0.{number}" for number in range(1, 7))
FIXED = {f"100.65.0.{number}": f"s-fixed-{number}" for number in range(8)}
"""Inside address by formula -> subscriber by static prefix."""
FAR = "192.0.2.9"
NAT, BORDER = "192.0.2.1", "192.0.2.2"
BLOCK: tuple[x.Field, ...] = ((230, 1), (323, 8), (8, 4), (225, 4), (361, 2), (362, 2))
FLOW: tuple[x.Field, ...] = (
    (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (152, 8), (153, 8),
)  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """A datagram: when it is received, from whom, what."""

    received_at: int
    source: str
    payload: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Seen:
    """One flow as the border router saw it: own address and port, octets up and down."""

    address: str
    port: int
    protocol: int
    at: int
    up: int
    down: int


class NatWorld:
    """Twenty minutes of a network; `datagrams` and `bindings` are what Flowrate gets of it."""

    def __init__(self, seed: int) -> None:
        """Live through all of it."""
        self.chance = random.Random(seed)
        self.datagrams: list[Sent] = []
        self.bindings: list[SessionBinding] = []
        self.events: dict[str, list[NatEvent]] = {outside: [] for outside in OUTSIDES}
        self.flows: list[Seen] = []
        self._numbers: Counter[str] = Counter()
        self._sessions()
        self._blocks()
        for outside in ("203.0.113.0", "203.0.113.1"):
            for _ in range(20):
                self._flow(outside, self.chance.randint(1000, 65_535), self._instant())
        self.datagrams.sort(key=lambda sent: sent.received_at)

    def _instant(self) -> int:
        return START_AT + self.chance.randrange(MINUTES * MINUTE_MS)

    def _sessions(self) -> None:
        """Inside addresses change hands once; one is never anybody's."""
        for number, inside in enumerate(INSIDES[:-1]):
            change_at = START_AT + self.chance.randrange(2, MINUTES - 2) * MINUTE_MS + 1_234
            spans = ((START_AT - MINUTE_MS, change_at), (change_at, None))
            for turn, (since, until) in enumerate(spans):
                prefix = parse_prefix(inside)
                who = f"s-{number}-{turn}"
                self.bindings.append(
                    SessionBinding(
                        f"{who}/{inside}", 1, prefix.address, prefix.length, 0, who, f"of {who}",
                        since, until, since,
                    )
                )  # fmt: skip

    def _blocks(self) -> None:
        """Each block is lent and taken back many times; a NAT never lends one twice at once."""
        for outside in OUTSIDES:
            for first in range(DYNAMIC.first_port, DYNAMIC.last_port + 1, 64):
                now = START_AT + self.chance.randrange(4 * MINUTE_MS)
                while now < START_AT + MINUTES * MINUTE_MS:
                    until = now + self.chance.randrange(5_000, 6 * MINUTE_MS)
                    self._lend(outside, first, now, until)
                    now = until + self.chance.randrange(1_000, 3 * MINUTE_MS)

    def _lend(self, outside: str, first: int, since: int, until: int) -> None:
        """Lend a block to somebody who uses it; what the NAT says of it may go wrong."""
        inside = self.chance.choice(INSIDES)
        self._tell(outside, inside, first, 16, since)
        if self.chance.random() < 0.85:
            self._tell(outside, inside, first, 17, until)
        end_at = START_AT + MINUTES * MINUTE_MS
        for _ in range(self.chance.randrange(8)):
            at = self.chance.randrange(since, until)
            if at < end_at:
                self._flow(outside, first + self.chance.randrange(64), at)

    def _tell(self, outside: str, inside: str, first: int, code: int, at: int) -> None:
        """Send an event, once or twice, soon or late; or not at all."""
        if self.chance.random() < 0.05:
            return
        late = self.chance.choice((200, 200, 200, 2_000, 30_000, 20 * MINUTE_MS))
        values = (code, at, x.v4(inside), x.v4(outside), first, first + 63)
        for _ in range(self.chance.choice((1, 1, 2))):
            received_at = at + late + self.chance.randrange(500)
            payload = self._message(NAT, received_at, BLOCK, values)
            self.datagrams.append(Sent(received_at, NAT, payload))
        self.events[outside].append(
            NatEvent(
                pack_address(outside), first, first + 63, 1, 0, code == 17, pack_address(inside),
                at, NAT, at + late,
            )
        )  # fmt: skip

    def _flow(self, outside: str, port: int, at: int) -> None:
        """Export a flow of one packet each way."""
        protocol = self.chance.choice((6, 17, 17, 1))
        up, down = self.chance.randrange(1, 1_000), self.chance.randrange(1, 100_000)
        told = 0 if protocol == 1 else port
        ends = (x.v4(outside), x.v4(FAR), told, 443, protocol)
        back = (x.v4(FAR), x.v4(outside), 443, told, protocol)
        for values, octets in ((ends, up), (back, down)):
            received_at = at + self.chance.choice((900, 15_000, 60_000))
            fields = (*values, octets, 1, at, at + 1)
            payload = self._message(BORDER, received_at, FLOW, fields)
            self.datagrams.append(Sent(received_at, BORDER, payload))
        self.flows.append(Seen(outside, port, protocol, at, up, down))

    def _message(
        self, source: str, at: int, fields: tuple[x.Field, ...], values: tuple[int, ...]
    ) -> bytes:
        number = self._numbers[source]
        self._numbers[source] += 1
        sets = [x.template(256, fields, version=10), x.data(256, [x.record(fields, values)])]
        payload = x.ipfix(sets, sequence=number)
        # What is late was held back by the exporter, whose clock is right when it sends.
        return payload[:4] + (at // 1000).to_bytes(4, "big") + payload[8:]

    # -- the auditor ---------------------------------------------------------------------------

    def expected(self, retention_ms: int) -> dict[tuple[str, int], tuple[int, int]]:
        """Return (subscriber, minute) -> octets up and down, "" for what is nobody's."""
        sums: dict[tuple[str, int], tuple[int, int]] = {}
        held = {outside: allocations(told, retention_ms) for outside, told in self.events.items()}
        for flow in self.flows:
            minute = flow.at // MINUTE_MS
            inside = self._inside(flow, minute, held)
            key = (self._subscriber(inside, minute), minute)
            up, down = sums.get(key, (0, 0))
            sums[key] = (up + flow.up, down + flow.down)
        return sums

    def _inside(self, flow: Seen, minute: int, held: dict[str, list[Held]]) -> bytes:
        if flow.protocol == 1:
            return NOBODY
        if flow.address in held:
            first = flow.port // 64 * 64
            return holder(held[flow.address], first, 64, 0, minute)
        share = (flow.port - 1024) // 10_000
        if flow.port < 1024 or share >= 4:
            return NOBODY
        return pack_address(f"100.65.0.{4 * int(flow.address[-1]) + share}")

    def _subscriber(self, inside: bytes, minute: int) -> str:
        for address, who in FIXED.items():
            if pack_address(address) == inside:
                return who
        holding = [
            b
            for b in self.bindings
            if b.address == inside
            and b.valid_from_at < (minute + 1) * MINUTE_MS
            and (b.valid_until_at is None or b.valid_until_at > minute * MINUTE_MS)
        ]
        return max(holding, key=lambda b: b.valid_from_at).subscriber_id if holding else ""
