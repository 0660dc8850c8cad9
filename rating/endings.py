"""When and why a session ended: Stop, Accounting-On or -Off of its NAS, a successor, or silence."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from rating.session_config import SessionsConfig
from rating.sessions import Session

PRESUMED = "presumed"
SUPERSEDED = "superseded"
MERGED = "merged"
"""A session that turned out to be part of another one."""

TERMINATE_CAUSES: dict[int, str] = {
    1: "user request",
    2: "lost carrier",
    3: "lost service",
    4: "idle timeout",
    5: "session timeout",
    6: "admin reset",
    7: "admin reboot",
    8: "port error",
    9: "nas error",
    10: "nas request",
    11: "nas reboot",
    12: "port unneeded",
    13: "port preempted",
    14: "port suspended",
    15: "service unavailable",
    16: "callback",
    17: "user error",
    18: "host request",
}
"""Acct-Terminate-Cause (RFC 2866 §5.10)."""


class Marker(NamedTuple):
    """One Accounting-On or Accounting-Off of a NAS (RFC 2866 §5.1)."""

    event_at: int
    status: str


class Ending(NamedTuple):
    """When a session ended (ms) and why; ended_at None while it runs."""

    ended_at: int | None
    cause: str


def first_markers(markers: Sequence[Marker], window_seconds: int) -> list[Marker]:
    """Return the markers without repetitions, ascending.

    One of the same status within the window behind the first is the same event sent again, and the
    first time stands: a session that began between the two lives.
    """
    kept: list[Marker] = []
    first: dict[str, int] = {}
    for marker in sorted(markers):
        begun_at = first.get(marker.status)
        if begun_at is not None and marker.event_at - begun_at <= window_seconds * 1000:
            continue
        first[marker.status] = marker.event_at
        kept.append(marker)
    return kept


def silence_ms(config: SessionsConfig) -> int:
    """Return how long (ms) after its last packet a session without end is presumed ended."""
    return config.silent_intervals_max * config.interim_interval_seconds * 1000


def settled_ending(session: Session, successor_at: int | None, markers: Sequence[Marker]) -> Ending:
    """Return the ending that packets alone tell, or one without ended_at.

    markers as `first_markers`. A marker ends every session of its NAS whose start lies before it,
    whenever its packets arrive. The earliest of Stop and marker stands; where there is none before
    another generation of the Acct-Session-Id began (successor_at, ms), the session ended when it
    was last heard of.
    """
    endings = []
    if session.stop_at is not None:
        cause = TERMINATE_CAUSES.get(session.stop_cause, "")
        endings.append(Ending(session.stop_at, f"stop: {cause}" if cause else "stop"))
    sealed = session.checkpoint
    if sealed and sealed.ended_at is not None:
        endings.append(Ending(sealed.ended_at, sealed.end_cause))
    after = bisect_right(markers, session.started_at, key=lambda marker: marker.event_at)
    if after < len(markers):
        endings.append(Ending(markers[after].event_at, markers[after].status))
    earliest = min(endings, key=lambda ending: ending.ended_at or 0, default=Ending(None, ""))
    if successor_at is None:
        return earliest
    if earliest.ended_at is not None and earliest.ended_at <= successor_at:
        return earliest
    return Ending(session.last_event_at, SUPERSEDED)


def ending_at(settled: Ending, session: Session, now: int, config: SessionsConfig) -> Ending:
    """Return the ending as of an instant (ms): a session silent for too long is presumed ended.

    Its end is the last it was heard of; a later packet reopens it.
    """
    if settled.ended_at is None and session.last_received_at + silence_ms(config) <= now:
        return Ending(session.last_event_at, PRESUMED)
    return settled
