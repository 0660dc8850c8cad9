"""What a session should get: rate's decision, unless a clerk decided otherwise.

A target is ``active``, ``profile:<name>``, ``blocked`` or ``disconnected`` (once, for sessions
that lived when it was asked for).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from billing.acting.profiles import SpeedProfile
from billing.canonical import content_hash
from rating.rows import DesiredService, LiveSession

ACTIVE = "active"
BLOCKED = "blocked"
DISCONNECTED = "disconnected"
PROFILE_PREFIX = "profile:"


@dataclasses.dataclass(frozen=True, slots=True)
class CommandRequest:
    """What a clerk asked for: action is throttle (to a profile), restore or disconnect."""

    request_id: str
    branch_id: str
    subscriber_id: str
    action: str
    profile: str
    requested_by: str
    requested_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Desired:
    """The target of one session, and why, in words for the commands page.

    request_id names the clerk's request behind it, empty where rate decided: a clerk who asks
    again after a failure is heard again.
    """

    target: str
    reason: str
    request_id: str = ""


def desired_of(
    session: LiveSession,
    service: DesiredService | None,
    requests: Sequence[CommandRequest],
    *,
    status: str = "active",
) -> Desired:
    """Return what a session should get; requests are one subscriber's, in any order.

    status is the subscriber's, where it decides by itself: rate knows a pool as a whole, so a
    member who is suspended or ended is blocked here, whatever else was asked for.

    The clerk's newest request counts. A disconnect concerns sessions that had begun by then. A
    throttle stands until a restore. A restore stands until rate decides anew, so the next period
    throttles again. Blocked by rate beats a clerk's throttle, never a later restore.
    """
    if status != "active":
        return Desired(BLOCKED, f"the subscriber is {status}")
    decided = Desired(service.target, service.reason) if service else Desired(ACTIVE, "")
    newest: CommandRequest | None = None
    for request in sorted(requests, key=lambda r: (r.requested_at, r.request_id)):
        if request.action != "disconnect" or session.started_at <= request.requested_at:
            newest = request
    if newest is None:
        return decided
    by = f"asked for by {newest.requested_by}"
    if newest.action == "disconnect":
        return Desired(DISCONNECTED, by, newest.request_id)
    if newest.action == "throttle":
        throttled = Desired(PROFILE_PREFIX + newest.profile, by, newest.request_id)
        return decided if decided.target == BLOCKED else throttled
    if service is not None and service.decided_at > newest.requested_at:
        return decided
    is_older = session.started_at <= newest.requested_at
    return Desired(ACTIVE, by, newest.request_id if is_older else "")


def most_restrictive(
    decided: Desired,
    restriction: Desired | None,
    speeds: Mapping[str, SpeedProfile],
    restore_profile: str,
) -> Desired:
    """Return the graver of what rate and clerks want and what dunning restricts, with its reason.

    Ending a session is graver than blocking, that than another filter (a walled garden), that than
    a lower speed; what is equal stays with rate and the clerk. A profile that the settings lack
    counts as grave, so that somebody hears of it.
    """
    if restriction is None:
        return decided
    places = [_gravity(one, speeds, restore_profile) for one in (decided, restriction)]
    return restriction if places[1] > places[0] else decided


def _gravity(
    desired: Desired, speeds: Mapping[str, SpeedProfile], restore_profile: str
) -> tuple[int, int]:
    """Return the place of a target among others, the gravest greatest."""
    if desired.target in (BLOCKED, DISCONNECTED):
        return (4 if desired.target == DISCONNECTED else 3), 0
    normal = speeds.get(restore_profile)
    name = desired.target.removeprefix(PROFILE_PREFIX)
    speed = normal if desired.target == ACTIVE else speeds.get(name)
    if speed is None:
        return (0 if desired.target == ACTIVE else 2), 0
    is_filtered = normal is not None and speed.filter_name != normal.filter_name
    return int(is_filtered), -(speed.up_bps + speed.down_bps)


def speed_of(
    target: str, speeds: Mapping[str, SpeedProfile], restore_profile: str
) -> SpeedProfile | None:
    """Return the speed that a target means; None where the session should end.

    KeyError where the settings name no such profile.
    """
    if target in (BLOCKED, DISCONNECTED):
        return None
    return speeds[restore_profile if target == ACTIVE else target.removeprefix(PROFILE_PREFIX)]


def desired_hash(session_id: str, desired: Desired, speed: SpeedProfile | None) -> str:
    """Return what makes commands idempotent: equal for the same session, target and speed."""
    limits: list[int | str] | None = [speed.up_bps, speed.down_bps] if speed else None
    if limits and speed and speed.filter_name:
        limits.append(speed.filter_name)
    return content_hash([session_id, desired.target, desired.request_id, limits])[:16]
