"""Commands that act at once: a top-up of a balance, a request to the routers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists, func, select

import billing.payments
import rating.events
from api.instants import MINUTE_MS
from api.keys import branch_for
from api.models.acting import CommandAccepted, CommandRequest
from api.models.billing import TopUp, TopUpCreate
from api.models.values import EventStatus, Money
from api.problems import Problem, invalid_field
from api.reads import parties
from api.writes.transaction import CommandTransaction
from billing.adapters import ledger, tables


def top_up(transaction: CommandTransaction, body: TopUpCreate) -> TopUp:
    """Send money to a prepaid balance as an account event of the running minute.

    The event's id is made of the receipt's reference, so the same receipt counts once even
    under another Idempotency-Key.
    """
    connection = transaction.connection
    branch_id = parties.rating_key_branch(
        connection, transaction.principal.branch_id, body.rating_key
    )
    branch = parties.get_branch(connection, None, branch_id)
    if body.currency != branch.currency:
        expected = f"the branch's currency, {branch.currency}"
        raise invalid_field("/currency", body.currency, expected)
    reference = body.reference or transaction.services.new_id("receipt")
    event_id = f"topup:{branch_id}:{reference}"
    at = (
        transaction.now_at // MINUTE_MS * MINUTE_MS
        if body.effective_at is None
        else transaction.effective_at(body.effective_at)
    )
    amount = Money.of(body.amount_minor, body.currency)
    if _is_known(transaction, event_id, body.amount_minor):
        return TopUp(rating_key=body.rating_key, amount=amount, event=EventStatus.pending(event_id))
    payload = rating.events.TopUp(body.amount_minor, body.currency)
    event = transaction.event(body.rating_key, payload, at, event_id)
    [status] = transaction.send_events([event])
    account_id = parties.rating_key_account(connection, body.rating_key)
    posting = billing.payments.topup_transaction(
        billing.payments.TopUp(
            event_id, branch_id, account_id, body.amount_minor, body.currency, transaction.now_at
        )
    )
    ledger.post(connection, [posting], transaction.now_at)
    return TopUp(rating_key=body.rating_key, amount=amount, event=status)


def _is_known(transaction: CommandTransaction, event_id: str, amount_minor: int) -> bool:
    """Return whether this receipt was booked before; a 409 Problem where it was another sum."""
    posting, entry = tables.ledger_transaction.c, tables.ledger_entry.c
    statement = (
        select(func.max(entry.amount_minor))
        .join_from(tables.ledger_transaction, tables.ledger_entry)
        .where(posting.source == billing.payments.TOPUP, posting.idempotency_key == event_id)
    )
    booked = transaction.connection.scalar(statement)
    if booked is not None and booked != amount_minor:
        raise Problem("conflict", "This reference was booked before, with another amount.")
    return booked is not None


def request_command(
    transaction: CommandTransaction, subscriber_id: str, body: CommandRequest
) -> CommandAccepted:
    """Ask the office to throttle, restore or disconnect a subscriber's sessions."""
    connection, principal = transaction.connection, transaction.principal
    subscriber = parties.get_subscriber(
        connection, principal.branch_id, subscriber_id, transaction.now_at
    )
    _refuse_unknown_profile(transaction, body.profile)
    session = tables.live_session.c
    lives = exists().where(session.subscriber_id == subscriber_id, session.ended_at.is_(None))
    if body.action == "disconnect" and not connection.scalar(select(lives)):
        raise Problem("conflict", "The subscriber has no live session to disconnect.")
    row: dict[str, Any] = {
        "request_id": transaction.services.new_id("req"),
        "branch_id": branch_for(principal, subscriber.branch_id),
        "subscriber_id": subscriber_id,
        "action": body.action,
        "profile": body.profile or "",
        "requested_by": principal.name,
        "requested_at": transaction.now_at,
    }
    transaction.add(tables.command_request, row)
    transaction.counted["api_commands_requested_total"] = 1
    url = f"/v1/commands?subscriber_id={subscriber_id}"
    shown = {name: value for name, value in row.items() if name != "branch_id"}
    return CommandAccepted(**shown, commands_url=url)


def _refuse_unknown_profile(transaction: CommandTransaction, profile: str | None) -> None:
    """Raise a 422 Problem for a speed that no router will be told."""
    known = [one.name for one in transaction.services.speed_profiles]
    if profile is not None and known and profile not in known:
        raise invalid_field("/profile", profile, f"one of the speed profiles {', '.join(known)}")
