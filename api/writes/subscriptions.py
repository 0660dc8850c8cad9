"""Commands on subscriptions: start, change of plan, end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, select, update

import rating.plans
from api.instants import to_text
from api.models.parties import (
    Ending,
    Plan,
    PlanChange,
    Subscription,
    SubscriptionCreate,
)
from api.problems import Problem, invalid_field
from api.reads import parties
from api.writes.transaction import CommandTransaction
from billing.adapters import tables
from billing.adapters.repositories import find_calendar
from billing.plan_changes import default_when, period_end_at
from rating.events import PlanChanged, SubscriptionEnded, SubscriptionStarted


def start_subscription(transaction: CommandTransaction, body: SubscriptionCreate) -> Subscription:
    """Put a rating key on a plan; 409 where one still runs then."""
    connection = transaction.connection
    branch_id = parties.rating_key_branch(
        connection, transaction.principal.branch_id, body.rating_key
    )
    at = transaction.effective_at(body.starts_at, "/starts_at")
    _refuse_overlap(transaction, body.rating_key, at)
    plan = parties.get_plan(connection, branch_id, body.plan_id, body.plan_version)
    account_id = parties.rating_key_account(connection, body.rating_key)
    row: dict[str, Any] = {
        "subscription_id": transaction.services.new_id("scn"),
        "branch_id": branch_id,
        "account_id": account_id,
        "rating_key": body.rating_key,
        "plan_id": plan.plan_id,
        "plan_version": plan.version,
        "starts_at": at,
        "ends_at": None,
    }
    transaction.add(tables.subscription, row)
    payload = SubscriptionStarted(priced(plan), find_calendar(connection, account_id))
    event = transaction.event(body.rating_key, payload, at)
    return Subscription(**row, events=transaction.send_events([event]))


def _refuse_overlap(transaction: CommandTransaction, rating_key: str, at: int) -> None:
    subscription = tables.subscription.c
    statement = select(subscription.subscription_id).where(
        subscription.rating_key == rating_key,
        or_(subscription.ends_at.is_(None), subscription.ends_at > at),
    )
    running = transaction.connection.scalars(statement).first()
    if running is not None:
        raise Problem("conflict", f"{rating_key!r} has subscription {running!r} then.")


def change_plan(
    transaction: CommandTransaction, subscription_id: str, body: PlanChange
) -> Subscription:
    """End the subscription and go on with another plan at the same minute.

    An upgrade acts at once, a downgrade at the period's end, where the request does not say.
    """
    connection = transaction.connection
    running = _running(transaction, subscription_id)
    plan = parties.get_plan(connection, running.branch_id, body.plan_id, body.plan_version)
    if (plan.plan_id, plan.version) == (running.plan_id, running.plan_version):
        raise Problem("conflict", "The subscription has this plan version already.")
    at = _change_at(transaction, running, plan, body)
    _end(transaction, running, at)
    row: dict[str, Any] = {
        **running.model_dump(exclude={"events"}),
        "subscription_id": transaction.services.new_id("scn"),
        "plan_id": plan.plan_id,
        "plan_version": plan.version,
        "starts_at": at,
        "ends_at": None,
    }
    transaction.add(tables.subscription, row)
    event = transaction.event(running.rating_key, PlanChanged(priced(plan)), at)
    return Subscription(**row, events=transaction.send_events([event]))


def _change_at(
    transaction: CommandTransaction, running: Subscription, plan: Plan, body: PlanChange
) -> int:
    """Return when a change of plan takes effect (ms); 422 where it is said twice."""
    if body.effective_at is not None:
        if body.when is not None:
            raise invalid_field("/when", body.when, "left out beside effective_at")
        return transaction.effective_at(body.effective_at)
    connection = transaction.connection
    before = parties.get_plan(connection, None, running.plan_id, running.plan_version)
    when = body.when or default_when(priced(before).recurring_fee, priced(plan).recurring_fee)
    if when == "now":
        return max(transaction.effective_at(None), running.starts_at)
    calendar = find_calendar(connection, running.account_id)
    return period_end_at(calendar, max(transaction.now_at, running.starts_at))


def end_subscription(
    transaction: CommandTransaction, subscription_id: str, body: Ending
) -> Subscription:
    """End the subscription; later usage of its rating key is kept but not priced."""
    running = _running(transaction, subscription_id)
    at = transaction.effective_at(body.effective_at)
    _end(transaction, running, at)
    event = transaction.event(running.rating_key, SubscriptionEnded(), at)
    events = transaction.send_events([event])
    return running.model_copy(update={"ends_at": at, "events": events})


def priced(plan: Plan) -> rating.plans.Plan:
    """Return the plan as rating prices it, with the id and version that the row has.

    Raises a 422 Problem that names the wrong member of the document.
    """
    members = {"plan_id": plan.plan_id, "version": plan.version, "name": plan.name}
    try:
        return rating.plans.plan_from({**plan.document, **members})
    except rating.plans.PlanError as error:
        raise invalid_field("/document", plan.plan_id, str(error)) from None


def _running(transaction: CommandTransaction, subscription_id: str) -> Subscription:
    found = parties.get_subscription(
        transaction.connection, transaction.principal.branch_id, subscription_id
    )
    if found.ends_at is not None:
        raise Problem("conflict", f"The subscription ends at {to_text(found.ends_at)} already.")
    return found


def _end(transaction: CommandTransaction, running: Subscription, at: int) -> None:
    if at < running.starts_at:
        raise Problem("conflict", f"It starts at {to_text(running.starts_at)} only.")
    table = tables.subscription
    statement = update(table).where(table.c.subscription_id == running.subscription_id)
    transaction.connection.execute(statement.values(ends_at=at))
