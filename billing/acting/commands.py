"""A command's life, as a table: an ACK does not prove effect (DESIGN §8).

    pending ─▶ sent ─▶ acknowledged ─▶ verified
                 │           └─ no effect in time ─┐
                 ├─▶ refused ──────────────────────┼─▶ the next step of the ladder,
                 └─▶ timeout ──────────────────────┘   CoA → CoA → Disconnect → failed

Pure: rows in, rows out. A command is *open* until settled_at says its fate is final; a session
has at most one open command.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from billing.acting.desired import (
    ACTIVE,
    PROFILE_PREFIX,
    Desired,
    desired_hash,
    most_restrictive,
    speed_of,
)
from billing.acting.profiles import VENDOR_PROFILES, SpeedProfile
from rating.rows import LiveSession

PENDING = "pending"
SENT = "sent"
ACKNOWLEDGED = "acknowledged"
REFUSED = "refused"
TIMEOUT = "timeout"
VERIFIED = "verified"
FAILED = "failed"

COA = "coa"
DISCONNECT = "disconnect"

TRANSITIONS: Mapping[tuple[str, str], str] = {
    (PENDING, "transmitted"): SENT,
    (PENDING, "session_ended"): VERIFIED,
    (SENT, "ack"): ACKNOWLEDGED,
    (SENT, "nak"): REFUSED,
    (SENT, "silence"): TIMEOUT,
    (SENT, "session_ended"): VERIFIED,
    (SENT, "exchange_lost"): PENDING,
    (ACKNOWLEDGED, "effect_seen"): VERIFIED,
    (ACKNOWLEDGED, "session_ended"): VERIFIED,
    (REFUSED, "ladder_ends"): FAILED,
    (TIMEOUT, "ladder_ends"): FAILED,
    (ACKNOWLEDGED, "ladder_ends"): FAILED,
}
"""(outcome, what happened) to the next outcome; anything else is a defect of ours."""

ERROR_CAUSES: Mapping[int, str] = {
    201: "residual session context removed",
    202: "invalid EAP packet",
    401: "unsupported attribute",
    402: "missing attribute",
    403: "NAS identification mismatch",
    404: "invalid request",
    405: "unsupported service",
    406: "unsupported extension",
    407: "invalid attribute value",
    501: "administratively prohibited",
    502: "request not routable (proxy)",
    503: "session context not found",
    504: "session context not removable",
    505: "other proxy processing error",
    506: "resources unavailable",
    507: "request initiated",
    508: "multiple session selection unsupported",
}
"""Error-Cause values (RFC 5176 §3.5) in words."""

_REPEATABLE_CAUSES = frozenset({502, 503, 505, 506, 507})
"""Causes that may pass; after any other, the same request would be refused again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Command:
    """One request to one NAS for one session: a row of table `command`, same names.

    attempt counts steps of the ladder, not retransmissions. previous_target is what the session
    had before. profile names the speed profile that a CoA sets, empty where the session should
    end. Instants are ms; those not reached yet are None.
    """

    command_id: str
    branch_id: str
    subscriber_id: str
    session_id: str
    nas_id: str
    kind: str
    target: str
    previous_target: str
    profile: str
    attempt: int
    vendor_profile: str
    identifier: int | None
    error_cause: int | None
    outcome: str
    requested_at: int
    sent_at: int | None
    acknowledged_at: int | None
    verified_at: int | None
    reason: str
    desired_hash: str
    settled_at: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """How hard to try.

    coa_attempts and disconnect_attempts are the ladder's steps; verify_timeout_ms is how long an
    acknowledged command may go without seen effect; tolerance_percent is how far above its speed
    profile a throttled session may measure and still count as throttled.
    """

    speeds: Mapping[str, SpeedProfile]
    restore_profile: str
    coa_attempts: int
    disconnect_attempts: int
    verify_timeout_ms: int
    tolerance_percent: int


class Wanted(NamedTuple):
    """A target resolved by the settings: its idempotency hash, and its speed (None: end it)."""

    hash: str
    speed: SpeedProfile | None


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
    """What is known of one session: what it should get, and its newest command, if any.

    vendor_profile is None where the settings name no CoA target for the session's NAS.
    normal_profile is the plan's own speed, empty for the settings' restore profile. restriction is
    what dunning holds the account's lines to: the graver of the two wins.
    """

    session: LiveSession
    branch_id: str
    desired: Desired
    vendor_profile: str | None
    latest: Command | None
    normal_profile: str = ""
    restriction: Desired | None = None


def advance(situation: Situation, policy: Policy, now_ms: int) -> list[Command]:
    """Return the command rows to write for one session: changed, new, or none.

    Running it twice on what it wrote changes nothing, so a repeated run sends nothing twice.
    """
    latest = situation.latest
    if situation.session.ended_at is not None:
        is_open = latest is not None and latest.settled_at is None
        return [_ended(latest, now_ms)] if latest and is_open else []
    normal = situation.normal_profile or policy.restore_profile
    graver = most_restrictive(situation.desired, situation.restriction, policy.speeds, normal)
    situation = dataclasses.replace(situation, desired=graver)
    target = graver.target
    try:
        speed = speed_of(target, policy.speeds, normal)
    except KeyError as missing:
        why = f"the settings have no speed profile {missing}"
        return _refuse(situation, why, _wanted(situation, None), now_ms)
    wanted = _wanted(situation, speed)
    if latest is None or latest.desired_hash != wanted.hash:
        return _begin(situation, policy, wanted, now_ms)
    if latest.settled_at is None:
        return _follow(situation, latest, policy, wanted, now_ms)
    if latest.outcome == VERIFIED and _effect_is_lost(situation.session, latest, policy, speed):
        return [_attempt(situation, policy, wanted, latest, now_ms)]
    return []


def on_sent(command: Command, identifier: int, now_ms: int) -> Command:
    """Return the command after its first datagram left with this RADIUS Identifier."""
    outcome = TRANSITIONS[command.outcome, "transmitted"]
    return dataclasses.replace(command, outcome=outcome, identifier=identifier, sent_at=now_ms)


def on_answer(
    command: Command, *, is_ack: bool, error_cause: int | None, received_at: int
) -> Command:
    """Return the command after the NAS answered; one already settled stays as it is."""
    if command.settled_at is not None or command.outcome != SENT:
        return command
    outcome = TRANSITIONS[SENT, "ack" if is_ack else "nak"]
    if is_ack:
        return dataclasses.replace(
            command, outcome=outcome, acknowledged_at=received_at, error_cause=error_cause
        )
    words = ERROR_CAUSES.get(error_cause or 0, "no cause given")
    reason = f"refused: {error_cause} {words}" if error_cause else f"refused: {words}"
    return dataclasses.replace(command, outcome=outcome, error_cause=error_cause, reason=reason)


def on_silence(command: Command, transmissions: int) -> Command:
    """Return the command after no answer came to any transmission."""
    if command.settled_at is not None or command.outcome != SENT:
        return command
    outcome = TRANSITIONS[SENT, "silence"]
    return dataclasses.replace(
        command, outcome=outcome, reason=f"no answer to {transmissions} transmissions"
    )


def on_exchange_lost(command: Command) -> Command:
    """Return a sent command after the office restarted: no answer can reach it, so send anew."""
    outcome = TRANSITIONS[command.outcome, "exchange_lost"]
    return dataclasses.replace(command, outcome=outcome, identifier=None, sent_at=None)


def effect_is_seen(
    session: LiveSession, command: Command, policy: Policy, speed: SpeedProfile | None
) -> bool:
    """Return whether an accounting interval that began after the ACK shows the effect.

    Throttled: both directions within the profile and its tolerance. Restored: either direction
    above the profile it had before, which only a fast session shows. A Disconnect shows in
    ended_at alone, which `advance` looks at first.
    """
    if command.kind != COA or speed is None or command.acknowledged_at is None:
        return False
    if session.interval_start_at < command.acknowledged_at:
        return False
    if command.target != ACTIVE:
        return _within(session, speed, policy)
    before = policy.speeds.get(command.previous_target.removeprefix(PROFILE_PREFIX))
    return before is None or not _within(session, before, policy)


def _within(session: LiveSession, speed: SpeedProfile, policy: Policy) -> bool:
    """Return whether the last interval's rates stay within a speed and the tolerance."""
    percent = 100 + policy.tolerance_percent
    return (
        session.rate_up_bps * 100 <= speed.up_bps * percent
        and session.rate_down_bps * 100 <= speed.down_bps * percent
    )


def _effect_is_lost(
    session: LiveSession, command: Command, policy: Policy, speed: SpeedProfile | None
) -> bool:
    """Return whether a throttle that was verified (perhaps idle) is now plainly exceeded."""
    return (
        command.kind == COA
        and command.target != ACTIVE
        and speed is not None
        and session.interval_start_at >= (command.verified_at or 0)
        and not _within(session, speed, policy)
    )


def _wanted(situation: Situation, speed: SpeedProfile | None) -> Wanted:
    """Return what a situation's session should get."""
    key = desired_hash(situation.session.session_id, situation.desired, speed)
    return Wanted(key, speed)


def _begin(situation: Situation, policy: Policy, wanted: Wanted, now_ms: int) -> list[Command]:
    """Return the first attempt at a new target, and the old command closed if still open."""
    latest = situation.latest
    if latest is None and situation.desired.target == ACTIVE and not situation.desired.request_id:
        return []  # a new session is active by itself
    if situation.vendor_profile is None:
        nas_id = situation.session.nas_id
        why = f"no CoA target with a known vendor profile is set for NAS {nas_id}"
        return _refuse(situation, why, wanted, now_ms)
    return [*_superseded(latest, now_ms), _attempt(situation, policy, wanted, None, now_ms)]


def _follow(
    situation: Situation, latest: Command, policy: Policy, wanted: Wanted, now_ms: int
) -> list[Command]:
    """Return what happens next to an open command whose target still stands."""
    if latest.outcome in (PENDING, SENT):
        return []  # the exchange decides: answer or silence
    if latest.outcome == ACKNOWLEDGED:
        if effect_is_seen(situation.session, latest, policy, wanted.speed):
            outcome = TRANSITIONS[ACKNOWLEDGED, "effect_seen"]
            return [
                dataclasses.replace(latest, outcome=outcome, verified_at=now_ms, settled_at=now_ms)
            ]
        if now_ms < (latest.acknowledged_at or 0) + policy.verify_timeout_ms:
            return []
        if latest.target == ACTIVE and latest.kind == COA:
            # An idle subscriber proves nothing; cutting one off to restore him would be absurd.
            return [_settled(latest, now_ms, "acknowledged; too little traffic to prove it")]
        waited = policy.verify_timeout_ms // 1000
        latest = dataclasses.replace(latest, reason=f"acknowledged, no effect in {waited} s")
    following = _attempt(situation, policy, wanted, latest, now_ms)
    if following.outcome == FAILED:
        outcome = TRANSITIONS[latest.outcome, "ladder_ends"]
        return [dataclasses.replace(latest, outcome=outcome, settled_at=now_ms)]
    return [dataclasses.replace(latest, settled_at=now_ms), following]


def ladder_of(situation: Situation, policy: Policy) -> tuple[str, ...]:
    """Return the kinds of request to try in turn for a session's target.

    A session that belongs behind a filter is ended where its NAS can be told of none.
    """
    profile = VENDOR_PROFILES[situation.vendor_profile or "generic"]
    target = situation.desired.target
    is_speed = target == ACTIVE or target.startswith(PROFILE_PREFIX)
    speed = policy.speeds.get(target.removeprefix(PROFILE_PREFIX))
    is_deaf = speed is not None and bool(speed.filter_name) and not profile.filter
    coas = policy.coa_attempts if is_speed and profile.speed and not is_deaf else 0
    return (COA,) * coas + (DISCONNECT,) * policy.disconnect_attempts


def _attempt(
    situation: Situation, policy: Policy, wanted: Wanted, before: Command | None, now_ms: int
) -> Command:
    """Return the next attempt after `before` (None: the first); FAILED where the ladder ends."""
    ladder = ladder_of(situation, policy)
    step = before.attempt if before else 0
    is_refused_coa = before is not None and (before.kind, before.outcome) == (COA, REFUSED)
    if before and is_refused_coa and before.error_cause not in _REPEATABLE_CAUSES:
        step = max(step, ladder.count(COA))
    session, latest = situation.session, situation.latest
    previous = before.previous_target if before else latest.target if latest else ACTIVE
    return Command(
        command_id=f"{session.session_id}:{wanted.hash}:{now_ms}:{step + 1}",
        branch_id=situation.branch_id,
        subscriber_id=session.subscriber_id,
        session_id=session.session_id,
        nas_id=session.nas_id,
        kind=ladder[step] if step < len(ladder) else DISCONNECT,
        target=situation.desired.target,
        previous_target=previous,
        profile=wanted.speed.name if wanted.speed else "",
        attempt=step + 1,
        vendor_profile=situation.vendor_profile or "",
        identifier=None,
        error_cause=None,
        outcome=PENDING if step < len(ladder) else FAILED,
        requested_at=now_ms,
        sent_at=None,
        acknowledged_at=None,
        verified_at=None,
        reason=situation.desired.reason,
        desired_hash=wanted.hash,
        settled_at=None if step < len(ladder) else now_ms,
    )


def _refuse(situation: Situation, why: str, wanted: Wanted, now_ms: int) -> list[Command]:
    """Return one failed command that says why nothing could be sent; none where it stands."""
    if situation.latest and situation.latest.desired_hash == wanted.hash:
        return []
    row = _attempt(situation, _NOTHING_TO_TRY, wanted, None, now_ms)
    return [*_superseded(situation.latest, now_ms), dataclasses.replace(row, reason=why)]


_NOTHING_TO_TRY = Policy({}, "", 0, 0, 0, 0)


def _superseded(latest: Command | None, now_ms: int) -> list[Command]:
    """Return the newest command closed, where it was still open."""
    if latest is None or latest.settled_at is not None:
        return []
    return [_settled(latest, now_ms, "superseded by a newer decision")]


def _settled(command: Command, now_ms: int, reason: str) -> Command:
    """Return the command closed with a reason, its outcome as it stands."""
    return dataclasses.replace(command, settled_at=now_ms, reason=reason)


def _ended(command: Command, now_ms: int) -> Command:
    """Return an open command after its session ended: nothing is left to change."""
    event = "session_ended"
    outcome = TRANSITIONS.get((command.outcome, event), command.outcome)
    verified_at = now_ms if outcome == VERIFIED else None
    is_cause = command.kind == DISCONNECT and command.acknowledged_at is not None
    reason = command.reason if is_cause else "the session ended"
    return dataclasses.replace(
        command, outcome=outcome, verified_at=verified_at, settled_at=now_ms, reason=reason
    )
