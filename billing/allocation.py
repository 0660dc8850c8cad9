"""Which invoices an amount pays: as the payer said, else the oldest first; the rest is credit.

Money and credit are the same here: a payment, and what a credit note gives back, is a credit of
the account until it is allocated to an invoice (docs/decisions/0330).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence


class AllocationError(ValueError):
    """An allocation that cannot be: the sentence says which invoice, what is there, what not."""


@dataclasses.dataclass(frozen=True, slots=True)
class OpenInvoice:
    """What an invoice still asks for, in minor units of its currency.

    written_off_minor was given up; it is asked of nobody, but whoever names the invoice may pay
    it. due_on is ISO text, issued_at ms.
    """

    invoice_id: str
    currency: str
    open_minor: int
    written_off_minor: int
    due_on: str
    issued_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """An invoice that the payer named; amount_minor None: as much of it as the money pays."""

    invoice_id: str
    amount_minor: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """What goes to one invoice; recovered_minor of it pays what was written off."""

    invoice_id: str
    amount_minor: int
    recovered_minor: int = 0


def allocate(
    amount_minor: int,
    invoices: Iterable[OpenInvoice],
    wanted: Sequence[Wanted] = (),
    *,
    keeps_rest: bool = False,
) -> tuple[Share, ...]:
    """Return the shares of an amount: first what was named, in that order, then the oldest.

    keeps_rest leaves what was not named as credit. The shares never exceed the amount nor what an
    invoice asks for. AllocationError: a named invoice is not there, is named twice, or asks for
    less than its named amount; or the named amounts exceed the money. ValueError: amount <= 0.
    """
    if amount_minor <= 0:
        raise ValueError(f"an amount of {amount_minor} pays nothing")
    known = {invoice.invoice_id: invoice for invoice in invoices}
    left = amount_minor
    shares: dict[str, Share] = {}
    for want in wanted:
        invoice = known.get(want.invoice_id)
        if invoice is None:
            raise AllocationError(f"invoice {want.invoice_id}: expected one that can be paid")
        if want.invoice_id in shares:
            raise AllocationError(f"invoice {want.invoice_id} is named twice")
        share = _share(invoice, left, want)
        shares[want.invoice_id] = share
        left -= share.amount_minor
    if not keeps_rest:
        for invoice in sorted(known.values(), key=_age):
            amount = min(left, invoice.open_minor)
            if amount > 0 and invoice.invoice_id not in shares:
                shares[invoice.invoice_id] = Share(invoice.invoice_id, amount)
                left -= amount
    return tuple(share for share in shares.values() if share.amount_minor)


def _share(invoice: OpenInvoice, left: int, want: Wanted) -> Share:
    """Return the share of a named invoice of what is left."""
    payable = invoice.open_minor + invoice.written_off_minor
    if want.amount_minor is None:
        amount = min(left, payable)
    else:
        amount = want.amount_minor
        if amount <= 0 or amount > payable:
            what = f"invoice {invoice.invoice_id}: expected an amount of 1 to {payable}"
            raise AllocationError(f"{what} (what it asks for), got {amount}")
        if amount > left:
            what = f"invoice {invoice.invoice_id}: expected at most {left}"
            raise AllocationError(f"{what} (what is left of the money), got {amount}")
    return Share(invoice.invoice_id, amount, max(amount - invoice.open_minor, 0))


def _age(invoice: OpenInvoice) -> tuple[str, int, str]:
    """Return the sort key that puts the longest due first."""
    return invoice.due_on, invoice.issued_at, invoice.invoice_id


def status_of(total_minor: int, paid_minor: int) -> str:
    """Return the state of an issued invoice by what is paid: ``paid`` or ``finalized``."""
    return "paid" if paid_minor >= total_minor else "finalized"
