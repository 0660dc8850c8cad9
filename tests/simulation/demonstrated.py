"""The demo's ISP in the auditor's words: its plans, what the API sold, what each account owes.

Its flows come over UDP, and those that nobody received are lost: lines of the plan whose meter
weighs traffic classes are compared in their fee alone (`test_simulation` compares them whole).
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

from infra.demonstration.tariffs import BRANCH, MEGABYTE
from tests.simulation.auditor import Auditor, Bill
from tests.simulation.comparison import Bills
from tests.simulation.tariffs import Measure, Step, Tariff
from tests.simulation.truth import Truth

SILENCE_MS = 15_000
_FREE = Step(50 * MEGABYTE, Fraction(0))
_MIDDLE = Step(150 * MEGABYTE, Fraction("0.40"))
_ABOVE = Step(None, Fraction("0.25"))
TARIFFS = {
    tariff.plan_id: tariff
    for tariff in (
        Tariff("home-fup", (Measure("data", "flat"),), Fraction(700), 5),
        Tariff("home-metered", (), Fraction(350), 5),
        Tariff(
            "family",
            (Measure("data", "overage", Fraction(3), 10 * MEGABYTE, 120 * MEGABYTE),),
            Fraction(1200),
            5,
        ),
        Tariff(
            "office",
            (Measure("data", "graduated", unit=MEGABYTE, steps=(_FREE, _MIDDLE, _ABOVE)),),
            Fraction(2500),
            5,
        ),
        Tariff(
            "prepaid",
            (Measure("data", "payg", Fraction("0.50"), MEGABYTE),),
            tax_percent=5,
            is_prepaid=True,
        ),
    )
}
"""The demo's plans in the auditor's words; the metered one only for its fee."""


def auditor_of(items: Callable[[str], Iterable[dict[str, Any]]], lateness_ms: int) -> Auditor:
    """Return an auditor that knows what was sold; items gives every item of a list of the API."""
    auditor = Auditor(Truth(SILENCE_MS, lateness_ms), BRANCH["timezone"], lateness_ms)
    starts: dict[str, int] = {}
    for sale in items("/v1/subscriptions"):
        at = _instant(sale["starts_at"])
        starts[sale["rating_key"]] = at
        auditor.sell(sale["account_id"], sale["rating_key"], TARIFFS[sale["plan_id"]], at)
    for line in items("/v1/subscribers"):
        auditor.move(line["user_name"], line["rating_key"], starts[line["rating_key"]])
    return auditor


def compare_bills(made: Bills, auditor: Auditor, month: tuple[int, int]) -> tuple[list[str], int]:
    """Return what differs between the finalized invoices of a month and the auditor's bills.

    Also how much the compared lines say was used: 0 would prove nothing.
    """
    metered = {s.key for s in auditor.sales if s.tariff.plan_id == "home-metered"}
    found, used = [], 0
    for account in auditor.accounts(month):
        bill = auditor.bill(account, month)
        if (account, month[0]) not in made:
            found.append(f"{account}: no finalized invoice")
            continue
        invoice = made[account, month[0]]
        own = {line for line in invoice.lines if line[1] in metered and line[0] == "usage"}
        if own:
            fees = {line: values for line, values in invoice.lines.items() if line not in own}
            if fees != bill.lines:
                found.append(f"{account}: fees should be {bill.lines}, are {fees}")
            continue
        wanted = Bill(bill.lines, bill.taxes, bill.total_minor)
        if invoice != wanted:
            found.append(f"{account}: the invoice should be {wanted}, is {invoice}")
        used += sum(quantity for line, (quantity, _) in bill.lines.items() if line[0] == "usage")
    return found, used


def _instant(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp() * 1000)
