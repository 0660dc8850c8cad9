"""Reading deposits."""

from __future__ import annotations

from sqlalchemy import Connection

from api.models.deposits import Deposit
from api.models.values import Money
from api.problems import Problem
from api.reads.parties import get_account
from billing import deposits as core
from billing.adapters import deposits


def shown(deposit: core.Deposit) -> Deposit:
    """Return a deposit as the API shows it."""
    return Deposit(
        deposit_id=deposit.deposit_id,
        account_id=deposit.account_id,
        amount=Money.of(deposit.amount_minor, deposit.currency),
        held=Money.of(deposit.held_minor, deposit.currency),
        reason=deposit.reason,
        taken_at=deposit.taken_at,
        taken_by=deposit.taken_by,
    )


def find_deposit(connection: Connection, branch_id: str | None, deposit_id: str) -> core.Deposit:
    """Return a deposit within reach, else a 404 Problem."""
    found = deposits.find_deposit(connection, deposit_id)
    if found is None or branch_id not in (None, found.branch_id):
        raise Problem("not-found", f"There is no deposit {deposit_id!r}.")
    return found


def list_deposits(connection: Connection, branch_id: str | None, account_id: str) -> list[Deposit]:
    """Return an account's deposits, the newest first; 404 where the account is out of reach."""
    get_account(connection, branch_id, account_id)
    return [shown(found) for found in deposits.deposits_of(connection, account_id)]
