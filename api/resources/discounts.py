"""Discounts and which accounts have them."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.discounts import Discount, DiscountCreate, DiscountGrant, GrantCreate
from api.models.values import Page
from api.reads import discounts as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from api.resources.products import OfAccount
from api.writes import discounts as writes
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import reading

router = APIRouter()


@router.get("/discounts", tags=["services"], responses=problems())
def list_discounts(caller: CallerDep, paging: PagingDep) -> Page[Discount]:
    """List discounts, past ones too."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_discounts(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/discounts",
    tags=["services"],
    status_code=201,
    response_model=Discount,
    responses=problems(403, 404, 409),
)
def create_discount(command: CommandDep, body: DiscountCreate) -> Response:
    """Offer a discount: a promotion, loyalty, a coupon, a bundle, or one to be granted."""

    def create(transaction: CommandTransaction) -> Done:
        return Done(writes.create_discount(transaction, body), 201, "/v1/discounts")

    return command.once(create).response()


@router.get("/discount-grants", tags=["services"], responses=problems())
def list_discount_grants(
    caller: CallerDep, paging: PagingDep, account_id: OfAccount = None
) -> Page[DiscountGrant]:
    """List which accounts have which discounts, and why."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_grants(connection, caller.branch_id, paging, account_id)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/accounts/{account_id}/discounts",
    tags=["services"],
    status_code=201,
    response_model=DiscountGrant,
    responses=problems(404, 409),
)
def grant_discount(command: CommandDep, account_id: str, body: GrantCreate) -> Response:
    """Redeem a coupon, grant a discount, or reward a referral."""

    def grant(transaction: CommandTransaction) -> Done:
        return Done(writes.grant_discount(transaction, account_id, body), 201)

    return command.once(grant).response()
