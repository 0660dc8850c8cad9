"""Who held a cell of ports in a minute, by brute force: port by port, loops over all events.

Shares no code with `rating.translations`: a second opinion on the rules that it states.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from rating.records import NatEvent

NOBODY = bytes(16)


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """One allocation with its end."""

    event: NatEvent
    ends_at: int


def ports_of(event: NatEvent) -> set[int]:
    """Return the ports of an event."""
    return set(range(event.first_port, event.last_port + 1, event.port_step))


def allocations(events: Sequence[NatEvent], retention_ms: int) -> list[Held]:
    """Return every allocation of one outside address with when it ended."""
    held = []
    for event in events:
        if event.is_release:
            continue
        ends = [event.event_at + retention_ms]
        mine = ports_of(event)
        for other in events:
            protocols = {event.protocol, other.protocol}
            if other.is_release:
                is_end = (
                    other.inside_address == event.inside_address
                    and other.event_at >= event.event_at
                    and mine <= ports_of(other)
                    and other.protocol in (0, event.protocol)
                )
            else:
                is_end = (
                    other.inside_address != event.inside_address
                    and (other.event_at, other.inside_address)
                    > (event.event_at, event.inside_address)
                    and bool(mine & ports_of(other))
                    and (0 in protocols or len(protocols) == 1)
                )
            if is_end:
                ends.append(other.event_at)
        held.append(Held(event, min(ends)))
    return held


def holder(held: Sequence[Held], first: int, size: int, protocol: int, minute: int) -> bytes:
    """Return the inside address that held every port of a cell in a minute, else NOBODY."""
    start_at, end_at = minute * 60_000, (minute + 1) * 60_000
    valid = [
        h
        for h in held
        if h.event.event_at < end_at
        and h.ends_at > start_at
        and h.ends_at > h.event.event_at
        and (0 in (h.event.protocol, protocol) or h.event.protocol == protocol)
    ]
    cell = set(range(first, first + size))
    whole = [h for h in valid if cell <= ports_of(h.event) and h.event.protocol in (0, protocol)]
    if not whole:
        return NOBODY
    best = max(whole, key=lambda h: (h.event.event_at, h.event.inside_address)).event
    for other in (h.event for h in valid):
        if (
            other.inside_address != best.inside_address
            and other.event_at >= best.event_at
            and cell & ports_of(other)
            and not (cell <= ports_of(other) and other.protocol in (0, protocol))
        ):
            return NOBODY
    return best.inside_address
