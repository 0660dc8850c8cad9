"""What subscribers and operators are told, in words: pure text from rows."""

from __future__ import annotations

import dataclasses

from billing.acting.commands import Command
from rating.rows import Alert


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """A text for somebody. (kind, subject_key) is what happened: it is told once per channel.

    recipient is an address of the channel that needs one (mail), and may be empty.
    """

    kind: str
    subject_key: str
    branch_id: str
    recipient: str
    subject: str
    body: str


def alert_notice(alert: Alert, branch_id: str, account_name: str, email: str) -> Notice:
    """Return the notice of a crossed threshold; percent 0 is an exhausted balance."""
    if alert.percent == 0:
        subject = "Your prepaid balance is used up"
        body = f"Dear {account_name},\n\nyour prepaid balance is used up. Please top up."
    else:
        subject = f"You have used {alert.percent} % of your {alert.meter_id} allowance"
        body = (
            f"Dear {account_name},\n\nyou have used {alert.percent} % of what your plan includes"
            f" for {alert.meter_id} in this billing period."
        )
    return Notice("alert", alert.alert_id, branch_id, email, subject, body)


def failure_notice(command: Command, operator_email: str) -> Notice:
    """Return the notice to the operator that a session could not be brought where it should be."""
    subject = f"{command.subscriber_id} is not {command.target}: {command.kind} failed"
    body = (
        f"Session {command.session_id} of {command.subscriber_id} on NAS {command.nas_id} should"
        f" be {command.target}.\nAttempt {command.attempt} ({command.kind}): {command.reason}."
    )
    return Notice(
        "command_failed",
        command.command_id,
        command.branch_id,
        operator_email,
        subject,
        body,
    )
