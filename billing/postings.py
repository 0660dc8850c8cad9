"""What the ledger says when usage happens and when it is invoiced.

    each day     unbilled (or prepaid) │ usage revenue         what the day's usage costs
    at invoice   receivable            │ unbilled              what is now asked for
                                       │ recurring revenue
                                       │ one-off revenue, fees
                                       │ tax payable
                 unbilled              │ usage revenue         true-up, see below

A day's amount is rounded once, and so is an invoice line; the sum of days need not be the line.
The true-up makes them meet, so that unbilled revenue of an invoiced period is exactly zero.
"""

from __future__ import annotations

from collections.abc import Mapping

from billing.accounts import Account
from billing.invoices import InvoiceDraft
from billing.ledger import (
    CHART,
    PREPAID,
    RECEIVABLE,
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
    gross, included = _gross(draft), _included_tax(draft)
    usage = sum(gross.get(_USAGE, {}).values())
    amounts: dict[str, int] = {
        RECEIVABLE: draft.total_minor,
        UNBILLED: -usage + true_up_minor,
        PREPAID: prepaid_true_up_minor,
        TAX_PAYABLE: -draft.tax_minor,
        REVENUE_USAGE: included.get(_USAGE, 0) - true_up_minor - prepaid_true_up_minor,
    }
    for code in gross.keys() - {_USAGE}:
        amounts[code] = -sum(gross[code].values()) + included.get(code, 0)
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


_USAGE = ""
"""`InvoiceLine.income` of what was income before: on the day of the usage."""


def _gross(draft: InvoiceDraft) -> Mapping[str, Mapping[TaxTreatment, int]]:
    """Return line sums per chart code of income and tax treatment, tax lines left out."""
    sums: dict[str, dict[TaxTreatment, int]] = {}
    for line in draft.lines:
        if line.tax:
            of_code = sums.setdefault(line.income, {})
            of_code[line.tax] = of_code.get(line.tax, 0) + line.amount_minor
    return sums


def _included_tax(draft: InvoiceDraft) -> Mapping[str, int]:
    """Return how much included tax stands in the lines of each chart code of income.

    Revenue is what is left without it. Each share is rounded; the last code, usage where there is
    some, takes the rest.
    """
    gross = _gross(draft)
    shares: dict[str, int] = {}
    for tax in draft.taxes:
        if not tax.treatment.is_inclusive:
            continue
        rate, left = tax.treatment.rate, tax.tax_minor
        codes = [code for code in (*CHART, _USAGE) if tax.treatment in gross.get(code, {})]
        for code in codes[:-1]:
            share = round_half_up(gross[code][tax.treatment] * rate / (1 + rate))
            shares[code] = shares.get(code, 0) + share
            left -= share
        shares[codes[-1]] = shares.get(codes[-1], 0) + left
    return shares
