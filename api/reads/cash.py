"""Shifts of cashiers with their reports, and receipts of cash."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Connection, select

import billing.cash
from api.cursors import Paging, Slice, paged, slice_of
from api.models.cash import CashReport, CashShift, CashTotal
from api.models.values import Money
from api.problems import not_found
from api.reads.parties import scoped
from billing.adapters import cash, receipts
from billing.adapters.cash_tables import cash_shift

_SHIFT = [cash_shift.c[f.name] for f in dataclasses.fields(billing.cash.CashShift)]


def list_shifts(
    connection: Connection, branch_id: str | None, paging: Paging, only_open: bool
) -> Slice[CashShift]:
    """Return the shifts in reach, the newest first."""
    statement = scoped(select(*_SHIFT), cash_shift, branch_id)
    if only_open:
        statement = statement.where(cash_shift.c.closed_at.is_(None))
    columns = [cash_shift.c.opened_at, cash_shift.c.shift_id]
    rows = connection.execute(paged(statement, columns, paging, [int, str], descending=True))
    found = [shift_of(billing.cash.CashShift(*row)) for row in rows]
    return slice_of(found, paging, lambda shift: [shift.opened_at, shift.shift_id])


def find_shift(
    connection: Connection, branch_id: str | None, shift_id: str
) -> billing.cash.CashShift:
    """Return one shift, or raise a 404 Problem."""
    found = cash.find_shift(connection, shift_id)
    if found is None or branch_id not in (None, found.branch_id):
        raise not_found("shift", shift_id)
    return found


def shift_of(shift: billing.cash.CashShift) -> CashShift:
    """Return a shift as the API shows it."""
    return CashShift(
        shift_id=shift.shift_id,
        branch_id=shift.branch_id,
        cashier_id=shift.cashier_id,
        cashier=shift.cashier,
        currency=shift.currency,
        opened_at=shift.opened_at,
        float=Money.of(shift.float_minor, shift.currency),
        closed_at=shift.closed_at,
        closing_number=shift.closing_number,
        note=shift.note,
    )


def report_of(report: billing.cash.ShiftReport) -> CashReport:
    """Return a report as the API shows it."""
    shift = report.shift

    def money(minor: int | None) -> Money | None:
        return None if minor is None else Money.of(minor, shift.currency)

    return CashReport.model_validate(
        {
            "title": report.title,
            "shift": shift_of(shift),
            "totals": [
                CashTotal.model_construct(
                    kind=total.kind, count=total.count, amount=money(total.amount_minor)
                )
                for total in report.totals
            ],
            "expected": money(report.expected_minor),
            "counted": money(shift.counted_minor),
            "difference": money(report.difference_minor),
            "first_receipt": report.first_receipt,
            "last_receipt": report.last_receipt,
        }
    )


def printed_receipt(
    connection: Connection, branch_id: str | None, payment_id: str
) -> tuple[str, dict[str, Any]]:
    """Return a cash receipt's number and what its PDF prints; a 404 Problem where none is."""
    try:
        printed = receipts.receipt_input(connection, payment_id)
    except LookupError:
        raise not_found("receipt of payment", payment_id) from None
    if branch_id not in (None, printed["branch_id"]):
        raise not_found("receipt of payment", payment_id)
    return printed["number"], printed
