"""Payments in the database: record, settle, fail, reverse, reallocate, refund, write off.

Each call is part of the caller's transaction, takes the turn at the account's money first, and
posts what it does to the ledger; a repeat changes nothing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from billing.adapters import ledger, payment_tables, tables
from billing.adapters.allocations import (
    Credit,
    allocate_credit,
    allocations_of,
    find_credit,
    give_back,
    locked_invoice,
    move_credit,
    open_credit,
    open_invoices,
    standing_shares,
    take_account,
    take_back,
    take_credit,
    write_shares,
)
from billing.adapters.dunning import restore_settled
from billing.allocation import AllocationError, Share, Wanted, allocate
from billing.canonical import canonical_json
from billing.payments import (
    PENDING,
    SETTLED,
    Allocation,
    Payment,
    PaymentRefusedError,
    Refund,
    WriteOff,
    next_status,
    payment_transaction,
    refund_transaction,
    reversed_payment_transaction,
    write_off_transaction,
)

_PAYMENT = [tables.payment.c[f.name] for f in dataclasses.fields(Payment)]
_REFUND = [payment_tables.refund.c[f.name] for f in dataclasses.fields(Refund)]


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """What a payment does: the shares that invoices took of it, and what is left as credit."""

    shares: tuple[Share, ...]
    left_minor: int


def encode_wanted(wanted: Sequence[Wanted]) -> str:
    """Return what a payer named as the text of `payment.wanted`."""
    return canonical_json([[want.invoice_id, want.amount_minor] for want in wanted])


def decode_wanted(text: str) -> list[Wanted]:
    """Return what `encode_wanted` wrote."""
    return [Wanted(invoice_id, amount) for invoice_id, amount in json.loads(text)]


def record_payment(
    connection: Connection, payment: Payment, recorded_at: int, wanted: Sequence[Wanted] = ()
) -> Settled | None:
    """Record money of an account and, where it is settled, let its invoices take it.

    wanted is what the payer named; none: the payment's invoice_id, else the oldest first. None
    where this method and reference were recorded before. LookupError: no such account.
    AllocationError: a named invoice cannot be paid so. A pending payment only says what it will
    pay.
    """
    take_account(connection, payment.account_id)
    if find_payment_by_reference(connection, payment) is not None:
        return None
    _require_account(connection, payment)
    named = list(wanted) or ([Wanted(payment.invoice_id)] if payment.invoice_id else [])
    _require_invoices(connection, payment, named)
    stored = dataclasses.replace(
        payment,
        invoice_id=named[0].invoice_id if named else None,
        wanted=encode_wanted(named),
    )
    if stored.status == SETTLED and stored.settled_at is None:
        stored = dataclasses.replace(stored, settled_at=stored.received_at)
    connection.execute(insert(tables.payment), [dataclasses.asdict(stored)])
    if stored.status != SETTLED:
        return Settled((), 0)
    return _settle(connection, stored, named, recorded_at, is_strict=True)


def settle_payment(
    connection: Connection, payment_id: str, settled_at: int, recorded_at: int
) -> Settled | None:
    """Let a pending (or failed) payment's money count; None where it has settled before.

    What it named is paid as far as it still can be; other money may have been quicker. LookupError:
    no such payment; PaymentRefusedError: it was reversed.
    """
    payment = _locked(connection, payment_id)
    if payment.status == SETTLED:
        return None
    status = next_status(payment_id, payment.status, "settle")
    payment = dataclasses.replace(payment, status=status, settled_at=settled_at, reason="")
    _set(connection, payment_id, status=status, settled_at=settled_at, reason="")
    return _settle(connection, payment, decode_wanted(payment.wanted), recorded_at, is_strict=False)


def fail_payment(connection: Connection, payment_id: str, reason: str) -> bool:
    """Say that a pending payment's money does not come; False where that was said before."""
    payment = _locked(connection, payment_id)
    if payment.status == "failed":
        return False
    _set(
        connection,
        payment_id,
        status=next_status(payment_id, payment.status, "fail"),
        reason=reason,
    )
    return True


def reverse_payment(
    connection: Connection, payment_id: str, reason: str, by: str, now_ms: int
) -> bool:
    """Take a settled payment back, as its bank did: what it paid is open again; False: a repeat.

    PaymentRefusedError: it is not settled, a part of it was refunded, or lies in a closed till.
    """
    payment = _locked(connection, payment_id)
    if payment.status == "reversed":
        return False
    status = next_status(payment_id, payment.status, "reverse")
    credit = find_credit(connection, payment_id)
    allocations = allocations_of(connection, payment_id)
    shares = standing_shares(allocations)
    allocated = sum(row.taken_minor for row in allocations)
    left = credit.left_minor if credit else 0
    if allocated + left != payment.amount_minor:
        gone = payment.amount_minor - allocated - left
        raise PaymentRefusedError(
            f"payment {payment_id}: expected all of {payment.amount_minor} to be there, but {gone}"
            f" {payment.currency} minor units were refunded or became a prepaid balance"
        )
    if payment.shift_id:
        raise PaymentRefusedError(
            f"payment {payment_id} is cash in a till: give it back as a refund instead"
        )
    assert credit is not None, "a settled payment has its credit"
    take_back(connection, credit, shares, by, now_ms)
    move_credit(connection, payment_id, -payment.amount_minor)
    _set(connection, payment_id, status=status, reason=reason)
    ledger.post_new(
        connection, reversed_payment_transaction(payment, shares, reason, now_ms), now_ms
    )
    return True


def reallocate_payment(
    connection: Connection,
    payment_id: str,
    wanted: Sequence[Wanted],
    by: str,
    now_ms: int,
    *,
    keeps_rest: bool,
) -> list[Allocation]:
    """Take back all that a payment pays and allocate it anew; return the new allocations.

    PaymentRefusedError: it is not settled. AllocationError as `allocate`.
    """
    payment = _locked(connection, payment_id)
    credit = find_credit(connection, payment_id)
    if payment.status != SETTLED or credit is None:
        raise PaymentRefusedError(
            f"payment {payment_id} is {payment.status}: to reallocate it, expected settled"
        )
    give_back(connection, credit, by, now_ms)
    credit = find_credit(connection, payment_id)
    assert credit is not None, "it was there above"
    return allocate_credit(connection, credit, wanted, by, now_ms, keeps_rest=keeps_rest)


def record_refund(
    connection: Connection, refund: Refund, now_ms: int, payment_id: str = ""
) -> bool:
    """Give credit back to the customer, of all credits or of one payment; False for a repeat.

    PaymentRefusedError: less credit is there, or the same reference stands for another refund.
    """
    take_account(connection, refund.account_id)
    table = payment_tables.refund.c
    known = connection.execute(
        select(*_REFUND).where(
            table.branch_id == refund.branch_id,
            table.method == refund.method,
            table.reference == refund.reference,
        )
    ).first()
    if known is not None:
        same = (known.account_id, known.amount_minor) == (refund.account_id, refund.amount_minor)
        if same:
            return False
        raise PaymentRefusedError(
            f"reference {refund.reference!r} stands for another refund, {known.refund_id}"
        )
    parts = take_credit(
        connection, refund.account_id, refund.currency, refund.amount_minor, payment_id
    )
    connection.execute(insert(payment_tables.refund), [dataclasses.asdict(refund)])
    connection.execute(
        insert(payment_tables.refund_part),
        [
            {"refund_id": refund.refund_id, "credit_id": c.credit_id, "amount_minor": amount}
            for c, amount in parts
        ],
    )
    ledger.post_new(connection, refund_transaction(refund), now_ms)
    return True


def write_off_invoice(
    connection: Connection, invoice_id: str, reason: str, by: str, now_ms: int
) -> WriteOff | None:
    """Give up what an invoice still asks for; None where it asks for nothing.

    It stays finalized: whoever names it may pay it yet, and that is bad debt recovered.
    LookupError: no such invoice. PaymentRefusedError: a payment for the account is in flight.
    """
    row = locked_invoice(connection, invoice_id)
    account_id, open_minor = row.account_id, row.open_minor
    if row.status != "finalized" or open_minor <= 0:
        return None
    if in_flight(connection, account_id):
        raise PaymentRefusedError(f"account {account_id} has a payment in flight: wait for it")
    done = payment_tables.write_off
    earlier = connection.scalars(
        select(done.c.write_off_id).where(done.c.invoice_id == invoice_id)
    ).all()
    found = WriteOff(
        f"{invoice_id}/{len(earlier) + 1}",
        row.branch_id,
        account_id,
        invoice_id,
        open_minor,
        row.currency,
        now_ms,
        by,
        reason,
    )
    connection.execute(insert(done), [dataclasses.asdict(found)])
    table = tables.invoice
    connection.execute(
        update(table)
        .where(table.c.invoice_id == invoice_id)
        .values(written_off_minor=table.c.written_off_minor + open_minor)
    )
    restore_settled(connection, account_id, now_ms)
    ledger.post_new(connection, write_off_transaction(found), now_ms)
    return found


def in_flight(connection: Connection, account_id: str) -> list[Payment]:
    """Return the account's pending payments, the oldest first: nobody acts on debt meanwhile."""
    payment = tables.payment.c
    query = select(*_PAYMENT).where(payment.account_id == account_id, payment.status == PENDING)
    rows = connection.execute(query.order_by(payment.received_at, payment.payment_id))
    return [Payment(*row) for row in rows]


def find_payment(connection: Connection, payment_id: str) -> Payment | None:
    """Return a payment, or None."""
    row = connection.execute(
        select(*_PAYMENT).where(tables.payment.c.payment_id == payment_id)
    ).first()
    return Payment(*row) if row else None


def find_payment_by_reference(connection: Connection, payment: Payment) -> Payment | None:
    """Return the payment that has this one's branch, method and reference, or None."""
    paid = tables.payment.c
    row = connection.execute(
        select(*_PAYMENT).where(
            paid.branch_id == payment.branch_id,
            paid.method == payment.method,
            paid.reference == payment.reference,
        )
    ).first()
    return Payment(*row) if row else None


def _settle(
    connection: Connection,
    payment: Payment,
    wanted: Sequence[Wanted],
    recorded_at: int,
    *,
    is_strict: bool,
) -> Settled:
    """Open the payment's credit, let invoices take it, and post both as one transaction."""
    at = payment.settled_at if payment.settled_at is not None else payment.received_at
    invoices = open_invoices(connection, payment.account_id, payment.currency)
    # A named invoice that asks for nothing by now takes nothing: the money pays older debt.
    there = {invoice.invoice_id for invoice in invoices}
    if is_strict:
        wanted = [w for w in wanted if w.invoice_id in there or w.amount_minor is not None]
    else:
        wanted = [Wanted(want.invoice_id) for want in wanted if want.invoice_id in there]
    shares = allocate(payment.amount_minor, invoices, wanted, keeps_rest=payment.keeps_rest)
    left = payment.amount_minor - sum(share.amount_minor for share in shares)
    credit = Credit(
        payment.payment_id,
        payment.branch_id,
        payment.account_id,
        "payment",
        payment.amount_minor,
        payment.amount_minor,
        payment.currency,
        at,
    )
    open_credit(connection, credit)
    write_shares(connection, credit, shares, payment.recorded_by, at)
    restore_settled(connection, payment.account_id, recorded_at)
    ledger.post_new(connection, payment_transaction(payment, shares), recorded_at)
    return Settled(shares, left)


def _require_account(connection: Connection, payment: Payment) -> None:
    """Raise LookupError where the payment's account is not one of its branch."""
    account = tables.account.c
    found = connection.scalar(
        select(account.branch_id).where(account.account_id == payment.account_id)
    )
    if found != payment.branch_id:
        raise LookupError(f"no account {payment.account_id} in branch {payment.branch_id}")


def _require_invoices(connection: Connection, payment: Payment, wanted: Sequence[Wanted]) -> None:
    """Raise AllocationError where a named invoice is not an issued one of account and currency."""
    invoice = tables.invoice.c
    rows = connection.execute(
        select(invoice.invoice_id, invoice.account_id, invoice.currency, invoice.status).where(
            invoice.invoice_id.in_(sorted({want.invoice_id for want in wanted}))
        )
    )
    found = {row.invoice_id: row for row in rows}
    for want in wanted:
        row = found.get(want.invoice_id)
        if row is None or row.account_id != payment.account_id:
            raise AllocationError(
                f"invoice {want.invoice_id}: expected one of account {payment.account_id}"
            )
        if row.currency != payment.currency:
            raise AllocationError(
                f"invoice {want.invoice_id}: expected one in {payment.currency}, got {row.currency}"
            )
        if row.status not in ("finalized", "paid"):
            raise AllocationError(f"invoice {want.invoice_id} is {row.status} and takes no money")


def _locked(connection: Connection, payment_id: str) -> Payment:
    """Return a payment under its account's turn. LookupError: there is none."""
    found = find_payment(connection, payment_id)
    if found is None:
        raise LookupError(f"no payment {payment_id}")
    take_account(connection, found.account_id)
    again = find_payment(connection, payment_id)
    assert again is not None, "payments are never deleted"
    return again


def _set(connection: Connection, payment_id: str, **values: Any) -> None:
    table = tables.payment
    connection.execute(update(table).where(table.c.payment_id == payment_id).values(**values))
