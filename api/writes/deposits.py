"""Commands on deposits: take and release."""

from __future__ import annotations

from api.models.deposits import Deposit, DepositCreate, DepositRelease
from api.problems import Problem, invalid_field
from api.reads import deposits as reads
from api.reads.parties import get_account
from api.writes.payments import pay_account, refusals
from api.writes.transaction import CommandTransaction
from billing import deposits as core
from billing.adapters import deposits


def take_deposit(transaction: CommandTransaction, account_id: str, body: DepositCreate) -> Deposit:
    """Set credit aside, of a payment that comes with it or of what is there (else 409)."""
    connection = transaction.connection
    account = get_account(connection, transaction.principal.branch_id, account_id)
    if body.payment is not None:
        if body.payment.is_pending:
            raise invalid_field("/payment/is_pending", True, "money that is there")
        payment = body.payment.model_copy(update={"keeps_rest": True, "invoices": []})
        pay_account(transaction, account_id, payment)
    deposit = core.Deposit(
        deposit_id=transaction.services.new_id("dep"),
        branch_id=account.branch_id,
        account_id=account_id,
        amount_minor=body.amount_minor,
        held_minor=body.amount_minor,
        currency=body.currency,
        reason=body.reason,
        taken_at=transaction.now_at,
        taken_by=transaction.principal.name,
    )
    with refusals():
        deposits.take_deposit(connection, deposit)
    return reads.shown(deposit)


def release_deposit(
    transaction: CommandTransaction, deposit_id: str, body: DepositRelease
) -> Deposit:
    """Make what is held credit again; 409 where less is held."""
    connection = transaction.connection
    found = reads.find_deposit(connection, transaction.principal.branch_id, deposit_id)
    amount = found.held_minor if body.amount_minor is None else body.amount_minor
    by_and_why = transaction.principal.name, body.reason
    try:
        left = deposits.release_deposit(
            connection, deposit_id, amount, by_and_why, transaction.now_at
        )
    except core.DepositRefusedError as refused:
        raise Problem("conflict", f"{refused}.") from refused
    return reads.shown(left)
