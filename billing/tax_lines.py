"""Lines under an account's tax rules: each bears what its day of supply says.

A line over a change of rate becomes two, with the days of each; together they are the line again.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from billing.tax_rules import (
    Span,
    Supply,
    TaxRules,
    Withheld,
    part_amount,
    spans_of,
    weights_of,
)
from billing.taxes import TaxTreatment

if TYPE_CHECKING:
    from billing.invoices import InvoiceLine

_COUNTED_ONCE = frozenset({"period", ""})
"""Units whose quantity says how often a line is charged: parting it in days leaves it alone."""


def taxed_lines(
    lines: Iterable[InvoiceLine], rules: TaxRules, period: Supply
) -> Iterator[InvoiceLine]:
    """Yield the lines with their treatment; `period` is when lines without a supply were supplied.

    A line that bears no tax passes as it is.
    """
    for line in lines:
        if line.tax is None:
            yield line
            continue
        supply = line.supply or period
        spans = spans_of(rules, line.tax, supply)
        if len(spans) == 1:
            yield _with_treatment(line, spans[0].treatment)
        else:
            yield from _parts(line, spans, weights_of(spans, supply))


def _parts(line: InvoiceLine, spans: list[Span], weights: list[int]) -> Iterator[InvoiceLine]:
    """Yield a line's parts, one per span; a part of no days and no money is left out."""
    amounts = part_amount(line.amount_minor, weights)
    quantities = (
        [line.quantity] * len(spans)
        if line.unit in _COUNTED_ONCE
        else part_amount(line.quantity, weights)
    )
    for span, amount, quantity, weight in zip(spans, amounts, quantities, weights, strict=True):
        if not weight and not amount:
            continue
        last_on = datetime.date.fromisoformat(span.end_on) - datetime.timedelta(days=1)
        shown = {"first_on": span.first_on, "last_on": last_on.isoformat()}
        yield dataclasses.replace(
            _with_treatment(line, span.treatment),
            description=f"{line.description}, {span.first_on} to {last_on.isoformat()}",
            quantity=quantity,
            amount_minor=amount,
            evidence={
                **line.evidence,
                "supplied": shown,
                "part": f"{weight}/{sum(weights)}",
                "line_amount_minor": line.amount_minor,
            },
        )


def _with_treatment(line: InvoiceLine, treatment: TaxTreatment) -> InvoiceLine:
    if treatment == line.tax:
        return line
    return dataclasses.replace(line, tax=treatment, tax_rate=treatment.percent)


def withholding_words(withheld: Withheld) -> str:
    """Return the text of what a payer withholds: the rate, and by which certificate."""
    status = withheld.status
    of = {"net": "the net amount", "tax": "the tax", "gross": "the gross amount"}[status.basis]
    by = f" ({status.certificate})" if status.certificate else ""
    return f"Withheld {status.percent} % of {of}{by}"
