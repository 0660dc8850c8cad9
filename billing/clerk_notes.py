"""Credit and debit notes by a clerk: parts of an invoice's lines given back, or asked for more.

A credit never exceeds what a line billed, less what earlier notes gave back. The tax of all credit
notes together is the tax of all they credited, so a line credited in parts gives back its tax to
the cent. Both kinds are papers like an invoice (`billing.invoices.assemble`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from billing.charges import LATE_FEE
from billing.invoices import (
    ADJUSTMENT,
    CHARGE,
    RECURRING,
    TAX,
    USAGE,
    WITHHOLDING,
    InvoiceDraft,
    InvoiceInputs,
    InvoiceLine,
    assemble,
)
from billing.ledger import REVENUE_FEES, REVENUE_ONE_OFF, REVENUE_RECURRING, REVENUE_USAGE
from billing.tax_rules import WITHHOLDING as WITHHELD
from billing.tax_rules import TaxRules, TaxStatus
from billing.taxes import TaxAmount, TaxComponent, TaxTreatment, tax_amounts

CREDIT = "credit"
DEBIT = "debit"


class NoteRefusedError(Exception):
    """What a note cannot do: the sentence names the line, the amount and what is possible."""


@dataclasses.dataclass(frozen=True, slots=True)
class BilledLine:
    """A line of a final invoice; credited_minor is what earlier notes gave back of it."""

    number: int
    kind: str
    description: str
    amount_minor: int
    tax: TaxTreatment
    income: str
    credited_minor: int = 0

    @property
    def left_minor(self) -> int:
        """Return what can still be given back."""
        return max(self.amount_minor - self.credited_minor, 0)


@dataclasses.dataclass(frozen=True, slots=True)
class NoteLine:
    """What a clerk asks: a line's number, and how much of it (above zero)."""

    number: int
    amount_minor: int


@dataclasses.dataclass(frozen=True, slots=True)
class NoteOrder:
    """A note as a clerk orders it: kind is CREDIT or DEBIT, lines have amounts above zero.

    Without lines a credit gives back all that is left of the invoice.
    """

    invoice_id: str
    kind: str
    lines: tuple[NoteLine, ...]
    reason: str
    by: str


def billed_lines(document: str, credited: Mapping[int, int]) -> list[BilledLine]:
    """Return the taxed lines of an invoice's document; credited is per line number."""
    invoice = json.loads(document)
    inclusive = {tax["percent"] for tax in invoice["taxes"] if tax["is_inclusive"]}
    found: list[BilledLine] = []
    for number, line in enumerate(invoice["lines"], 1):
        if line["kind"] in (TAX, WITHHOLDING) or not line["tax_rate"]:
            continue
        found.append(
            BilledLine(
                number,
                line["kind"],
                line["description"],
                line["amount_minor"],
                _treatment(line, inclusive),
                _income(line),
                credited.get(number, 0),
            )
        )
    return found


def whole_credit(lines: Sequence[BilledLine]) -> list[NoteLine]:
    """Return what gives back all that is left of an invoice."""
    return [NoteLine(line.number, line.left_minor) for line in lines if line.left_minor]


def draft_note(
    note_id: str,
    inputs: InvoiceInputs,
    invoice: tuple[str, str],
    wanted: Sequence[NoteLine],
    reason: str,
    credited: Mapping[int, int],
) -> InvoiceDraft:
    """Return the note that corrects an invoice (id, document) by these amounts.

    inputs give branch, account, currency and the note's instant, with is_note set. A credit note
    has amounts above zero in `wanted`, a debit note below. NoteRefusedError: it cannot be.
    """
    invoice_id, document = invoice
    lines = {line.number: line for line in billed_lines(document, credited)}
    if not wanted:
        raise NoteRefusedError(f"{invoice_id}: nothing is left to be credited")
    noted: list[InvoiceLine] = []
    for want in wanted:
        noted.append(_note_line(lines, want, invoice_id, reason))
    _refuse_more_than_billed(list(lines.values()), wanted, invoice_id)
    is_credit = wanted[0].amount_minor > 0
    before = [(line.tax, -line.credited_minor) for line in lines.values() if is_credit]
    taxes = _taxes_beyond(before, [(line.tax, line.amount_minor) for line in noted if line.tax])
    rules = TaxRules(tax_number=_tax_number(document), statuses=_withheld_statuses(document))
    inputs = dataclasses.replace(inputs, tax_rules=rules)
    return assemble(note_id, inputs, noted, taxes)


def _note_line(
    lines: Mapping[int, BilledLine], want: NoteLine, invoice_id: str, reason: str
) -> InvoiceLine:
    """Return one line of a note, under the treatment of the line that it corrects."""
    line = lines.get(want.number)
    if line is None:
        known = ", ".join(str(number) for number in sorted(lines))
        raise NoteRefusedError(
            f"{invoice_id} has no line {want.number} that can be corrected; expected one of {known}"
        )
    if want.amount_minor > line.left_minor:
        raise NoteRefusedError(
            f"line {want.number} of {invoice_id}: {want.amount_minor} is more than is left to be"
            f" credited, {line.left_minor}"
        )
    return InvoiceLine(
        ADJUSTMENT,
        f"{reason}: {line.description}",
        "",
        "",
        1,
        "",
        -want.amount_minor,
        line.tax.percent,
        {"corrects_invoice_id": invoice_id, "corrects_line": want.number, "reason": reason},
        line.tax,
        income=line.income,
    )


def _refuse_more_than_billed(
    lines: Sequence[BilledLine], wanted: Sequence[NoteLine], invoice_id: str
) -> None:
    """Raise NoteRefusedError where lines were billed with others that took them back.

    Prepaid usage and a discount are lines below zero: what they took back was never asked for.
    """
    taken: dict[TaxTreatment, int] = {}
    asked: dict[TaxTreatment, int] = {}
    by_number = {line.number: line for line in lines}
    for line in lines:
        asked[line.tax] = asked.get(line.tax, 0) + line.amount_minor
        taken[line.tax] = taken.get(line.tax, 0) + line.credited_minor
    for want in wanted:
        if want.amount_minor > 0:
            tax = by_number[want.number].tax
            taken[tax] += want.amount_minor
            if taken[tax] > asked[tax]:
                raise NoteRefusedError(
                    f"line {want.number} of {invoice_id}: at most"
                    f" {max(asked[tax] - taken[tax] + want.amount_minor, 0)} was asked for at"
                    f" {tax.percent} % and is not credited yet, got {want.amount_minor}"
                )


def _taxes_beyond(
    before: Sequence[tuple[TaxTreatment, int]], noted: Sequence[tuple[TaxTreatment, int]]
) -> list[TaxAmount]:
    """Return what a note's lines add to the taxes of the lines before them.

    Of taxes that the note has nothing of, nothing is left.
    """
    mine = dict.fromkeys(treatment for treatment, _ in noted)
    known = [(treatment, amount) for treatment, amount in before if treatment in mine]
    same = [(treatment, 0) for treatment in mine]
    return [
        dataclasses.replace(
            after,
            net_minor=after.net_minor - ahead.net_minor,
            tax_minor=after.tax_minor - ahead.tax_minor,
        )
        for ahead, after in zip(
            tax_amounts([*known, *same]), tax_amounts([*known, *noted]), strict=True
        )
    ]


def _treatment(line: Mapping[str, Any], inclusive: set[str]) -> TaxTreatment:
    """Return the treatment of a document's line."""
    if "tax" not in line:
        return TaxTreatment(line["tax_rate"], line["tax_rate"] in inclusive)
    tax = line["tax"]
    parts = tuple(TaxComponent(**part) for part in tax["parts"])
    return TaxTreatment(tax["percent"], tax["is_inclusive"], tax["code"], parts)


def _income(line: Mapping[str, Any]) -> str:
    """Return the chart code of income that a document's line was posted to."""
    evidence = line["evidence"]
    if line["kind"] == CHARGE:
        if evidence.get("charge_kind") == LATE_FEE:
            return REVENUE_FEES
        return REVENUE_RECURRING if "covers_from_at" in evidence else REVENUE_ONE_OFF
    return {RECURRING: REVENUE_RECURRING, USAGE: REVENUE_USAGE}.get(line["kind"], REVENUE_USAGE)


def _tax_number(document: str) -> str:
    number: str = json.loads(document)["account"].get("tax_number", "")
    return number


def _withheld_statuses(document: str) -> tuple[TaxStatus, ...]:
    """Return the certificates by which the payer withheld of an invoice, valid for its note."""
    found = [
        line["evidence"] for line in json.loads(document)["lines"] if line["kind"] == WITHHOLDING
    ]
    return tuple(
        TaxStatus(
            evidence["status_id"],
            "",
            WITHHELD,
            evidence.get("tax_id", ""),
            evidence["certificate"],
            evidence["percent"],
            evidence["basis"],
            "",
            "",
        )
        for evidence in found
    )
