"""What an operator is told about cable TV."""

from __future__ import annotations

from billing.acting.notices import Notice
from billing.cable.commands import CasCommand


def failure_notice(command: CasCommand, operator_email: str) -> Notice:
    """Return the notice that a card could not be brought where it should be."""
    subject = f"Card {command.card_serial}: {command.operation} failed"
    about = command.entitlement or command.box_serial or command.message
    holder = command.subscriber_id or "nobody"
    body = (
        f"The conditional-access system did not do {command.operation} {about} on card"
        f" {command.card_serial} of {holder}: {command.reason}."
    )
    return Notice(
        "cas_command_failed",
        command.command_id,
        command.branch_id,
        operator_email,
        subject,
        body,
    )
