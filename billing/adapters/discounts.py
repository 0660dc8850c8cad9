"""Discounts in and out of the database. The caller owns the transaction."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, insert, select

from billing.accounts import Account, Branch
from billing.adapters.discount_tables import discount, discount_grant, discount_use
from billing.discounts import DISCOUNT, EVERYONE, Discount, Granted, fits, months_between
from billing.invoices import InvoiceDraft
from billing.proration import local_day

_DISCOUNT = [discount.c[field.name] for field in dataclasses.fields(Discount)]


def granted_discounts(
    connection: Connection, account: Account, branch: Branch, period_end_at: int
) -> list[Granted]:
    """Return the discounts that an account has on the invoice of a period that ends then (ms)."""
    automatic, of_account = _queries()
    found: list[tuple[str, Discount]] = [
        (f"{row.discount_id}/{account.account_id}", Discount(*row))
        for row in connection.execute(automatic, {"of_branch": branch.branch_id})
    ]
    bounds = {"of_account": account.account_id, "before_at": period_end_at}
    found += [(row[0], Discount(*row[1:])) for row in connection.execute(of_account, bounds)]
    if not found:
        return []
    uses = _uses(connection, [grant_id for grant_id, _ in found])
    last_day = local_day(period_end_at - 1, branch.timezone)
    months = months_between(local_day(account.created_at, branch.timezone), last_day)
    granted = [Granted(grant_id, found_one, uses[grant_id]) for grant_id, found_one in found]
    return [item for item in granted if fits(item, account.kind, months, period_end_at)]


@functools.cache
def _queries() -> tuple[Select[Any], Select[Any]]:
    """Return the queries of a branch's discounts for everyone and of an account's, built once."""
    automatic = select(*_DISCOUNT).where(
        discount.c.branch_id == bindparam("of_branch"), discount.c.who == EVERYONE
    )
    of_account = (
        select(discount_grant.c.grant_id, *_DISCOUNT)
        .join_from(discount_grant, discount)
        .where(
            discount_grant.c.account_id == bindparam("of_account"),
            discount_grant.c.granted_at < bindparam("before_at"),
        )
    )
    return automatic, of_account


def _uses(connection: Connection, grant_ids: Sequence[str]) -> Counter[str]:
    """Return on how many final invoices each grant stood."""
    query = (
        select(discount_use.c.grant_id, func.count())
        .where(discount_use.c.grant_id.in_(grant_ids))
        .group_by(discount_use.c.grant_id)
    )
    return Counter({row[0]: row[1] for row in connection.execute(query)})


def record_uses(connection: Connection, draft: InvoiceDraft) -> None:
    """Remember which discounts stand on an invoice that is being finalized."""
    sums: dict[str, int] = {}
    for line in draft.lines:
        if line.kind == DISCOUNT:
            grant_id = line.evidence["grant_id"]
            sums[grant_id] = sums.get(grant_id, 0) - line.amount_minor
    rows: list[dict[str, Any]] = [
        {"grant_id": grant_id, "invoice_id": draft.invoice_id, "amount_minor": amount}
        for grant_id, amount in sorted(sums.items())
    ]
    if rows:
        connection.execute(insert(discount_use), rows)
