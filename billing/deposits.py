"""Deposits: a customer's money that is kept for a box or a risk, and pays nothing meanwhile.

    taken       customer credit │ deposits          part of the account's credit is set aside
    released    deposits        │ customer credit   invoices take it, or it is refunded as credit is

So cash, bank, receipts and refunds are those of payments, and no invoice takes a deposit by itself.
"""

from __future__ import annotations

import dataclasses

from billing.ledger import CUSTOMER_CREDIT, DEPOSITS, Transaction, entries_of

TAKEN = "deposit_taken"
RELEASED = "deposit_released"
"""Sources of the postings."""


@dataclasses.dataclass(frozen=True, slots=True)
class Deposit:
    """Money set aside at an instant (ms); reason is what for, such as a box's serial.

    held_minor is what is left of amount_minor: releases take it down to zero.
    """

    deposit_id: str
    branch_id: str
    account_id: str
    amount_minor: int
    held_minor: int
    currency: str
    reason: str
    taken_at: int
    taken_by: str


@dataclasses.dataclass(frozen=True, slots=True)
class DepositMovement:
    """What a deposit took of a credit; negative where it was given back to it.

    number counts a deposit's movements from 1, step its taking (1) and releases.
    """

    deposit_id: str
    number: int
    step: int
    credit_id: str
    amount_minor: int
    moved_at: int
    moved_by: str
    reason: str


class DepositRefusedError(ValueError):
    """What cannot be done with a deposit; the sentence says what was expected."""


def taken_transaction(deposit: Deposit) -> Transaction:
    """Return the posting of a deposit that is taken."""
    return _transaction(deposit, TAKEN, "1", deposit.amount_minor, deposit.taken_at)


def released_transaction(deposit: Deposit, step: int, amount_minor: int, at: int) -> Transaction:
    """Return the posting of a release, the step-th movement of a deposit."""
    return _transaction(deposit, RELEASED, str(step), -amount_minor, at)


def require_held(deposit: Deposit, amount_minor: int) -> None:
    """Raise DepositRefusedError where a deposit does not hold so much any more."""
    if not 0 < amount_minor <= deposit.held_minor:
        raise DepositRefusedError(
            f"amount_minor: expected 1 to {deposit.held_minor} (what deposit {deposit.deposit_id}"
            f" holds), got {amount_minor}"
        )


def given_back(movements: list[DepositMovement], amount_minor: int) -> list[tuple[str, int]]:
    """Return (credit id, amount) of which credits get an amount back, what came last first."""
    held: dict[str, int] = {}
    for movement in movements:
        held[movement.credit_id] = held.get(movement.credit_id, 0) + movement.amount_minor
    parts: list[tuple[str, int]] = []
    for credit_id in reversed(list(held)):
        part = min(held[credit_id], amount_minor)
        if part:
            parts.append((credit_id, part))
            amount_minor -= part
    return parts


def _transaction(deposit: Deposit, source: str, step: str, taken: int, at: int) -> Transaction:
    amounts = {CUSTOMER_CREDIT: taken, DEPOSITS: -taken}
    return Transaction(
        deposit.branch_id,
        source,
        f"{deposit.deposit_id}/{step}",
        at,
        f"Deposit {deposit.deposit_id}: {deposit.reason}",
        entries_of(deposit.branch_id, deposit.account_id, deposit.currency, amounts),
    )
