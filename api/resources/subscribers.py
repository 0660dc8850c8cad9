"""Subscribers, pools and subscriptions."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.parties import (
    Ending,
    PlanChange,
    Pool,
    PoolCreate,
    PoolMember,
    Subscriber,
    SubscriberCreate,
    SubscriberPatch,
    Subscription,
    SubscriptionCreate,
)
from api.models.values import Page
from api.reads import parties as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from api.resources.parties import Search
from api.writes import parties as writes
from api.writes import subscriptions
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import reading

router = APIRouter()

State = Literal["active", "suspended", "ended"]
OfAccount = Annotated[str | None, Query(description="Only of this account")]


def _given(**filters: str | None) -> dict[str, str]:
    return {name: value for name, value in filters.items() if value}


@router.get("/subscribers", tags=["subscribers"], responses=problems())
def list_subscribers(
    caller: CallerDep,
    paging: PagingDep,
    q: Search = None,
    status: Annotated[State | None, Query(description="Only in this state")] = None,
    account_id: OfAccount = None,
) -> Page[Subscriber]:
    """List subscribers, or search them by name, user name, id or the address they have now."""
    filters = _given(search=q, status=status, account_id=account_id)
    now = caller.services.now_ms()
    with reading(caller.services.engine) as connection:
        cut = reads.list_subscribers(connection, caller.branch_id, paging, now, filters)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/subscribers/{subscriber_id}", tags=["subscribers"], responses=problems(404))
def get_subscriber(caller: CallerDep, subscriber_id: str) -> Subscriber:
    """Get one subscriber."""
    now = caller.services.now_ms()
    with reading(caller.services.engine) as connection:
        return reads.get_subscriber(connection, caller.branch_id, subscriber_id, now)


@router.post(
    "/subscribers",
    tags=["subscribers"],
    status_code=201,
    response_model=Subscriber,
    responses=problems(404, 409),
)
def create_subscriber(command: CommandDep, body: SubscriberCreate) -> Response:
    """Create a subscriber; from effective_at its sessions and prefixes are counted as its own."""

    def create(transaction: CommandTransaction) -> Done:
        subscriber = writes.create_subscriber(transaction, body)
        return Done(subscriber, 201, f"/v1/subscribers/{subscriber.subscriber_id}")

    return command.once(create).response()


@router.patch(
    "/subscribers/{subscriber_id}",
    tags=["subscribers"],
    response_model=Subscriber,
    responses=problems(404, 409),
)
def patch_subscriber(command: CommandDep, subscriber_id: str, body: SubscriberPatch) -> Response:
    """Change a subscriber's name, user name or status."""
    return command.once(lambda t: Done(writes.patch_subscriber(t, subscriber_id, body))).response()


@router.get("/pools", tags=["pools"], responses=problems())
def list_pools(caller: CallerDep, paging: PagingDep) -> Page[Pool]:
    """List pools with their members."""
    now = caller.services.now_ms()
    with reading(caller.services.engine) as connection:
        cut = reads.list_pools(connection, caller.branch_id, paging, now)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/pools/{pool_id}", tags=["pools"], responses=problems(404))
def get_pool(caller: CallerDep, pool_id: str) -> Pool:
    """Get one pool with its members."""
    now = caller.services.now_ms()
    with reading(caller.services.engine) as connection:
        return reads.get_pool(connection, caller.branch_id, pool_id, now)


@router.post(
    "/pools", tags=["pools"], status_code=201, response_model=Pool, responses=problems(404)
)
def create_pool(command: CommandDep, body: PoolCreate) -> Response:
    """Create a pool; then put it on a plan and let members join."""

    def create(transaction: CommandTransaction) -> Done:
        pool = writes.create_pool(transaction, body)
        return Done(pool, 201, f"/v1/pools/{pool.pool_id}")

    return command.once(create).response()


@router.post(
    "/pools/{pool_id}/members",
    tags=["pools"],
    response_model=Pool,
    responses=problems(404, 409),
)
def join_pool(command: CommandDep, pool_id: str, body: PoolMember) -> Response:
    """Let a subscriber join: from effective_at its usage counts in the pool."""
    return command.once(
        lambda t: Done(writes.join_pool(t, pool_id, body.subscriber_id, body.effective_at))
    ).response()


@router.post(
    "/pools/{pool_id}/members/{subscriber_id}/leave",
    tags=["pools"],
    response_model=Pool,
    responses=problems(404, 409),
)
def leave_pool(command: CommandDep, pool_id: str, subscriber_id: str, body: Ending) -> Response:
    """Let a member leave: from effective_at its usage counts under its own key again."""
    return command.once(
        lambda t: Done(writes.leave_pool(t, pool_id, subscriber_id, body.effective_at))
    ).response()


@router.get("/subscriptions", tags=["subscriptions"], responses=problems())
def list_subscriptions(
    caller: CallerDep,
    paging: PagingDep,
    account_id: OfAccount = None,
    rating_key: Annotated[str | None, Query(description="Only of this rating key")] = None,
) -> Page[Subscription]:
    """List subscriptions, ended ones too."""
    filters = _given(account_id=account_id, rating_key=rating_key)
    with reading(caller.services.engine) as connection:
        cut = reads.list_subscriptions(connection, caller.branch_id, paging, filters)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/subscriptions/{subscription_id}", tags=["subscriptions"], responses=problems(404))
def get_subscription(caller: CallerDep, subscription_id: str) -> Subscription:
    """Get one subscription."""
    with reading(caller.services.engine) as connection:
        return reads.get_subscription(connection, caller.branch_id, subscription_id)


@router.post(
    "/subscriptions",
    tags=["subscriptions"],
    status_code=201,
    response_model=Subscription,
    responses=problems(404, 409),
)
def create_subscription(command: CommandDep, body: SubscriptionCreate) -> Response:
    """Put a subscriber or a pool on a plan."""

    def create(transaction: CommandTransaction) -> Done:
        subscription = subscriptions.start_subscription(transaction, body)
        return Done(subscription, 201, f"/v1/subscriptions/{subscription.subscription_id}")

    return command.once(create).response()


@router.post(
    "/subscriptions/{subscription_id}/change-plan",
    tags=["subscriptions"],
    status_code=201,
    response_model=Subscription,
    responses=problems(404, 409),
)
def change_plan(command: CommandDep, subscription_id: str, body: PlanChange) -> Response:
    """Go on with another plan; the answer is the new subscription."""

    def change(transaction: CommandTransaction) -> Done:
        subscription = subscriptions.change_plan(transaction, subscription_id, body)
        return Done(subscription, 201, f"/v1/subscriptions/{subscription.subscription_id}")

    return command.once(change).response()


@router.post(
    "/subscriptions/{subscription_id}/end",
    tags=["subscriptions"],
    response_model=Subscription,
    responses=problems(404, 409),
)
def end_subscription(command: CommandDep, subscription_id: str, body: Ending) -> Response:
    """End a subscription; the running period is still billed."""
    return command.once(
        lambda t: Done(subscriptions.end_subscription(t, subscription_id, body))
    ).response()
