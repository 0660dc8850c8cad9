"""What the ledger says when usage happens and when it is invoiced.

    each day     unbilled (or prepaid) │ usage revenue         what the day's usage costs
    at invoice   receivable            │ unbilled              what is now asked for
                                       │ recurring revenue
                                       │ one-off revenue, fees
                                       │ tax payable, per tax
                 tax withheld          │                       what the payer keeps for us
                 unbilled              │ usage revenue         true-up, see below

A day's amount is rounded once, and so is an invoice line; the sum of days need not be the line.
The true-up makes them meet, so that unbilled revenue of an invoiced period is exactly zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from billing.accounts import Account
from billing.invoices import WITHHOLDING, InvoiceDraft
from billing.ledger import (
    CHART,
    PREPAID,
    RECEIVABLE,
    REVENUE_USAGE,
    TAX_WITHHELD,
    UNBILLED,
    Transaction,
    entries_of,
    tax_payable,
)
from billing.taxes import TaxAmount, TaxTreatment
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
    gross = _gross(draft)
    included = _included_tax(gross, draft.taxes)
    usage = sum(gross.get(_USAGE, {}).values())
    withheld = -sum(line.amount_minor for line in draft.lines if line.kind == WITHHOLDING)
    amounts: dict[str, int] = {
        RECEIVABLE: draft.total_minor,
        UNBILLED: -usage + true_up_minor,
        PREPAID: prepaid_true_up_minor,
        TAX_WITHHELD: withheld,
        REVENUE_USAGE: included.get(_USAGE, 0) - true_up_minor - prepaid_true_up_minor,
        **payable_amounts(draft.taxes),
    }
    for code in gross.keys() - {_USAGE}:
        amounts.setdefault(code, 0)
        amounts[code] += included.get(code, 0) - sum(gross[code].values())
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


def void_transaction(
    posted: Transaction, account_id: str, currency: str, occurred_at: int, reason: str
) -> Transaction | None:
    """Return the posting that takes an invoice back, or None where nothing is to be taken back.

    What was asked for, its taxes and income are reversed. Usage stays billed: what the days had
    posted is given up as usage revenue, so that nothing of the period is unbilled again; what a
    prepaid balance paid stays paid.
    """
    amounts: dict[str, int] = {}
    for entry in posted.entries:
        code = REVENUE_USAGE if entry.account.code in (UNBILLED, PREPAID) else entry.account.code
        amounts[code] = amounts.get(code, 0) - entry.amount_minor
    entries = entries_of(posted.branch_id, account_id, currency, amounts)
    if not entries:
        return None
    words = f"{posted.description} void: {reason}"
    key = posted.idempotency_key
    return Transaction(posted.branch_id, "invoice_void", key, occurred_at, words, entries)


def payable_amounts(taxes: Iterable[TaxAmount]) -> dict[str, int]:
    """Return what is owed to tax offices as credits per ledger code: one code per tax."""
    amounts: dict[str, int] = {}
    for tax in taxes:
        code = tax_payable(tax.component.tax_id)
        amounts[code] = amounts.get(code, 0) - tax.tax_minor
    return amounts


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


def _included_tax(
    gross: Mapping[str, Mapping[TaxTreatment, int]], taxes: Iterable[TaxAmount]
) -> Mapping[str, int]:
    """Return how much included tax stands in the lines of each chart code, summed by `_gross`.

    Revenue is what is left without it. Each share is rounded; the last code, usage where there is
    some, takes the rest.
    """
    left = sum(tax.tax_minor for tax in taxes if tax.is_inclusive)
    codes = [c for c in (*CHART, _USAGE) if any(t.is_inclusive for t in gross.get(c, {}))]
    shares: dict[str, int] = {}
    for code in codes[:-1]:
        held = (a * t.rate / (1 + t.rate) for t, a in gross[code].items() if t.is_inclusive)
        shares[code] = sum(round_half_up(tax) for tax in held)
        left -= shares[code]
    return shares | dict.fromkeys(codes[-1:], left)
