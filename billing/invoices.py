"""An invoice from its inputs: a pure function, so the same usage makes the same document.

The document holds no processing time and no number: those belong to the row beside it. Every
line carries evidence, the keys under which its sum can be computed again (billing.adapters.
evidence follows them down to days, sessions and minutes).
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from billing.accounts import Account, Branch, Subscription
from billing.canonical import canonical_json, content_hash
from billing.catalog import Terms
from billing.charges import Charge, income_of
from billing.discounts import Granted, with_discounts
from billing.ledger import REVENUE_RECURRING
from billing.numbering import CREDIT_NOTE_SERIES, DEBIT_NOTE_SERIES, INVOICE_SERIES
from billing.proration import local_day, whole_days
from billing.services import Hold, held_portion
from billing.tax_lines import taxed_lines, withholding_words
from billing.tax_rules import NO_RULES, Supply, TaxRules, withheld_of
from billing.taxes import PLAN_TAX, TaxAmount, TaxComponent, TaxTreatment, net_of, tax_amounts
from rating.money import encode_exact, to_minor
from rating.rows import UsageCharge

DOCUMENT_SCHEMA = "flowrate.invoice/1"

RECURRING = "recurring"
USAGE = "usage"
CHARGE = "charge"
ADJUSTMENT = "adjustment"
TAX = "tax"
WITHHOLDING = "withholding"


class OutdatedDraftError(ValueError):
    """A draft says what is no longer so: its invoice became final, or a charge went elsewhere."""


@dataclasses.dataclass(frozen=True, slots=True)
class RecurringInput:
    """A subscription that touches the period; subject is who it serves, as printed.

    holds are those of its account: times in which less than its fee is asked for.
    """

    subscription: Subscription
    terms: Terms
    subject: str
    holds: Sequence[Hold] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class UsageInput:
    """One meter's total at closing (revision 0); allowance is what was included, or None.

    day_amounts are (local day, minor units) where a tax changed within the period.
    """

    charge: UsageCharge
    terms: Terms
    subject: str
    allowance: int | None
    day_amounts: tuple[tuple[str, int], ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class LateInput:
    """A later revision of an earlier period, and the total billed before it (None: nothing).

    is_given_up: the corrected invoice is void, so what comes late for it is shown and not asked
    for, nor given back.
    """

    charge: UsageCharge
    before: UsageCharge | None
    terms: Terms
    subject: str
    corrects_invoice_id: str
    is_given_up: bool = False

    @property
    def amount_minor(self) -> int:
        """Return what is asked for (or given back) beyond what was billed before."""
        return 0 if self.is_given_up else self.difference_minor

    @property
    def difference_minor(self) -> int:
        """Return what the usage costs beyond what it cost before."""
        return self.charge.amount_minor - (self.before.amount_minor if self.before else 0)


@dataclasses.dataclass(frozen=True, slots=True)
class InvoiceInputs:
    """All that an invoice is made of; the period is [start, end) in ms.

    A note has late only: it corrects invoices of an account that has none in this period. charges
    wait in the database; owed are those of services, which are written when the invoice is final.
    """

    branch: Branch
    account: Account
    currency: str
    period_start_at: int
    period_end_at: int
    recurring: Sequence[RecurringInput]
    usage: Sequence[UsageInput]
    late: Sequence[LateInput]
    is_note: bool = False
    charges: Sequence[Charge] = ()
    owed: Sequence[Charge] = ()
    tax_rules: TaxRules = NO_RULES
    discounts: Sequence[Granted] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One line. tax_rate is percent text, empty where none; is_prepaid marks settled usage.

    income is the chart code that it is income of, empty for usage, which is income day by day.
    supply is when it was supplied, None: in the invoice's period.
    """

    kind: str
    description: str
    rating_key: str
    meter_id: str
    quantity: int
    unit: str
    amount_minor: int
    tax_rate: str
    evidence: Mapping[str, Any]
    tax: TaxTreatment | None = None
    is_prepaid: bool = False
    income: str = ""
    supply: Supply | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class InvoiceDraft:
    """An invoice before it has a number. document is canonical JSON text, hash its SHA-256.

    series says what kind of paper it is (billing.numbering). total_minor is what is asked for:
    subtotal and tax less what the payer withholds.
    """

    invoice_id: str
    series: str
    inputs: InvoiceInputs
    lines: tuple[InvoiceLine, ...]
    taxes: tuple[TaxAmount, ...]
    subtotal_minor: int
    tax_minor: int
    total_minor: int
    document: str
    hash: str


def invoice_id_of(account_id: str, period_start_at: int, timezone: str, currency: str) -> str:
    """Return the business key of an invoice: an account has one per period and currency.

    Such as ``inv_acc-17_2026-11-01_BDT``: the period's first local day.
    """
    return f"inv_{account_id}_{local_day(period_start_at, timezone).isoformat()}_{currency}"


def note_id_of(account_id: str, period_start_at: int, timezone: str, currency: str) -> str:
    """Return the business key of a note: at most one per period and currency.

    Such as ``note_acc-17_2026-12-01_BDT``: the first local day of the period that it was due in.
    """
    return f"note_{account_id}_{local_day(period_start_at, timezone).isoformat()}_{currency}"


def draft_invoice(inputs: InvoiceInputs) -> InvoiceDraft:
    """Return the invoice of these inputs; their order does not matter.

    Lines of nothing for nothing are left out, unless there is no other: a month without usage
    has its invoice of zero too, which later usage can then correct. A note that asks for less
    than nothing is a credit note. ValueError where a line's currency is not the invoice's.
    """
    _require_one_currency(inputs)
    charged = [
        *(_recurring_line(item, inputs) for item in inputs.recurring),
        *(_usage_line(item, inputs) for item in inputs.usage),
        *(
            _charge_line(charge, inputs.branch.timezone)
            for charge in (*inputs.charges, *inputs.owed)
        ),
        *(_late_line(item, inputs) for item in inputs.late),
    ]
    charged = with_discounts(sorted(charged, key=_line_order), inputs.discounts, inputs.currency)
    charged = list(taxed_lines(charged, inputs.tax_rules, _supply(inputs)))
    lines = [line for line in charged if line.amount_minor or line.quantity] or charged
    lines += _prepaid_lines(lines)
    priced = [(line.tax, line.amount_minor) for line in lines if line.tax]
    id_of = note_id_of if inputs.is_note else invoice_id_of
    invoice_id = id_of(
        inputs.account.account_id,
        inputs.period_start_at,
        inputs.branch.timezone,
        inputs.currency,
    )
    return assemble(invoice_id, inputs, lines, tax_amounts(priced))


def assemble(
    invoice_id: str,
    inputs: InvoiceInputs,
    charged: Sequence[InvoiceLine],
    taxes: Sequence[TaxAmount],
) -> InvoiceDraft:
    """Return the paper of lines and their taxes: what is withheld, the sums, the document."""
    lines = [*charged, *(_tax_line(tax) for tax in taxes if tax.tax_minor)]
    subtotal = net_of(((line.tax, line.amount_minor) for line in charged if line.tax), taxes)
    tax_sum = sum(tax.tax_minor for tax in taxes)
    withheld = _withholding_lines(inputs, subtotal, taxes)
    lines += withheld
    total = subtotal + tax_sum + sum(line.amount_minor for line in withheld)
    series = _series(inputs, total)
    sums = {"subtotal_minor": subtotal, "tax_minor": tax_sum, "total_minor": total}
    document = _document(invoice_id, inputs, lines, taxes) | sums
    if inputs.is_note:
        document["series"] = series
    return InvoiceDraft(
        invoice_id,
        series,
        inputs,
        tuple(lines),
        tuple(taxes),
        subtotal,
        tax_sum,
        total,
        canonical_json(document),
        content_hash(document),
    )


def _supply(inputs: InvoiceInputs) -> Supply:
    """Return the invoice's period as local days."""
    zone = inputs.branch.timezone
    return supply_of(inputs.period_start_at, inputs.period_end_at, zone)


def supply_of(start_at: int, end_at: int, timezone: str) -> Supply:
    """Return the local days of [start_at, end_at) ms: whole days, and at least the first."""
    first = local_day(start_at, timezone)
    end = max(local_day(end_at, timezone), first + datetime.timedelta(days=1))
    return Supply(first.isoformat(), end.isoformat())


def _series(inputs: InvoiceInputs, total_minor: int) -> str:
    """Return which kind of paper asks for, or gives back, a total."""
    if not inputs.is_note:
        return INVOICE_SERIES
    return CREDIT_NOTE_SERIES if total_minor < 0 else DEBIT_NOTE_SERIES


def _require_one_currency(inputs: InvoiceInputs) -> None:
    """Raise ValueError where amounts of different currencies would be added."""
    found = {item.terms.currency for item in inputs.recurring}
    found |= {item.charge.currency for item in inputs.usage}
    found |= {item.charge.currency for item in inputs.late}
    found |= {charge.currency for charge in (*inputs.charges, *inputs.owed)}
    if found - {inputs.currency}:
        raise ValueError(f"an invoice in {inputs.currency} cannot hold {sorted(found)}")


def _line_order(line: InvoiceLine) -> tuple[Any, ...]:
    """Return the sort key of a line: kind as printed, then business keys."""
    kinds = (RECURRING, USAGE, CHARGE, ADJUSTMENT, TAX)
    evidence = line.evidence
    return (
        kinds.index(line.kind),
        line.rating_key,
        evidence.get("period_start_at", 0),
        evidence.get("segment_number", 0),
        line.meter_id,
        evidence.get("revision", 0),
        evidence.get("subscription_id", ""),
        evidence.get("due_at", 0),
        evidence.get("charge_id", ""),
    )


def _recurring_line(item: RecurringInput, inputs: InvoiceInputs) -> InvoiceLine:
    """Return the fee of one subscription, prorated once and rounded once."""
    subscription, terms = item.subscription, item.terms
    zone = inputs.branch.timezone
    period = (inputs.period_start_at, inputs.period_end_at)
    part = held_portion(
        (subscription.starts_at, subscription.ends_at),
        item.holds,
        subscription.subscription_id,
        period,
        (zone, terms.proration),
    )
    days_in_period = whole_days(*period, zone)
    days = part * days_in_period
    description = f"{terms.name}, {item.subject}"
    evidence = {
        "subscription_id": subscription.subscription_id,
        "plan_id": terms.plan_id,
        "plan_version": terms.plan_version,
        "fee": encode_exact(terms.recurring_fee),
        "portion": encode_exact(part),
        "proration": terms.proration,
    }
    if item.holds:
        evidence["holds"] = ",".join(sorted(hold.hold_id for hold in item.holds))
    if part != 1 and days.denominator == 1:
        description += f" ({days} of {days_in_period} days)"
    return InvoiceLine(
        RECURRING,
        description,
        subscription.rating_key,
        "",
        1 if part and terms.recurring_fee else 0,
        "period",
        to_minor(terms.recurring_fee * part, inputs.currency),
        terms.tax.percent,
        evidence,
        terms.tax,
        income=REVENUE_RECURRING,
        supply=supply_of(
            max(subscription.starts_at, period[0]),
            min(subscription.ends_at or period[1], period[1]),
            zone,
        ),
    )


def _charge_line(charge: Charge, timezone: str) -> InvoiceLine:
    """Return the line of a charge, whose evidence is its row."""
    evidence: dict[str, Any] = {
        "charge_id": charge.charge_id,
        "charge_kind": charge.kind,
        "due_at": charge.due_at,
    }
    if charge.product_id:
        evidence["product_id"] = charge.product_id
    if charge.service_id:
        evidence["service_id"] = charge.service_id
    if charge.covers_from_at is not None:
        evidence["covers_from_at"] = charge.covers_from_at
        evidence["covers_until_at"] = charge.covers_until_at
    words = ", ".join(part for part in (charge.description, charge.subject) if part)
    first_at = charge.due_at if charge.covers_from_at is None else charge.covers_from_at
    return InvoiceLine(
        CHARGE,
        f"{charge.quantity} × {words}" if charge.quantity > 1 else words,
        "",
        "",
        charge.quantity,
        "",
        charge.amount_minor,
        charge.tax_percent,
        evidence,
        charge.tax,
        income=income_of(charge),
        supply=supply_of(first_at, charge.covers_until_at or first_at, timezone),
    )


def _charge_evidence(charge: UsageCharge, terms: Terms) -> dict[str, Any]:
    """Return the keys that lead from a line to its usage, and F(q) as it was at closing."""
    return {
        "rating_key": charge.rating_key,
        "period_start_at": charge.period_start_at,
        "period_end_at": charge.period_end_at,
        "segment_number": charge.segment_number,
        "meter_id": charge.meter_id,
        "revision": charge.revision,
        "quantity": charge.quantity,
        "amount_exact": charge.amount_exact,
        "plan_id": charge.plan_id,
        "plan_version": charge.plan_version,
        "octets_per_gigabyte": terms.octets_per_gigabyte,
    }


def _usage_line(item: UsageInput, inputs: InvoiceInputs) -> InvoiceLine:
    """Return the line of one meter: round(F(q)), as the rate stage rounded it."""
    charge = item.charge
    meter = item.terms.meters[charge.meter_id]
    evidence = _charge_evidence(charge, item.terms)
    if item.allowance is not None:
        evidence["allowance"] = item.allowance
    return InvoiceLine(
        USAGE,
        f"{charge.description or meter.name}, {item.subject}",
        charge.rating_key,
        charge.meter_id,
        charge.quantity,
        meter.unit,
        charge.amount_minor,
        item.terms.tax.percent,
        evidence,
        item.terms.tax,
        item.terms.is_prepaid,
        supply=dataclasses.replace(
            supply_of(charge.period_start_at, charge.period_end_at, inputs.branch.timezone),
            weights=item.day_amounts,
        ),
    )


def _late_line(item: LateInput, inputs: InvoiceInputs) -> InvoiceLine:
    """Return what a later revision adds to, or takes from, an invoice that was already sent."""
    charge, before = item.charge, item.before
    meter = item.terms.meters[charge.meter_id]
    zone = inputs.branch.timezone
    first = local_day(charge.period_start_at, zone).isoformat()
    last = local_day(charge.period_end_at - 1, zone).isoformat()
    evidence = _charge_evidence(charge, item.terms)
    evidence["quantity_before"] = before.quantity if before else 0
    evidence["amount_exact_before"] = before.amount_exact if before else "0/1"
    evidence["corrects_invoice_id"] = item.corrects_invoice_id
    words = "Late usage" if item.difference_minor >= 0 else "Correction"
    if item.is_given_up:
        evidence["given_up_minor"] = item.difference_minor
        words += " of a void invoice, not charged"
    return InvoiceLine(
        ADJUSTMENT,
        f"{words} {first} to {last}: {charge.description or meter.name}, {item.subject}",
        charge.rating_key,
        charge.meter_id,
        charge.quantity - (before.quantity if before else 0),
        meter.unit,
        item.amount_minor,
        item.terms.tax.percent,
        evidence,
        item.terms.tax,
        item.terms.is_prepaid,
        supply=supply_of(charge.period_start_at, charge.period_end_at, zone),
    )


def _prepaid_lines(lines: Sequence[InvoiceLine]) -> list[InvoiceLine]:
    """Return, per tax treatment, the line that takes prepaid usage out of what is asked for."""
    sums: dict[TaxTreatment, int] = {}
    for line in lines:
        if line.is_prepaid and line.tax:
            sums[line.tax] = sums.get(line.tax, 0) + line.amount_minor
    return [
        InvoiceLine(
            ADJUSTMENT,
            "Paid from prepaid balance",
            "",
            "",
            1,
            "",
            -amount,
            tax.percent,
            {"prepaid": True},
            tax,
            True,
        )
        for tax, amount in sorted(sums.items(), key=lambda pair: (pair[0].rate, pair[0].percent))
        if amount
    ]


def _tax_line(tax: TaxAmount) -> InvoiceLine:
    """Return the line of one rate. An inclusive tax is shown, not added: prices hold it."""
    words = "included" if tax.is_inclusive else "added"
    return InvoiceLine(
        TAX,
        f"{tax.component.name or 'Tax'} {tax.percent} %",
        "",
        "",
        1,
        "",
        tax.tax_minor,
        tax.percent,
        {"net_minor": tax.net_minor, "treatment": words, **_tax_names(tax.component)},
    )


def _withholding_lines(
    inputs: InvoiceInputs, net_minor: int, taxes: Sequence[TaxAmount]
) -> list[InvoiceLine]:
    """Return what the payer keeps for the tax office, as lines that ask for less."""
    last_on = local_day(inputs.period_end_at - 1, inputs.branch.timezone).isoformat()
    return [
        InvoiceLine(
            WITHHOLDING,
            withholding_words(withheld),
            "",
            "",
            1,
            "",
            -withheld.amount_minor,
            "",
            {
                "status_id": withheld.status.status_id,
                "certificate": withheld.status.certificate,
                "tax_id": withheld.status.tax_id,
                "percent": withheld.status.percent,
                "basis": withheld.status.basis,
                "base_minor": withheld.base_minor,
            },
        )
        for withheld in withheld_of(inputs.tax_rules, net_minor, taxes, last_on)
    ]


def _line_tax(line: InvoiceLine) -> dict[str, Any]:
    """Return a line's treatment where its rate alone does not say it; a note needs it again."""
    if line.tax is None or line.tax == TaxTreatment(line.tax_rate, False):
        return {}
    return {"tax": dataclasses.asdict(line.tax)}


def _tax_names(component: TaxComponent) -> dict[str, Any]:
    """Return what a tax of a code says beyond its rate; nothing for a plan's own rate."""
    if component == TaxComponent(PLAN_TAX, "", component.percent):
        return {}
    named = dataclasses.asdict(component)
    del named["percent"]
    return named


def _document(
    invoice_id: str,
    inputs: InvoiceInputs,
    lines: Sequence[InvoiceLine],
    taxes: Sequence[TaxAmount],
) -> dict[str, Any]:
    """Return the invoice as data: what is printed and hashed."""
    zone = inputs.branch.timezone
    branch, account = inputs.branch, inputs.account
    tax_number = inputs.tax_rules.tax_number
    return {
        "schema": DOCUMENT_SCHEMA,
        "invoice_id": invoice_id,
        "branch": {
            "branch_id": branch.branch_id,
            "name": branch.name,
            "address": branch.address,
            "tax_number": branch.tax_number,
            "phone": branch.phone,
            "email": branch.email,
            "language": branch.language,
            "timezone": zone,
        },
        "account": {
            "account_id": account.account_id,
            "name": account.name,
            "address": account.address,
            "email": account.email,
            "phone": account.phone,
        }
        | ({"tax_number": tax_number} if tax_number else {}),
        "currency": inputs.currency,
        "period": {
            "start_at": inputs.period_start_at,
            "end_at": inputs.period_end_at,
            "first_on": local_day(inputs.period_start_at, zone).isoformat(),
            "last_on": local_day(inputs.period_end_at - 1, zone).isoformat(),
        },
        "lines": [
            {
                "kind": line.kind,
                "description": line.description,
                "rating_key": line.rating_key,
                "meter_id": line.meter_id,
                "quantity": line.quantity,
                "unit": line.unit,
                "amount_minor": line.amount_minor,
                "tax_rate": line.tax_rate,
                "evidence": dict(line.evidence),
                **_line_tax(line),
            }
            for line in lines
        ],
        "taxes": [
            {
                "percent": tax.percent,
                "is_inclusive": tax.is_inclusive,
                "net_minor": tax.net_minor,
                "tax_minor": tax.tax_minor,
                **_tax_names(tax.component),
            }
            for tax in taxes
        ],
    }
