"""Commands on discounts: offer, redeem a coupon, grant, reward a referral."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import func, select

import billing.discounts
from api.models.discounts import Discount, DiscountCreate, DiscountGrant, GrantCreate
from api.models.parties import Account
from api.problems import Problem, invalid_field, not_found, problem_of_field
from api.reads import discounts as reads
from api.reads import parties
from api.writes.transaction import CommandTransaction
from billing.adapters.discount_tables import discount, discount_grant


def create_discount(transaction: CommandTransaction, body: DiscountCreate) -> Discount:
    """Offer a discount; 409 where its id or its code is taken."""
    connection = transaction.connection
    branch_id = transaction.branch_of(body.branch_id).branch_id
    values = dict(body) | {"branch_id": branch_id}
    try:
        made = billing.discounts.Discount(**values)
    except ValueError as error:
        raise problem_of_field(error) from None
    taken = select(discount.c.discount_id).where(discount.c.discount_id == body.discount_id)
    if connection.scalar(taken) is not None:
        raise Problem("conflict", f"There is a discount {body.discount_id!r} already.")
    if made.code and _coupon(transaction, branch_id, made.code) is not None:
        raise Problem("conflict", f"The code {made.code!r} is taken.")
    transaction.add(discount, dataclasses.asdict(made))
    return Discount(**values)


def grant_discount(
    transaction: CommandTransaction, account_id: str, body: GrantCreate
) -> DiscountGrant:
    """Give an account a discount, by a coupon's code or by a clerk's word.

    Commands take turns, so a coupon is never redeemed more often than it allows. 409 where it
    cannot be redeemed, or where the account has the discount already.
    """
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    account = parties.get_account(connection, branch_id, account_id)
    if (body.code is None) == (body.discount_id is None):
        raise invalid_field("/code", body.code, "either a code or a discount_id")
    if body.code is not None:
        return _grant(transaction, account, _redeemable(transaction, account, body.code), "coupon")
    offered = reads.get_discount(connection, account.branch_id, body.discount_id or "")
    if offered.who != "grant":
        raise Problem("conflict", f"This discount is for {offered.who}; it cannot be granted.")
    if body.referred_account_id is None:
        return _grant(transaction, account, offered.discount_id, "clerk")
    referred = parties.get_account(connection, account.branch_id, body.referred_account_id)
    if referred.account_id == account.account_id:
        raise invalid_field("/referred_account_id", referred.account_id, "another account")
    _grant(transaction, referred, offered.discount_id, "referred")
    words = f"referral of {referred.account_id}"
    return _grant(transaction, account, offered.discount_id, words)


def _coupon(transaction: CommandTransaction, branch_id: str, code: str) -> Any:
    """Return the row of a branch's coupon with this code, whatever its case, or None."""
    statement = select(discount).where(
        discount.c.branch_id == branch_id, func.lower(discount.c.code) == code.lower()
    )
    return transaction.connection.execute(statement).first()


def _redeemable(transaction: CommandTransaction, account: Account, code: str) -> str:
    """Return the id of the discount of a code that this account may redeem now."""
    row = _coupon(transaction, account.branch_id, code)
    if row is None:
        raise not_found("coupon", code)
    found = billing.discounts.Discount(**row._mapping)
    if not billing.discounts.is_running(found, transaction.now_at):
        raise Problem("conflict", f"The coupon {code!r} is not valid today.")
    if found.segment not in ("", account.kind):
        raise Problem("conflict", f"The coupon {code!r} is for a {found.segment}.")
    redeemed = transaction.connection.scalar(
        select(func.count()).where(discount_grant.c.discount_id == found.discount_id)
    )
    if found.uses_max and int(redeemed or 0) >= found.uses_max:
        raise Problem("conflict", f"The coupon {code!r} has been redeemed {redeemed} times.")
    return found.discount_id


def _grant(
    transaction: CommandTransaction, account: Account, discount_id: str, reason: str
) -> DiscountGrant:
    """Write a grant; 409 where the account has it for the same reason."""
    known = select(discount_grant.c.grant_id).where(
        discount_grant.c.discount_id == discount_id,
        discount_grant.c.account_id == account.account_id,
        discount_grant.c.reason == reason,
    )
    if transaction.connection.scalar(known) is not None:
        raise Problem("conflict", f"{account.account_id} has this discount already ({reason}).")
    row: dict[str, Any] = {
        "grant_id": transaction.services.new_id("dgr"),
        "discount_id": discount_id,
        "branch_id": account.branch_id,
        "account_id": account.account_id,
        "reason": reason,
        "granted_at": transaction.now_at,
    }
    transaction.add(discount_grant, row)
    return DiscountGrant(**row)
