"""The receipt of a cash payment as PDF, set by typst for a printer of 80 mm paper."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import typst
from sqlalchemy import Connection, select

from billing.adapters import payment_tables, tables
from billing.adapters.cash_tables import cash_movement, cash_shift
from rating.money import format_minor

TEMPLATE = Path(__file__).parent / "templates" / "receipt.typ"


def receipt_input(connection: Connection, payment_id: str) -> dict[str, Any]:
    """Return what the template prints of a payment's receipt. LookupError: it has none.

    Invoices are those that the payment pays now, by their numbers.
    """
    payment, branch, account = tables.payment.c, tables.branch.c, tables.account.c
    row = connection.execute(
        select(
            tables.payment,
            branch.name.label("branch_name"),
            branch.address.label("branch_address"),
            branch.tax_number,
            branch.timezone,
            account.name.label("account_name"),
            cash_movement.c.receipt_number,
            cash_shift.c.cashier,
        )
        .join_from(tables.payment, tables.branch, branch.branch_id == payment.branch_id)
        .join(tables.account, account.account_id == payment.account_id)
        .join(cash_movement, cash_movement.c.business_id == payment.payment_id)
        .join(cash_shift, cash_shift.c.shift_id == cash_movement.c.shift_id)
        .where(payment.payment_id == payment_id, cash_movement.c.kind == "payment")
    ).first()
    if row is None:
        raise LookupError(f"payment {payment_id} has no receipt")
    paid = _paid(connection, payment_id)
    left = row.amount_minor - sum(amount for _, amount in paid)
    lines = [[number, format_minor(amount, row.currency)] for number, amount in paid]
    if left:
        lines.append(["Credit", format_minor(left, row.currency)])
    return {
        "branch_id": row.branch_id,
        "branch": row.branch_name,
        "address": row.branch_address,
        "tax_number": row.tax_number,
        "number": row.receipt_number,
        "received_at": _local_time(row.received_at, row.timezone),
        "customer": row.account_name,
        "account_id": row.account_id,
        "lines": lines,
        "total": format_minor(row.amount_minor, row.currency),
        "currency": row.currency,
        "cashier": row.cashier,
        "reference": row.reference,
    }


def _local_time(at_ms: int, timezone: str) -> str:
    """Return an instant as the wall clock of a branch shows it, to the minute."""
    epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    moment = (epoch + datetime.timedelta(milliseconds=at_ms)).astimezone(ZoneInfo(timezone))
    return moment.strftime("%Y-%m-%d %H:%M")


def _paid(connection: Connection, payment_id: str) -> list[tuple[str, int]]:
    """Return (number, amount) of what a payment pays now, by number."""
    allocation = payment_tables.allocation
    sums: dict[str, int] = {}
    query = (
        select(tables.invoice.c.number, allocation.c.taken_minor)
        .join_from(allocation, tables.invoice)
        .where(allocation.c.credit_id == payment_id)
    )
    for number, amount in connection.execute(query):
        sums[number or ""] = sums.get(number or "", 0) + amount
    return [(number, amount) for number, amount in sorted(sums.items()) if amount]


def render_receipt(printed: Mapping[str, Any]) -> bytes:
    """Return the PDF of what `receipt_input` gave; equal input and fonts give equal octets."""
    pdf = typst.compile(
        TEMPLATE.read_bytes(),
        format="pdf",
        sys_inputs={"receipt": json.dumps(dict(printed), ensure_ascii=False)},
        timestamp=0,
    )
    assert isinstance(pdf, bytes)
    return pdf
