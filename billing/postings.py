"""What the ledger says when usage happens and when it is invoiced.

    each day     unbilled (or prepaid) │ usage revenue         what the day's usage costs
    at invoice   receivable            │ unbilled              what is now asked for
                                       │ recurring revenue
                                       │ tax payable
                 unbilled              │ usage revenue         true-up, see below

A day's amount is rounded once, and so is an invoice line; the sum of days need not be the line.
The true-up makes them meet, so that unbilled revenue of an invoiced period is exactly zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from billing.accounts import Account
from billing.invoices import RECURRING, TAX, InvoiceDraft, InvoiceLine
from billing.ledger import (
    PREPAID,
    RECEIVABLE,
    REVENUE_RECURRING,
    REVENUE_USAGE,
    TAX_PAYABLE,
    UNBILLED,
    Transaction,
    entries_of,
)
from billing.taxes import TaxTreatment
from rating.money import round_half_up
from rating.rows import UsageDay


def usage_day_key(day: UsageDay) -> str:
    """Return the idempotency key of a day's posting: its whole business key."""
    return (
        f"{day.rating_key}/{day.meter_id}/{day.period_start_at}/{day.segment_number}"
        f"/{day.day_on}/{day.revision}"
    )


def usage_day_transaction(
    day: UsageDay, account: Account, *, occurred_at: int, is_prepaid: bool
) -> Transaction | None:
    """Return the posting of one meter's local day, or None where it cost nothing.

    occurred_at is the end of that local day (ms).
    """
    if not day.amount_minor:
        return None
    owed = PREPAID if is_prepaid else UNBILLED
    amounts = {owed: day.amount_minor, REVENUE_USAGE: -day.amount_minor}
    return Transaction(
        account.branch_id,
        "usage_day",
        usage_day_key(day),
        occurred_at,
        f"Usage {day.day_on} {day.meter_id} {day.rating_key}",
        entries_of(account.branch_id, account.account_id, day.currency, amounts),
    )


def invoice_transaction(
    draft: InvoiceDraft, *, true_up_minor: int, prepaid_true_up_minor: int
) -> Transaction | None:
    """Return the posting of a finalized invoice, or None where every amount is zero.

    The true-ups are line sums less what the days posted, for unbilled and for prepaid usage.
    """
    inputs = draft.inputs
    recurring, usage = _gross(draft, is_recurring=True), _gross(draft, is_recurring=False)
    included = _included_tax(draft)
    amounts: dict[str, int] = {
        RECEIVABLE: draft.total_minor,
        UNBILLED: -sum(usage.values()) + true_up_minor,
        PREPAID: prepaid_true_up_minor,
        TAX_PAYABLE: -draft.tax_minor,
        REVENUE_RECURRING: -sum(recurring.values()) + included[RECURRING],
        REVENUE_USAGE: included["usage"] - true_up_minor - prepaid_true_up_minor,
    }
    entries = entries_of(
        inputs.branch.branch_id, inputs.account.account_id, inputs.currency, amounts
    )
    if not entries:
        return None
    return Transaction(
        inputs.branch.branch_id,
        "invoice",
        draft.invoice_id,
        inputs.period_end_at,
        f"Invoice {draft.invoice_id}",
        entries,
    )


def _gross(draft: InvoiceDraft, *, is_recurring: bool) -> Mapping[TaxTreatment, int]:
    """Return line sums per tax treatment, of recurring fees or of everything else but tax."""
    sums: dict[TaxTreatment, int] = {}
    for line in draft.lines:
        if line.tax and _is_recurring(line) is is_recurring:
            sums[line.tax] = sums.get(line.tax, 0) + line.amount_minor
    return sums


def _is_recurring(line: InvoiceLine) -> bool:
    """Return whether a line is a recurring fee."""
    return line.kind == RECURRING and line.kind != TAX


def _included_tax(draft: InvoiceDraft) -> Mapping[str, int]:
    """Return how much included tax stands in recurring and in usage lines.

    Revenue is what is left without it. The recurring share is rounded, usage takes the rest.
    """
    recurring = _gross(draft, is_recurring=True)
    shares = {RECURRING: 0, "usage": 0}
    for tax in draft.taxes:
        if not tax.treatment.is_inclusive:
            continue
        rate = tax.treatment.rate
        share = round_half_up(recurring.get(tax.treatment, 0) * Fraction(rate) / (1 + rate))
        if tax.treatment not in _gross(draft, is_recurring=False):
            share = tax.tax_minor
        shares[RECURRING] += share
        shares["usage"] += tax.tax_minor - share
    return shares
