"""Discounts and their grants, within a branch's reach."""

from __future__ import annotations

from sqlalchemy import Connection, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.discounts import Discount, DiscountGrant
from api.problems import not_found
from api.reads.parties import scoped
from billing.adapters.discount_tables import discount, discount_grant


def list_discounts(
    connection: Connection, branch_id: str | None, paging: Paging
) -> Slice[Discount]:
    """Return discounts by id."""
    statement = scoped(select(discount), discount, branch_id)
    rows = connection.execute(paged(statement, [discount.c.discount_id], paging, [str]))
    return slice_of([Discount(**r._mapping) for r in rows], paging, lambda d: [d.discount_id])


def get_discount(connection: Connection, branch_id: str | None, discount_id: str) -> Discount:
    """Return one discount, or raise a 404 Problem."""
    statement = select(discount).where(discount.c.discount_id == discount_id)
    row = connection.execute(scoped(statement, discount, branch_id)).one_or_none()
    if row is None:
        raise not_found("discount", discount_id)
    return Discount(**row._mapping)


def list_grants(
    connection: Connection, branch_id: str | None, paging: Paging, account_id: str | None
) -> Slice[DiscountGrant]:
    """Return grants by id, of one account or of all."""
    statement = scoped(select(discount_grant), discount_grant, branch_id)
    if account_id is not None:
        statement = statement.where(discount_grant.c.account_id == account_id)
    rows = connection.execute(paged(statement, [discount_grant.c.grant_id], paging, [str]))
    return slice_of([DiscountGrant(**r._mapping) for r in rows], paging, lambda g: [g.grant_id])
