"""Deposits in the database: take, release, list. Each call is part of the caller's transaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sqlalchemy import Connection, insert, select, update

from billing.adapters import ledger
from billing.adapters.allocations import (
    allocate_credit,
    find_credit,
    move_credit,
    take_account,
    take_credit,
)
from billing.adapters.deposit_tables import deposit as table
from billing.adapters.deposit_tables import deposit_movement
from billing.adapters.dunning import restore_settled
from billing.deposits import (
    Deposit,
    DepositMovement,
    given_back,
    released_transaction,
    require_held,
    taken_transaction,
)

_DEPOSIT = [table.c[field.name] for field in dataclasses.fields(Deposit)]
_MOVEMENT = [deposit_movement.c[field.name] for field in dataclasses.fields(DepositMovement)]


def take_deposit(connection: Connection, deposit: Deposit) -> None:
    """Set credit of the account aside, the oldest first, and post it.

    billing.payments.PaymentRefusedError where the account has less credit.
    """
    take_account(connection, deposit.account_id)
    parts = take_credit(connection, deposit.account_id, deposit.currency, deposit.amount_minor)
    connection.execute(insert(table), [dataclasses.asdict(deposit)])
    movements = [
        DepositMovement(
            deposit.deposit_id,
            number,
            1,
            credit.credit_id,
            part,
            deposit.taken_at,
            deposit.taken_by,
            deposit.reason,
        )
        for number, (credit, part) in enumerate(parts, 1)
    ]
    connection.execute(insert(deposit_movement), [dataclasses.asdict(m) for m in movements])
    ledger.post_new(connection, taken_transaction(deposit), deposit.taken_at)


def release_deposit(
    connection: Connection, deposit_id: str, amount_minor: int, by_and_why: tuple[str, str], at: int
) -> Deposit:
    """Make part of a deposit credit again, which pays what is open; return what the deposit is now.

    LookupError: no such deposit. billing.deposits.DepositRefusedError: it holds less.
    """
    account_id = connection.scalar(
        select(table.c.account_id).where(table.c.deposit_id == deposit_id)
    )
    if account_id is None:
        raise LookupError(f"no deposit {deposit_id}")
    take_account(connection, account_id)
    deposit = find_deposit(connection, deposit_id)
    assert deposit is not None, "its row was there, and no row of a deposit ever goes"
    require_held(deposit, amount_minor)
    movements = movements_of(connection, deposit_id)
    step = movements[-1].step + 1
    parts = given_back(movements, amount_minor)
    by, reason = by_and_why
    rows = [
        DepositMovement(deposit_id, len(movements) + n, step, credit_id, -part, at, by, reason)
        for n, (credit_id, part) in enumerate(parts, 1)
    ]
    connection.execute(insert(deposit_movement), [dataclasses.asdict(row) for row in rows])
    left = dataclasses.replace(deposit, held_minor=deposit.held_minor - amount_minor)
    connection.execute(
        update(table).where(table.c.deposit_id == deposit_id).values(held_minor=left.held_minor)
    )
    for credit_id, part in parts:
        move_credit(connection, credit_id, part)
    ledger.post_new(connection, released_transaction(deposit, step, amount_minor, at), at)
    for credit_id, _ in parts:
        credit = find_credit(connection, credit_id)
        assert credit is not None, "a movement names its credit"
        allocate_credit(connection, credit, [], by, at)
    restore_settled(connection, deposit.account_id, at)
    return left


def find_deposit(connection: Connection, deposit_id: str) -> Deposit | None:
    """Return a deposit, or None."""
    row = connection.execute(select(*_DEPOSIT).where(table.c.deposit_id == deposit_id)).first()
    return Deposit(*row) if row else None


def deposits_of(connection: Connection, account_id: str) -> Sequence[Deposit]:
    """Return an account's deposits, the newest first, those released too."""
    query = select(*_DEPOSIT).where(table.c.account_id == account_id)
    rows = connection.execute(query.order_by(table.c.taken_at.desc(), table.c.deposit_id))
    return [Deposit(*row) for row in rows]


def movements_of(connection: Connection, deposit_id: str) -> list[DepositMovement]:
    """Return what moved between a deposit and credits, in order."""
    query = select(*_MOVEMENT).where(deposit_movement.c.deposit_id == deposit_id)
    rows = connection.execute(query.order_by(deposit_movement.c.number))
    return [DepositMovement(*row) for row in rows]
