"""Commands on balances: add a bucket, given away or sold."""

from __future__ import annotations

from sqlalchemy import exists, select

import rating.events
from api.instants import MINUTE_MS
from api.models.balances import BucketCreate, BucketGrant
from api.models.values import EventStatus
from api.problems import Problem, invalid_field
from api.reads import parties
from api.tables import account_event_sent
from api.writes.transaction import CommandTransaction
from billing.adapters import ledger
from billing.balance_postings import BucketSale, bucket_transaction

_DAY_MS = 86_400_000


def grant_bucket(transaction: CommandTransaction, body: BucketCreate) -> BucketGrant:
    """Send a bucket as an account event of the running minute, with its money's posting.

    The event's id is made of the reference, so the same reference counts once.
    """
    connection = transaction.connection
    branch_id = parties.rating_key_branch(
        connection, transaction.principal.branch_id, body.rating_key
    )
    branch = parties.get_branch(connection, None, branch_id)
    if body.currency != branch.currency:
        expected = f"the branch's currency, {branch.currency}"
        raise invalid_field("/currency", body.currency, expected)
    at = transaction.now_at // MINUTE_MS * MINUTE_MS
    payload = _payload(body, at)
    event_id = f"bucket:{branch_id}:{body.reference}"
    sent = exists().where(account_event_sent.c.event_id == event_id)
    if connection.scalar(select(sent)):
        status = EventStatus.pending(event_id)
        return BucketGrant(rating_key=body.rating_key, bucket_id=body.reference, event=status)
    event = transaction.event(body.rating_key, payload, at, event_id)
    [status] = transaction.send_events([event])
    account_id = parties.rating_key_account(connection, body.rating_key)
    posting = bucket_transaction(
        BucketSale(
            event_id=event_id,
            branch_id=branch_id,
            account_id=account_id,
            currency=body.currency,
            bonus_minor=body.amount if body.unit == "money" else 0,
            price_minor=body.price_minor,
            occurred_at=transaction.now_at,
            description=f"Bucket {body.reference} {body.rating_key}",
        )
    )
    if posting is not None:
        ledger.post(connection, [posting], transaction.now_at)
    return BucketGrant(rating_key=body.rating_key, bucket_id=body.reference, event=status)


def _payload(body: BucketCreate, at: int) -> rating.events.BucketGranted:
    if body.days is not None and body.ends_with_period:
        raise invalid_field("/days", body.days, "left out, or no ends_with_period")
    try:
        return rating.events.BucketGranted(
            bucket_id=body.reference,
            unit=body.unit,
            amount=body.amount,
            currency=body.currency,
            priority=body.priority,
            meter_id=body.meter_id,
            valid_until_at=at + body.days * _DAY_MS if body.days else None,
            ends_with_period=body.ends_with_period,
            renews=body.renews,
            rollover_max=body.rollover_max,
            price_minor=body.price_minor,
        )
    except ValueError as error:
        raise Problem("invalid-request", str(error)) from None
