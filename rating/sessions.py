"""Accounting packets of one Acct-Session-Id become sessions: a pure function of the packet set.

Nothing here depends on the order in which packets came in. The kept packets of one (NAS,
Acct-Session-Id) are sorted and cut anew into *generations* each time one is added, and the caller
sends the difference. The rules, in the order in which they apply:

1. **Retransmission.** RFC 2866 §5.2 gives a repeated packet a new Acct-Delay-Time, hence a new
   Identifier and Authenticator; what stays is its content. Packets of equal content are one packet
   and the earliest event time stands; only where a Start confirms that a session of equal counters
   began anew are they two. (Without octets or session time the event time is content too.)
2. **Generation.** A packet says that its session ran from its implied start (event time minus
   Acct-Session-Time) to its event time. Two packets are of one session if their implied starts
   agree within the tolerance, or if the later implied start lies inside the other's span: two
   sessions with one id do not run at once. So a clock that drifts or a retransmission without
   Acct-Delay-Time never makes a session anew, and a reused id does as soon as its implied start is
   later than what the former session reached. Counters that fall without that are a reordered
   packet, absorbed by the running maximum. A packet without Acct-Session-Time belongs to the latest
   generation that began before it.
3. **Stop.** The last Stop ends the generation; an interim update with a later event time is not
   counted. A Stop without counters (or all zero) lowers nothing.
4. **Unwrap.** Counters without gigawords begin again at 2**32. Where the NAS is known to do so, a
   fall while the session time rises is a wrap. Where it is only that no packet of the session so
   far had a gigawords attribute, the fall must also be the short way round (at most half the
   modulus), since a counter that was reset must not be charged as 4 GB. Packets have no gigawords:
   same rule.
5. **Origin.** Start with counters 0; without Start, the implied start; where that is longer ago
   than `implied_start_reach_seconds`, the first packet with its counters as opening balance.
6. **Compaction.** What lies behind the lateness bound becomes the origin of the curve
   (`Checkpoint`): a knot from before it can raise the curve, never lower it. Rules 4 and 5 look
   only at packets up to the one in question, so that compaction changes nothing that was sent.
"""

from __future__ import annotations

import dataclasses
import functools

import msgspec

from rating.accounting import AccountingRecord
from rating.addresses import normalise_mac
from rating.directory import user_identity
from rating.knots import ZERO, Curve, curve_of
from rating.session_config import SessionsConfig
from rating.session_state import (
    STATUS_NUMBERS,
    STATUS_START,
    STATUS_STOP,
    Checkpoint,
    Facts,
    Packet,
    SessionGroup,
)
from rating.unwrapping import unwrap

IDENTITIES_MAX = 65_536
"""Users whose identities are remembered: a session says the same at every interim update."""


class Session(msgspec.Struct, frozen=True):
    """One generation as the packets tell it. ended_at is the Stop's event time, None without Stop.

    packets: those that count, in event order; after_stop: interim updates later than the Stop;
    repeats: retransmissions whose event time is not the earliest.
    """

    session_id: str
    generation: str
    started_at: int
    curve: Curve
    stop_at: int | None
    stop_cause: int
    last_event_at: int
    last_received_at: int
    user_name: str
    identities: tuple[str, ...]
    nas_address: bytes
    packets: tuple[Packet, ...]
    after_stop: tuple[Packet, ...]
    repeats: tuple[Packet, ...]
    facts: tuple[Facts, ...]
    checkpoint: Checkpoint | None
    opened_midway: bool
    extent: tuple[int, int, int]
    """First and last implied start and the latest event (ms), for rule 2."""


def facts_of(record: AccountingRecord, identity_order: tuple[str, ...]) -> Facts:
    """Return what a packet says of user and addresses; identities in the order of the setting."""
    identities = _identities(
        record.user_name,
        record.calling_station_id,
        record.nas_id,
        record.nas_port_id,
        identity_order,
    )
    addresses = [(0, record.framed_address, 128)] if record.framed_address else []
    addresses += [(1, address, 128) for address in record.framed_ipv6_addresses]
    addresses += [(2, prefix.address, prefix.length) for prefix in record.framed_ipv6_prefixes]
    addresses += [(3, prefix.address, prefix.length) for prefix in record.delegated_prefixes]
    if len(addresses) > 1:
        addresses = sorted(set(addresses))
    return Facts(record.user_name, identities, record.nas_address, tuple(addresses))


@functools.lru_cache(maxsize=IDENTITIES_MAX)
def _identities(
    user_name: str, station: str, nas_id: str, port_id: str, order: tuple[str, ...]
) -> tuple[str, ...]:
    mac = normalise_mac(station)
    known = {
        "user_name": user_identity(user_name) if user_name else "",
        "mac": f"mac:{mac}" if mac else "",
        "circuit": f"circuit:{nas_id}/{port_id}" if port_id else "",
    }
    return tuple(known[name] for name in order if known[name])


def packet_of(record: AccountingRecord, facts: Facts, group: SessionGroup) -> Packet:
    """Return what is kept of a packet; record.status must be start, interim or stop."""
    held = group.facts
    return Packet(
        event_at=record.event_at,
        received_at=record.received_at,
        status=STATUS_NUMBERS[record.status],
        seconds=record.session_seconds,
        octets_up=record.octets_up,
        octets_down=record.octets_down,
        packets_up=record.packets_up,
        packets_down=record.packets_down,
        has_gigawords=record.has_gigawords,
        octets_modulus=record.octets_modulus,
        terminate_cause=record.terminate_cause,
        facts=held.index(facts) if facts in held else len(held),
    )


def add_packet(group: SessionGroup, packet: Packet, facts: Facts) -> SessionGroup:
    """Return the group with a packet more; the same group where it was known, event time and all.

    packet.facts is the index of facts in the group, or the next one.
    """
    for at, known in enumerate(group.packets):
        if known.event_at == packet.event_at and known[2:] == packet[2:]:
            if known.received_at <= packet.received_at:
                return group
            packets = (*group.packets[:at], packet, *group.packets[at + 1 :])
            return msgspec.structs.replace(group, packets=packets)
    return msgspec.structs.replace(
        group, packets=(*group.packets, packet), facts=facts_with(group, packet, facts)
    )


def facts_with(group: SessionGroup, packet: Packet, facts: Facts) -> tuple[Facts, ...]:
    """Return the group's facts with those of a packet of `packet_of`."""
    return (*group.facts, facts) if packet.facts == len(group.facts) else group.facts


def is_straight(group: SessionGroup, newest: Session) -> bool:
    """Return whether the group's packets are its newest session's, ascending in both times."""
    if newest.packets != group.packets:
        return False
    settled = newest.checkpoint.seconds if newest.checkpoint else -1
    for packet in group.packets:
        seconds = packet.span_seconds
        if seconds is None or seconds <= settled:
            return False
        settled = seconds
    return True


def session_through(
    group: SessionGroup, tail: Checkpoint, packets: list[Packet], config: SessionsConfig
) -> Session:
    """Return the tail's session as it was at the last of its first packets; group is straight."""
    checkpoint = next((c for c in group.checkpoints if c.generation == tail.generation), None)
    extent = (tail.implied_first_at, tail.implied_last_at, tail.reached_at)
    session = _session(_Span(*extent, packets, checkpoint), group.facts, config)
    return _named(session, group, tail.generation)


def session_id(group: SessionGroup, generation: str) -> str:
    """Return the id of a generation: NAS, Acct-Session-Id, minute of the start."""
    return f"{group.nas_id}/{group.acct_session_id}/{generation}"


def _named(session: Session, group: SessionGroup, generation: str) -> Session:
    return msgspec.structs.replace(
        session, session_id=session_id(group, generation), generation=generation
    )


@dataclasses.dataclass(slots=True)
class _Span:
    """Packets, and at most one checkpoint, of one generation in the making (rule 2)."""

    implied_first_at: int
    implied_last_at: int
    reached_at: int
    packets: list[Packet]
    checkpoint: Checkpoint | None = None
    repeats: list[Packet] = dataclasses.field(default_factory=list)

    def joins(self, later: _Span, tolerance_ms: int) -> bool:
        """Return whether a span with a later implied start is of this generation."""
        if self.checkpoint and later.checkpoint:
            return False
        first = later.implied_first_at
        return first <= self.implied_last_at + tolerance_ms or (
            first < self.reached_at - tolerance_ms
        )

    def absorb(self, later: _Span) -> None:
        """Take a later span in."""
        self.implied_last_at = max(self.implied_last_at, later.implied_last_at)
        self.reached_at = max(self.reached_at, later.reached_at)
        self.packets += later.packets
        self.repeats += later.repeats
        self.checkpoint = self.checkpoint or later.checkpoint


def _without_repeats(
    group: SessionGroup, tolerance_ms: int
) -> tuple[list[Packet], dict[tuple[object, ...], list[Packet]], dict[str, list[Packet]]]:
    """Return the packets that are none, the repetitions by content, and those of checkpoints by
    generation (rule 1)."""
    starts = [packet.event_at for packet in group.packets if packet.status == STATUS_START]
    kept: list[Packet] = []
    repeats: dict[tuple[object, ...], list[Packet]] = {}
    settled: dict[str, list[Packet]] = {}
    known: dict[tuple[object, ...], int] = {}
    for packet in sorted(group.packets, key=lambda packet: packet.event_at):
        if packet.seconds is None or not packet.has_octets:
            kept.append(packet)
            continue
        content, implied_at = packet.content, packet.implied_at
        is_confirmed = any(abs(start_at - implied_at) <= tolerance_ms for start_at in starts)
        is_confirmed = is_confirmed or any(
            not c.ends_like(packet)
            and c.implied_first_at - tolerance_ms <= implied_at <= c.implied_last_at + tolerance_ms
            for c in group.checkpoints
        )
        former_at = known.get(content)
        if former_at is not None:
            if not is_confirmed or implied_at <= former_at + tolerance_ms:
                repeats.setdefault(content, []).append(packet)
                continue
        else:
            checkpoint = next((c for c in group.checkpoints if c.ends_like(packet)), None)
            is_anew = checkpoint is None or implied_at > checkpoint.implied_last_at + tolerance_ms
            if checkpoint and not (is_confirmed and is_anew):
                settled.setdefault(checkpoint.generation, []).append(packet)
                continue
        known[content] = implied_at
        kept.append(packet)
    return kept, repeats, settled


def _spans(group: SessionGroup, tolerance_ms: int) -> list[_Span]:
    """Return the generations, ascending by implied start: connected spans, found by one sweep."""
    kept, repeats, settled = _without_repeats(group, tolerance_ms)
    parts = [
        _Span(
            c.implied_first_at,
            c.implied_last_at,
            c.reached_at,
            [],
            c,
            settled.get(c.generation, []),
        )
        for c in group.checkpoints
    ]
    undated = []
    for packet in kept:
        again = repeats.pop(packet.content, [])
        if packet.span_seconds is None:
            undated.append(packet)
        else:
            implied_at = packet.implied_at
            part = _Span(implied_at, implied_at, packet.event_at, [packet], None, again)
            parts.append(part)
    parts.sort(key=lambda span: (span.implied_first_at, span.reached_at))
    spans: list[_Span] = []
    for part in parts:
        if spans and spans[-1].joins(part, tolerance_ms):
            spans[-1].absorb(part)
        else:
            spans.append(part)
    return _attach_undated(spans, undated)


def _attach_undated(spans: list[_Span], undated: list[Packet]) -> list[_Span]:
    early: _Span | None = None
    for packet in undated:
        home = next((s for s in reversed(spans) if s.implied_first_at <= packet.event_at), early)
        at = packet.event_at
        if home is None:
            early = _Span(at, at, at, [packet])
            continue
        home.packets.append(packet)
        if home is early:
            early.implied_first_at = min(early.implied_first_at, at)
            early.implied_last_at = max(early.implied_last_at, at)
        home.reached_at = max(home.reached_at, at)
    return spans if early is None else [early, *spans]


def sessions_of(group: SessionGroup, config: SessionsConfig) -> tuple[Session, ...]:
    """Return the group's sessions, ascending by start: the whole of rules 2 to 5."""
    facts = group.facts

    def order(packet: Packet) -> tuple[object, ...]:
        known = tuple((value is not None, value or 0) for value in packet[3:8])
        return (packet.event_at, packet.status, known, packet[8:11], facts[packet.facts])

    tolerance_ms = config.generation_tolerance_seconds * 1000
    drafts = []
    for span in _spans(group, tolerance_ms):
        span.packets.sort(key=order)
        drafts.append(_session(span, facts, config))
    drafts.sort(key=lambda session: session.started_at)
    taken = {session.generation for session in drafts}
    sessions = []
    for session in drafts:
        generation = session.generation or _name(session.started_at, taken)
        taken.add(generation)
        sessions.append(_named(session, group, generation))
    return tuple(sessions)


def _name(started_at: int, taken: set[str]) -> str:
    """Return a generation's name: the minute of its start, with a number if that is taken."""
    minute = str(started_at // 60_000)
    name, count = minute, 1
    while name in taken:
        count += 1
        name = f"{minute}.{count}"
    return name


def _session(span: _Span, facts: tuple[Facts, ...], config: SessionsConfig) -> Session:
    checkpoint = span.checkpoint
    stops = [p for p in span.packets if p.status == STATUS_STOP]
    stop_at = checkpoint.stop_at if checkpoint else None
    stop_cause = checkpoint.stop_cause if checkpoint else 0
    if stops and (stop_at is None or stops[-1].event_at > stop_at):
        stop_at, stop_cause = stops[-1].event_at, stops[-1].terminate_cause
    counted = [p for p in span.packets if stop_at is None or p.event_at <= stop_at]
    overtaken = [p for p in span.packets if stop_at is not None and p.event_at > stop_at]
    started_at = _started_at(span, counted)
    curve, is_midway = _curve(span, counted, started_at, config)
    named = [facts[p.facts] for p in counted]
    last = [checkpoint.last_event_at] if checkpoint else []
    seen = [checkpoint.last_received_at] if checkpoint else []
    return Session(
        session_id="",
        generation=checkpoint.generation if checkpoint else "",
        started_at=started_at,
        curve=curve,
        stop_at=stop_at,
        stop_cause=stop_cause,
        last_event_at=max([*last, *(p.event_at for p in counted)]),
        last_received_at=max([*seen, *(p.received_at for p in span.packets)]),
        user_name=(checkpoint.user_name if checkpoint else "")
        or next((f.user_name for f in named if f.user_name), ""),
        identities=(checkpoint.identities if checkpoint else ())
        or next((f.identities for f in named if f.identities), ()),
        nas_address=named[-1].nas_address if named or not checkpoint else checkpoint.nas_address,
        packets=tuple(counted),
        after_stop=tuple(overtaken),
        repeats=tuple(span.repeats),
        facts=facts,
        checkpoint=checkpoint,
        opened_midway=is_midway,
        extent=(span.implied_first_at, span.implied_last_at, span.reached_at),
    )


def _started_at(span: _Span, counted: list[Packet]) -> int:
    """Return the implied start of the first packet: of a Start, its own time (rule 5).

    Not the earliest of all implied starts: they jitter, and a later packet must not move what lies
    behind the lateness bound.
    """
    return span.checkpoint.started_at if span.checkpoint else counted[0].implied_at


def _curve(
    span: _Span, counted: list[Packet], started_at: int, config: SessionsConfig
) -> tuple[Curve, bool]:
    """Return the session's curve and whether it was opened midway."""
    totals = unwrap(counted, span.checkpoint, started_at).totals
    knots = [(packet.event_at, total) for packet, total in zip(counted, totals, strict=True)]
    if span.checkpoint:
        checkpoint = span.checkpoint
        # A packet from before the checkpoint may raise the origin but makes no knot behind it.
        knots = [
            (checkpoint.origin_at if checkpoint.is_before(packet) else knot_at, total)
            for packet, (knot_at, total) in zip(counted, knots, strict=True)
        ]
        curve = curve_of(checkpoint.origin_at, checkpoint.origin, checkpoint.base, knots)
        return curve, False
    reach_ms = config.implied_start_reach_seconds * 1000
    if knots[0][0] - started_at > reach_ms:
        first_at, opening = knots[0]
        return curve_of(first_at, opening, opening, knots[1:]), True
    return curve_of(started_at, ZERO, ZERO, knots), False
