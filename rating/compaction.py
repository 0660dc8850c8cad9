"""Forgetting of a session what lies behind the lateness bound, so that its state stays bounded."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import partial

from rating.bindings import binding_id, forget_before, hold_through
from rating.endings import Ending
from rating.session_state import Checkpoint, Holds, Packet, SessionGroup
from rating.sessions import Session
from rating.unwrapping import unwrap


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
        remembered = forget_before(holds, horizon_at)
        gone = set(holds.closed) - set(remembered.closed)
        forgotten |= {binding_id(session.session_id, hold) for hold in gone}
        settled = _sealed(session) if kept else ending
        checkpoints.append(checkpoint_of(session, index, dropped, remembered, settled))
        packets += kept
    used = sorted({packet.facts for packet in packets})
    moved = {old: new for new, old in enumerate(used)}
    return dataclasses.replace(
        group,
        packets=tuple(p._replace(facts=moved[p.facts]) for p in packets),
        facts=tuple(group.facts[index] for index in used),
        checkpoints=tuple(checkpoints),
        sent={
            key: sent
            for key, sent in group.sent.items()
            if key not in forgotten and not (sent.until_at == sent.from_at <= horizon_at)
        },
    )


def _origin_index(session: Session, horizon_at: int) -> int:
    """Return the knot that becomes the origin: the last one settled by event and receipt.

    It is -1 where not even the origin is behind the horizon.
    """
    fresh = [p.event_at for p in session.packets if p.received_at > horizon_at]
    limit_at = min([horizon_at, *(event_at - 1 for event_at in fresh)])
    return bisect_right(session.curve.times, limit_at) - 1


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
    last = len(session.curve.times) - 1
    return checkpoint_of(session, last, session.packets, holds, _sealed(session))


def _sealed(session: Session) -> Ending:
    """Return the ending that a former checkpoint settled."""
    former = session.checkpoint
    return Ending(former.ended_at, former.end_cause) if former else Ending(None, "")


def checkpoint_of(
    session: Session, index: int, dropped: Sequence[Packet], holds: Holds, ending: Ending
) -> Checkpoint:
    """Return the session with knot `index` as its origin.

    dropped: the packets up to that knot, holds: what was held until then.
    """
    former = session.checkpoint
    unwrapped = unwrap(dropped, former, session.started_at)
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
