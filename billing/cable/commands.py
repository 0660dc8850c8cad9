"""A command to the CAS and its life, as a table: an acknowledgement does not prove effect.

    pending ─▶ sent ─▶ acknowledged ─▶ verified    (asked what the card has, the CAS agreed)
       ▲         │           └───────▶ lost        (asked, it did not: the next step repeats it)
       │         ├─▶ refused, if it may pass, or silence: pending again, same key, later
       │         └─▶ failed                        (refused for good; an operator is told)
       └ superseded, if it never left and is wanted no more

A card has at most one open command, so what a CAS does for it has one order. Silence leaves a
command open for ever, repeated under its own key: it may have been done, and the next step
depends on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from billing.cable.access import BUSY, CardState, CasAnswer, CasRequest
from billing.cable.entitlements import Step

PENDING = "pending"
SENT = "sent"
ACKNOWLEDGED = "acknowledged"
VERIFIED = "verified"
LOST = "lost"
FAILED = "failed"
SUPERSEDED = "superseded"

TRANSITIONS: Mapping[tuple[str, str], str] = {
    (PENDING, "left"): SENT,
    (PENDING, "no_longer_wanted"): SUPERSEDED,
    (SENT, "did_not_leave"): PENDING,
    (SENT, "done"): ACKNOWLEDGED,
    (SENT, "refused_for_now"): PENDING,
    (SENT, "refused"): FAILED,
    (SENT, "silence"): PENDING,
    (SENT, "restarted"): PENDING,
    (ACKNOWLEDGED, "seen"): VERIFIED,
    (ACKNOWLEDGED, "not_seen"): LOST,
}
"""(outcome, what happened) to the next outcome; anything else is a defect of ours."""

OPEN = (PENDING, SENT)


@dataclasses.dataclass(frozen=True, slots=True)
class CasCommand:
    """One command: a row of `cas_command`, same names. command_id is ``card/number``.

    number is dense per card. attempts counts how often it left; round counts repetitions of one
    step that the CAS acknowledged and then did not know of. next_attempt_at is when a pending one
    leaves. settled_at is when its fate was final. request_id names the clerk's request behind a
    message or a refresh.
    """

    command_id: str
    card_serial: str
    number: int
    branch_id: str
    subscriber_id: str
    operation: str
    box_serial: str
    entitlement: str
    expires_at: int
    message: str
    request_id: str
    outcome: str
    attempts: int
    round: int
    reason: str
    requested_at: int
    next_attempt_at: int
    sent_at: int | None = None
    acknowledged_at: int | None = None
    verified_at: int | None = None
    settled_at: int | None = None

    @property
    def step(self) -> Step:
        """Return the change that the command makes to its card."""
        return Step(self.operation, self.box_serial, self.entitlement, self.expires_at)

    @property
    def request(self) -> CasRequest:
        """Return what is asked of the CAS."""
        return CasRequest(
            self.command_id,
            self.operation,
            self.card_serial,
            self.box_serial,
            self.entitlement,
            self.expires_at,
            self.message,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in ms: retry_ms after the first silence, twice as long after each, at
    most retry_max_ms; refused_ms before a step that was refused for good is tried again;
    rounds is how often a step may be acknowledged and then not be there."""

    retry_ms: int
    retry_max_ms: int
    refused_ms: int
    rounds: int

    def wait_ms(self, attempts: int) -> int:
        """Return the wait after so many attempts."""
        return min(self.retry_ms << min(max(attempts - 1, 0), 20), self.retry_max_ms)


def on_left(command: CasCommand, now_ms: int) -> CasCommand:
    """Return a pending command as it is recorded before it leaves."""
    return dataclasses.replace(
        command,
        outcome=TRANSITIONS[command.outcome, "left"],
        attempts=command.attempts + 1,
        sent_at=command.sent_at or now_ms,
    )


def on_not_left(command: CasCommand, patience: Patience, now_ms: int) -> CasCommand:
    """Return a command that was to leave and could not: no attempt was made."""
    return dataclasses.replace(
        command,
        outcome=TRANSITIONS[command.outcome, "did_not_leave"],
        attempts=command.attempts - 1,
        sent_at=command.sent_at if command.attempts > 1 else None,
        reason="no connection to the conditional-access system",
        next_attempt_at=now_ms + patience.retry_ms,
    )


def on_restart(command: CasCommand, now_ms: int) -> CasCommand:
    """Return a command whose answer the former process took with it: it is sent again."""
    outcome = TRANSITIONS[command.outcome, "restarted"]
    return dataclasses.replace(command, outcome=outcome, next_attempt_at=now_ms)


def on_answer(
    command: CasCommand, answer: CasAnswer, patience: Patience, now_ms: int
) -> CasCommand:
    """Return the command after an answer or silence; one that is not on its way stays as it is."""
    if command.outcome != SENT:
        return command
    if answer.is_answered and not answer.error:
        return dataclasses.replace(
            command, outcome=TRANSITIONS[SENT, "done"], acknowledged_at=now_ms, reason=""
        )
    if answer.is_answered and answer.error != BUSY:
        return dataclasses.replace(
            command,
            outcome=TRANSITIONS[SENT, "refused"],
            reason=f"refused: {answer.reason or answer.error}",
            settled_at=now_ms,
        )
    if answer.is_answered:
        what, reason = "refused_for_now", "the system is busy"
    else:
        what, reason = "silence", answer.reason or "no answer"
    return dataclasses.replace(
        command,
        outcome=TRANSITIONS[SENT, what],
        reason=f"{reason} (attempt {command.attempts})",
        next_attempt_at=now_ms + patience.wait_ms(command.attempts),
    )


def on_no_longer_wanted(command: CasCommand, now_ms: int) -> CasCommand:
    """Return a command that has never left, given up."""
    outcome = TRANSITIONS[command.outcome, "no_longer_wanted"]
    reason = "something else is wanted now"
    return dataclasses.replace(command, outcome=outcome, settled_at=now_ms, reason=reason)


def on_seen(command: CasCommand, found: CardState, known: CardState, now_ms: int) -> CasCommand:
    """Return an acknowledged command after the CAS was asked what its card has.

    It is proven where the card has, of what the command was about, what all commands together
    have led to.
    """
    is_there = _aspect(found, command) == _aspect(known, command)
    outcome = TRANSITIONS[command.outcome, "seen" if is_there else "not_seen"]
    return dataclasses.replace(
        command,
        outcome=outcome,
        verified_at=now_ms if is_there else None,
        settled_at=now_ms,
        reason="" if is_there else "acknowledged, but the card does not have it",
    )


def _aspect(state: CardState, command: CasCommand) -> str | int | None:
    """Return that part of a card's state that a command is about."""
    if command.entitlement:
        return state.entitlements.get(command.entitlement)
    return state.box_serial


def may_repeat(
    step: Step, latest: CasCommand | None, patience: Patience, now_ms: int
) -> tuple[int, int | None]:
    """Return (round of the next command, instant from which it may be written; None: now).

    Of a step that the card's latest command has just failed at, the repetition waits.
    """
    if latest is None or latest.step != step:
        return 0, None
    if latest.outcome == LOST:
        following = latest.round + 1
        if following < patience.rounds:
            return following, None
        at = (latest.settled_at or 0) + patience.refused_ms
        return (0, None) if now_ms >= at else (following, at)
    if latest.outcome == FAILED:
        at = (latest.settled_at or 0) + patience.refused_ms
        return 0, (None if now_ms >= at else at)
    return 0, None
