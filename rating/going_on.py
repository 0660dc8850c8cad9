"""The usual accounting packet: it goes on where its session stood.

Everything that it says follows from the session as of its last packet, the group's tail: its usage
is the line from there to here. `extended` and a look at all packets of the Acct-Session-Id
(`rating.sessions.sessions_of`) give the same.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from rating.bindings import says_again
from rating.knots import MINUTE_MS, between, maximum
from rating.session_config import SessionsConfig
from rating.session_state import (
    STATUS_INTERIM,
    STATUS_START,
    Checkpoint,
    Facts,
    Packet,
    SessionGroup,
)
from rating.sessions import facts_with
from rating.unwrapping import unwrap_next

SubscriberAt = Callable[[tuple[str, ...], int], str]
"""Gives the subscriber_id that identities name at an instant (ms), "" for nobody."""


def extended(
    group: SessionGroup,
    packet: Packet,
    facts: Facts,
    subscriber_at: SubscriberAt,
    config: SessionsConfig,
) -> SessionGroup | None:
    """Return the group with a packet that simply goes on from its tail, or None.

    None asks for a closer look: the packet is no interim update, or not later in event and session
    time than all before; its implied start is not known; the session would not hold what it held;
    or something in the packet changes the view of what came before.
    """
    tail, seconds, event_at = group.tail, packet.seconds, packet.event_at
    if tail is None or seconds is None or seconds <= tail.seconds:
        return None
    implied_at = event_at - seconds * 1000
    tolerance_ms = config.generation_tolerance_seconds * 1000
    goes_on = (
        packet.status == STATUS_INTERIM
        and event_at > tail.last_event_at
        and tail.implied_first_at <= implied_at <= tail.implied_last_at + tolerance_ms
        and tail.identities != ()
        and says_again(tail.holds.open, facts.addresses, subscriber_at(tail.identities, event_at))
    )
    if not goes_on or _is_doubtful(group, packet, seconds):
        return None
    return replace(
        group,
        packets=(*group.packets, packet),
        facts=facts_with(group, packet, facts),
        tail=_moved(tail, packet, facts, seconds),
    )


def _moved(tail: Checkpoint, packet: Packet, facts: Facts, seconds: int) -> Checkpoint:
    """Return a tail as of a packet that goes on from it."""
    event_at, since = packet.event_at, tail.origin_at
    totals, tracks = unwrap_next(packet, tail, seconds)
    origin = maximum(tail.origin, totals)
    minute_at = event_at // MINUTE_MS * MINUTE_MS
    base = tail.base
    if minute_at > since:
        base = between(tail.origin, origin, minute_at - since, event_at - since)
    return replace(
        tail,
        implied_last_at=max(tail.implied_last_at, event_at - seconds * 1000),
        reached_at=max(tail.reached_at, event_at),
        origin_at=event_at,
        origin=origin,
        base=base,
        tracks=tracks,
        seconds=seconds,
        has_gigawords=tail.has_gigawords or packet.has_gigawords,
        last_event_at=event_at,
        last_received_at=max(tail.last_received_at, packet.received_at),
        user_name=tail.user_name or facts.user_name,
        nas_address=facts.nas_address,
    )


def _is_doubtful(group: SessionGroup, packet: Packet, seconds: int) -> bool:
    """Return whether a packet may be a known one, or tell where another belongs."""
    # Those of a straight group have all less session time.
    for known in () if group.is_straight else group.packets:
        if known.seconds is None:
            # Of another generation, perhaps, now that one with session time is there.
            if known.status != STATUS_START:
                return True
        elif known.seconds == seconds and known.content == packet.content:
            return True
    return any(checkpoint.ends_like(packet) for checkpoint in group.checkpoints)
