"""Commands on branches, accounts, plans, subscribers and pools."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import exists, select, update

from api.instants import to_text
from api.models.parties import (
    Account,
    AccountCreate,
    AccountPatch,
    Branch,
    BranchCreate,
    Plan,
    PlanCreate,
    Pool,
    PoolCreate,
    Subscriber,
    SubscriberCreate,
    SubscriberPatch,
    SubscriptionCreate,
)
from api.models.values import EventStatus
from api.problems import Problem, invalid_field
from api.reads import parties
from api.reads.directory import rating_keys
from api.writes.directory import closed, moved, opened, refuse_taken_user_name
from api.writes.subscriptions import priced, start_subscription
from api.writes.transaction import CommandTransaction
from api.writes.versions import next_version
from billing.adapters import tables
from billing.adapters.cable_catalog import end_subscriber
from billing.adapters.tax_tables import tax_rate
from rating.events import PoolJoined, PoolLeft, Resumed, Suspended
from rating.plans import encode_plan


def create_branch(transaction: CommandTransaction, body: BranchCreate) -> Branch:
    """Open a branch: 403 for a key that has one itself, 409 where the id is taken."""
    if transaction.principal.branch_id is not None:
        raise Problem("forbidden", "Only a key without a branch may open one.")
    taken = exists().where(tables.branch.c.branch_id == body.branch_id)
    if transaction.connection.scalar(select(taken)):
        raise Problem("conflict", f"There is a branch {body.branch_id!r} already.")
    transaction.add(tables.branch, body.model_dump())
    return Branch(**body.model_dump())


def create_account(transaction: CommandTransaction, body: AccountCreate) -> Account:
    """Create an account in the key's branch, or in the one that the body names."""
    branch_id = transaction.branch_of(body.branch_id).branch_id
    row = {
        **body.model_dump(),
        "account_id": transaction.services.new_id("acc"),
        "branch_id": branch_id,
        "created_at": transaction.now_at,
    }
    transaction.add(tables.account, row)
    return Account(**row)


def patch_account(transaction: CommandTransaction, account_id: str, body: AccountPatch) -> Account:
    """Change an account's contact data."""
    account = parties.get_account(
        transaction.connection, transaction.principal.branch_id, account_id
    )
    changes = body.model_dump(exclude_unset=True, exclude_none=True)
    if changes:
        table = tables.account
        statement = update(table).where(table.c.account_id == account_id).values(changes)
        transaction.connection.execute(statement)
    return account.model_copy(update=changes)


def create_plan(transaction: CommandTransaction, body: PlanCreate) -> Plan:
    """Create a plan's next version: what is sold already keeps its own."""
    branch_id = transaction.branch_of(body.branch_id).branch_id
    created = Plan(
        plan_id=body.plan_id,
        version=next_version(transaction, tables.plan.c.plan_id, body.plan_id, branch_id, "plan"),
        branch_id=branch_id,
        name=body.name,
        document=body.document,
        valid_from_at=body.valid_from_at or transaction.now_at,
    )
    plan_priced = priced(created)
    _refuse_unknown_tax(transaction, branch_id, plan_priced.tax_code)
    document = encode_plan(plan_priced)
    transaction.add(tables.plan, {**dict(created), "document": document})
    return created.model_copy(update={"document": json.loads(document)})


def _refuse_unknown_tax(transaction: CommandTransaction, branch_id: str, tax_code: str) -> None:
    """Raise a 422 Problem where a plan names a tax code without any rate in its branch."""
    rate = tax_rate.c
    known = exists().where(rate.branch_id == branch_id, rate.tax_code == tax_code)
    if tax_code and not transaction.connection.scalar(select(known)):
        expected = "a code that has a rate in this branch (/v1/tax-rates)"
        raise invalid_field("/document/tax_code", tax_code, expected)


def create_subscriber(transaction: CommandTransaction, body: SubscriberCreate) -> Subscriber:
    """Create a subscriber with its identity, static prefixes, membership and first plan."""
    connection, principal = transaction.connection, transaction.principal
    account = parties.get_account(connection, principal.branch_id, body.account_id)
    at = transaction.effective_at(body.effective_at)
    refuse_taken_user_name(transaction, body.user_name)
    subscriber_id = transaction.services.new_id("sub")
    transaction.add(
        tables.subscriber,
        {
            "subscriber_id": subscriber_id,
            "branch_id": account.branch_id,
            "account_id": account.account_id,
            "user_name": body.user_name,
            "name": body.name,
            "status": "active",
            "created_at": transaction.now_at,
        },
    )
    identity = f"user_name:{body.user_name}"
    entries = [
        *moved(transaction, "identity", identity, subscriber_id, at),
        opened(transaction, "membership", subscriber_id, subscriber_id, at),
    ]
    for prefix in body.static_prefixes:
        entries += moved(transaction, "static_prefix", prefix, subscriber_id, at)
    transaction.write_directory(account.branch_id, entries)
    events: list[EventStatus] = []
    if body.plan_id is not None:
        wanted = SubscriptionCreate(rating_key=subscriber_id, plan_id=body.plan_id)
        wanted = wanted.model_copy(update={"starts_at": at})
        events = start_subscription(transaction, wanted).events
    subscriber = parties.get_subscriber(connection, None, subscriber_id, transaction.now_at)
    return subscriber.model_copy(update={"events": events})


def patch_subscriber(
    transaction: CommandTransaction, subscriber_id: str, body: SubscriberPatch
) -> Subscriber:
    """Change name, user name or status; the latter two also in the directory and in rating."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    now = transaction.now_at
    subscriber = parties.get_subscriber(connection, branch_id, subscriber_id, now)
    at = transaction.effective_at(body.effective_at)
    changes = body.model_dump(exclude_none=True, exclude={"effective_at"})
    changes = {name: new for name, new in changes.items() if getattr(subscriber, name) != new}
    if subscriber.status == "ended" and changes.get("status"):
        raise Problem("conflict", "An ended subscriber stays ended; create a new one.")
    if "user_name" in changes:
        _rename(transaction, subscriber, changes["user_name"], at)
    events: list[EventStatus] = []
    if "status" in changes:
        if subscriber.pool_id is not None and body.effective_at is not None:
            expected = "left out: a pool member's status acts at once"
            raise invalid_field("/effective_at", to_text(body.effective_at), expected)
        events = _set_status(transaction, subscriber, changes["status"], at)
    if changes:
        table = tables.subscriber
        statement = update(table).where(table.c.subscriber_id == subscriber_id)
        connection.execute(statement.values(changes))
    changed = parties.get_subscriber(connection, branch_id, subscriber_id, now)
    return changed.model_copy(update={"events": events})


def _rename(
    transaction: CommandTransaction, subscriber: Subscriber, user_name: str, at: int
) -> None:
    refuse_taken_user_name(transaction, user_name)
    entries = [
        *closed(transaction, "identity", f"user_name:{subscriber.user_name}", at),
        *moved(transaction, "identity", f"user_name:{user_name}", subscriber.subscriber_id, at),
    ]
    transaction.write_directory(subscriber.branch_id, entries)


def _set_status(
    transaction: CommandTransaction, subscriber: Subscriber, status: str, at: int
) -> list[EventStatus]:
    """Tell rate; an ended subscriber's user name is closed, so no session finds it again.

    Rate knows a pool as a whole: a member's status is acted upon by the office, at once, and
    leaves the others alone.
    """
    if status == "ended":
        identity = f"user_name:{subscriber.user_name}"
        transaction.write_directory(
            subscriber.branch_id, closed(transaction, "identity", identity, at)
        )
        end_subscriber(transaction.connection, subscriber.subscriber_id, at)
    if subscriber.pool_id is not None:
        return []
    payload = Resumed() if status == "active" else Suspended(reason=status)
    return transaction.send_events([transaction.event(subscriber.rating_key, payload, at)])


def create_pool(transaction: CommandTransaction, body: PoolCreate) -> Pool:
    """Create a pool of an account, without members."""
    account = parties.get_account(
        transaction.connection, transaction.principal.branch_id, body.account_id
    )
    row: dict[str, Any] = {
        "pool_id": transaction.services.new_id("pool"),
        "branch_id": account.branch_id,
        "account_id": account.account_id,
        "name": body.name,
    }
    transaction.add(tables.pool, row)
    return Pool(**row, members=[], events=[])


def join_pool(
    transaction: CommandTransaction, pool_id: str, subscriber_id: str, wanted_at: int | None
) -> Pool:
    """Move a subscriber into a pool: one directory change, a leaving and a joining event."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    at = transaction.effective_at(wanted_at)
    pool = parties.get_pool(connection, branch_id, pool_id, at)
    subscriber = parties.get_subscriber(connection, branch_id, subscriber_id, at)
    if subscriber.branch_id != pool.branch_id:
        raise Problem("conflict", "The subscriber and the pool are of different branches.")
    _refuse_inactive(subscriber, "joins a pool")
    if subscriber.rating_key == pool_id:
        raise Problem("conflict", f"{subscriber_id!r} is a member of this pool already.")
    return _move(transaction, pool, subscriber_id, (subscriber.rating_key, pool_id), at)


def leave_pool(
    transaction: CommandTransaction, pool_id: str, subscriber_id: str, wanted_at: int | None
) -> Pool:
    """Move a subscriber out of a pool, back to its own rating key."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    at = transaction.effective_at(wanted_at)
    pool = parties.get_pool(connection, branch_id, pool_id, at)
    subscriber = parties.get_subscriber(connection, branch_id, subscriber_id, at)
    _refuse_inactive(subscriber, "leaves its pool")
    if rating_keys(connection, [subscriber_id], at)[subscriber_id] != pool_id:
        raise Problem("conflict", f"{subscriber_id!r} is no member of this pool then.")
    return _move(transaction, pool, subscriber_id, (pool_id, subscriber_id), at)


def _refuse_inactive(subscriber: Subscriber, what: str) -> None:
    """Raise a 409 Problem for a suspended or ended subscriber.

    A suspension of a line of its own is rate's, that of a pool member is the office's: a move in
    between would leave it with neither, or with one that no resumption reaches.
    """
    if subscriber.status != "active":
        detail = f"The subscriber is {subscriber.status}: set its status to active before it {what}"
        raise Problem("conflict", f"{detail}.")


def _move(
    transaction: CommandTransaction,
    pool: Pool,
    subscriber_id: str,
    keys: tuple[str, str],
    at: int,
) -> Pool:
    left, joined = keys
    entries = moved(transaction, "membership", subscriber_id, joined, at)
    transaction.write_directory(pool.branch_id, entries)
    events = transaction.send_events(
        [
            transaction.event(left, PoolLeft(subscriber_id), at),
            transaction.event(joined, PoolJoined(subscriber_id), at),
        ]
    )
    changed = parties.get_pool(transaction.connection, None, pool.pool_id, at)
    return changed.model_copy(update={"events": events})
