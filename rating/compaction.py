"""Forgetting of a session what lies behind the lateness bound, so that its state stays bounded."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial

import msgspec

from rating.bindings import binding_id, forget_before, hold_through
from rating.endings import Ending
from rating.session_config import SessionsConfig
from rating.session_state import Checkpoint, Hold, Holds, Packet, SessionGroup
from rating.sessions import Session, session_through
from rating.unwrapping import Unwrapped, unwrap


def compact(
    group: SessionGroup,
    sessions: Sequence[tuple[Session, Ending]],
    horizon_at: int,
    subscriber_at: Callable[[Session, int], str],
) -> SessionGroup:
    """Return the group with every knot that lies behind the horizon (ms) made a checkpoint.

    A knot goes only if it was also received before the horizon, so that a NAS that sends hours of
    spooled packets at once may send them in any order. sessions are the group's, each with its
    ending from packets alone. The usage of every minute from a checkpoint's on stays as it was.
    """
    packets: list[Packet] = []
    checkpoints = []
    forgotten: set[str] = set()
    for session, ending in sessions:
        index = _origin_index(session, horizon_at)
        origin_at = session.curve.times[max(index, 0)]
        dropped = [p for p in session.packets if p.event_at <= origin_at]
        if index < 0 or (index == 0 and not dropped):
            packets += [*session.packets, *session.after_stop, *session.repeats]
            checkpoints += [session.checkpoint] if session.checkpoint else []
            continue
        kept = [p for p in session.packets if p.event_at > origin_at]
        beside = (*session.after_stop, *session.repeats)
        kept += [p for p in beside if p.received_at > horizon_at]
        holds = _holds(session, dropped, partial(subscriber_at, session))
        settled = _sealed(session) if kept else ending
        made, gone = _settle(session, index, dropped, holds, settled, horizon_at)
        forgotten |= {binding_id(session.session_id, hold) for hold in gone}
        checkpoints.append(made)
        packets += kept
    settled_group = msgspec.structs.replace(group, checkpoints=tuple(checkpoints))
    return _without(settled_group, packets, forgotten, horizon_at)


def compact_straight(
    group: SessionGroup,
    tail: Checkpoint,
    horizon_at: int,
    subscriber_at: Callable[[Session, int], str],
    config: SessionsConfig,
) -> SessionGroup | None:
    """Return what `compact` returns, with its tail, for a straight group with that tail.

    The packets in front of the horizon are not looked at: nothing behind it depends on them. None
    where none is in front of it: then the session's ending has to be settled.
    """
    limit_at = _limit_at(group.packets, horizon_at)
    dropped = [p for p in group.packets if p.event_at <= limit_at]
    if not dropped:
        return group
    if len(dropped) == len(group.packets):
        return None
    session = session_through(group, tail, dropped, config)
    index = len(session.curve.times) - 1
    holds = _holds(session, dropped, partial(subscriber_at, session))
    made, gone = _settle(session, index, dropped, holds, _sealed(session), horizon_at)
    made = msgspec.structs.replace(
        made,
        last_event_at=tail.last_event_at,
        last_received_at=tail.last_received_at,
        user_name=tail.user_name,
        identities=tail.identities,
        nas_address=tail.nas_address,
    )
    held = tail.holds
    if gone:
        held = held._replace(closed=tuple(hold for hold in held.closed if hold not in gone))
    others = [c for c in group.checkpoints if c.generation != tail.generation]
    return _without(
        msgspec.structs.replace(
            group,
            checkpoints=tuple(sorted([*others, made], key=lambda c: c.started_at)),
            tail=msgspec.structs.replace(tail, holds=held),
        ),
        list(group.packets[len(dropped) :]),
        {binding_id(session.session_id, hold) for hold in gone},
        horizon_at,
    )


def _without(
    group: SessionGroup, packets: Sequence[Packet], forgotten: set[str], horizon_at: int
) -> SessionGroup:
    """Return the group with these packets and their facts alone, and without old bindings."""
    used = sorted({packet.facts for packet in packets})
    moved = {old: new for new, old in enumerate(used)}
    return msgspec.structs.replace(
        group,
        packets=tuple(p._replace(facts=moved[p.facts]) for p in packets),
        facts=tuple(group.facts[index] for index in used),
        sent={
            key: sent
            for key, sent in group.sent.items()
            if key not in forgotten and not (sent.until_at == sent.from_at <= horizon_at)
        },
    )


def _settle(
    session: Session,
    index: int,
    dropped: Sequence[Packet],
    holds: Holds,
    ending: Ending,
    horizon_at: int,
) -> tuple[Checkpoint, set[Hold]]:
    """Return the checkpoint at knot `index`, and the holds that it forgets.

    dropped: the packets up to that knot, holds: what was held until then.
    """
    remembered = forget_before(holds, horizon_at)
    unwrapped = unwrap(dropped, session.checkpoint, session.started_at)
    made = checkpoint_of(session, index, unwrapped, remembered, ending)
    return made, set(holds.closed) - set(remembered.closed)


def _origin_index(session: Session, horizon_at: int) -> int:
    """Return the knot that becomes the origin: the last one settled by event and receipt.

    It is -1 where not even the origin is behind the horizon.
    """
    return bisect_right(session.curve.times, _limit_at(session.packets, horizon_at)) - 1


def _limit_at(packets: Sequence[Packet], horizon_at: int) -> int:
    """Return the instant (ms) through which every event was also received by the horizon."""
    fresh = [p.event_at - 1 for p in packets if p.received_at > horizon_at]
    return min([horizon_at, *fresh])


def _holds(
    session: Session, dropped: Sequence[Packet], subscriber_at: Callable[[int], str]
) -> Holds:
    checkpoint = session.checkpoint
    if checkpoint is None:
        return hold_through(Holds(), dropped, session.facts, session.started_at, subscriber_at)
    new = [p for p in dropped if p.event_at > checkpoint.origin_at]
    return hold_through(checkpoint.holds, new, session.facts, None, subscriber_at)


def tail_of(session: Session, holds: Holds) -> Checkpoint | None:
    """Return a running session as of its last packet, None for one that was stopped."""
    if session.stop_at is not None:
        return None
    unwrapped = unwrap(session.packets, session.checkpoint, session.started_at)
    last = len(session.curve.times) - 1
    return checkpoint_of(session, last, unwrapped, holds, _sealed(session))


def _sealed(session: Session) -> Ending:
    """Return the ending that a former checkpoint settled."""
    former = session.checkpoint
    return Ending(former.ended_at, former.end_cause) if former else Ending(None, "")


def checkpoint_of(
    session: Session, index: int, unwrapped: Unwrapped, holds: Holds, ending: Ending
) -> Checkpoint:
    """Return the session with knot `index` as its origin.

    unwrapped: of the packets up to that knot, holds: what was held until then.
    """
    curve = session.curve.compacted(index)
    is_stopped = session.stop_at is not None and session.stop_at <= curve.times[0]
    return Checkpoint(
        generation=session.generation,
        started_at=session.started_at,
        implied_first_at=session.extent[0],
        implied_last_at=session.extent[1],
        reached_at=session.extent[2],
        origin_at=curve.times[0],
        origin=curve.values[0],
        base=curve.base,
        tracks=unwrapped.tracks,
        seconds=unwrapped.seconds,
        has_gigawords=unwrapped.has_gigawords,
        stop_at=session.stop_at if is_stopped else None,
        stop_cause=session.stop_cause if is_stopped else 0,
        last_event_at=session.last_event_at,
        last_received_at=session.last_received_at,
        user_name=session.user_name,
        identities=session.identities,
        nas_address=session.nas_address,
        holds=holds,
        ended_at=ending.ended_at,
        end_cause=ending.cause,
    )
