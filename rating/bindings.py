"""Which address or prefix a session held, from when until when: topic `session.bindings`.

An address is held from the session's start if its first packet carries it, else from the event time
of the packet that first does (a delegated prefix given after Start; claiming it earlier could take
traffic from its former holder). A packet that carries no address of a kind says nothing about that
kind; one that carries another closes the old and opens the new. A change of subscriber in the
directory does the same, seen at the next packet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rating.session_state import Facts, Hold, Holds, Packet, SentBinding
from rating.sessions import Session

HOLDS_REMEMBERED_MAX = 64
"""Addresses of one session whose count of returns is remembered behind the lateness bound."""


def holds_of(session: Session, subscriber_at: Callable[[int], str]) -> Holds:
    """Return everything a session held; subscriber_at gives its subscriber_id at an instant.

    Where nothing has changed since the session's checkpoint that is the checkpoint's own value.
    """
    checkpoint = session.checkpoint
    if checkpoint is None:
        packets, first_at = session.packets, session.started_at
        return hold_through(Holds(), packets, session.facts, first_at, subscriber_at)
    packets = tuple(p for p in session.packets if p.event_at > checkpoint.origin_at)
    return hold_through(checkpoint.holds, packets, session.facts, None, subscriber_at)


def hold_through(
    holds: Holds,
    packets: Sequence[Packet],
    facts: Sequence[Facts],
    first_at: int | None,
    subscriber_at: Callable[[int], str],
) -> Holds:
    """Return the holds after more packets in event order.

    first_at is the start of the session where packets begins with its first packet, else None.
    """
    opened = list(holds.open)
    closed = list(holds.closed)
    counts: dict[tuple[bytes, int], int] | None = None
    former: tuple[int, str] | None = None
    for packet in packets:
        subscriber_id = subscriber_at(packet.event_at)
        if former == (packet.facts, subscriber_id):
            continue
        former = (packet.facts, subscriber_id)
        at = packet.event_at if first_at is None else first_at
        first_at = None
        listed = facts[packet.facts].addresses
        if says_again(opened, listed, subscriber_id):
            continue
        if counts is None:
            counts = {(address, length): count for address, length, count in holds.counts}
        kinds = {kind for kind, _, _ in listed}
        kept, wanted = [], list(listed)
        for hold in opened:
            held = (hold.kind, hold.address, hold.length)
            stays = held in wanted or hold.kind not in kinds
            if stays and hold.subscriber_id == subscriber_id:
                kept.append(hold)
                wanted = [item for item in wanted if item != held]
                continue
            closed.append(hold._replace(until_at=at))
            if stays and held not in wanted:
                wanted.append(held)
        for kind, address, length in wanted:
            count = counts.get((address, length), 0) + 1
            counts[address, length] = count
            kept.append(Hold(kind, address, length, count, subscriber_id, at, None))
        opened = kept
    if counts is None:
        return holds
    remembered = tuple((address, length, count) for (address, length), count in counts.items())
    return Holds(tuple(opened), tuple(closed), remembered)


def says_again(
    opened: Sequence[Hold], listed: Sequence[tuple[int, bytes, int]], subscriber_id: str
) -> bool:
    """Return whether a subscriber still has exactly what is open."""
    return len(opened) == len(listed) and all(
        hold[:3] == held and hold.subscriber_id == subscriber_id
        for hold, held in zip(opened, listed, strict=True)
    )


def forget_before(holds: Holds, horizon_at: int) -> Holds:
    """Return the holds without those closed before an instant (ms)."""
    closed = tuple(hold for hold in holds.closed if (hold.until_at or 0) > horizon_at)
    return Holds(holds.open, closed, holds.counts[-HOLDS_REMEMBERED_MAX:])


def binding_id(session_id: str, hold: Hold) -> str:
    """Return the id of a hold's binding: session, prefix and how often the session got it."""
    return f"{session_id}/{hold.address.hex()}/{hold.length}/{hold.occurrence}"


def bindings_of(session_id: str, holds: Holds, ended_at: int | None) -> dict[str, SentBinding]:
    """Return binding_id -> binding of all that a session held; ended_at cuts what is open.

    A hold of no duration is left out.
    """
    bindings = {}
    for hold in (*holds.closed, *holds.open):
        ends = [end for end in (hold.until_at, ended_at) if end is not None]
        until_at = min(ends, default=None)
        if until_at is not None and until_at <= hold.from_at:
            continue
        bindings[binding_id(session_id, hold)] = SentBinding(
            hold.address, hold.length, hold.subscriber_id, session_id, hold.from_at, until_at
        )
    return bindings


def retracted(binding: SentBinding) -> SentBinding:
    """Return the revision that takes a binding back: it ends where it began."""
    return binding._replace(until_at=binding.from_at)
