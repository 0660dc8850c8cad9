"""Ends what an account has for the office: plans by the command a clerk would give, and TV."""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection, select

from api.instants import next_minute
from api.keys import Principal
from api.models.parties import Ending
from api.ports import Services
from api.writes.subscriptions import end_subscription
from api.writes.transaction import CommandTransaction
from billing.adapters import tables
from billing.adapters.cable_catalog import end_subscriber

DUNNING = Principal("dunning", "Dunning", None)
"""Who ends the subscriptions of an account that does not pay."""


def end_account(services: Services, connection: Connection, account_id: str, now_ms: int) -> int:
    """End all running subscriptions of an account at the next minute; return how many.

    What its subscribers watch ends then as well. One that begins later ends as it begins. It is one
    transaction with what the caller does in it.
    """
    subscription = tables.subscription.c
    running = connection.execute(
        select(subscription.subscription_id, subscription.starts_at)
        .where(subscription.account_id == account_id, subscription.ends_at.is_(None))
        .order_by(subscription.subscription_id)
    ).all()
    by_then = dataclasses.replace(services, now_ms=lambda: now_ms)
    transaction = CommandTransaction(by_then, DUNNING, connection)
    for subscription_id, starts_at in running:
        at = max(next_minute(now_ms), starts_at)
        end_subscription(transaction, subscription_id, Ending.model_construct(effective_at=at))
    subscriber = tables.subscriber.c
    query = select(subscriber.subscriber_id).where(subscriber.account_id == account_id)
    for subscriber_id in connection.scalars(query.order_by(subscriber.subscriber_id)).all():
        end_subscriber(connection, subscriber_id, next_minute(now_ms))
    transaction.count()
    return len(running)
