"""Instalment plans: an invoice's open amount, agreed to be paid in parts on days of their own.

Parts have no money of their own: what the invoice is paid since the plan began pays the earliest.
So any payment of the invoice is one of the plan, and a bounced one opens its parts again.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence

from rating.periods import day_in_month

RUNNING = "running"
CANCELLED = "cancelled"
DONE = "done"
"""States of a plan; it is done when its parts are paid, and runs again where a payment bounced."""


class InstalmentError(ValueError):
    """A plan that cannot be; the sentence names the field, the value and what was expected."""


@dataclasses.dataclass(frozen=True, slots=True)
class Instalment:
    """One part: due on a local day of the branch."""

    number: int
    due_on: datetime.date
    amount_minor: int


@dataclasses.dataclass(frozen=True, slots=True)
class InstalmentPlan:
    """A plan over one invoice. paid_before_minor is what the invoice had been paid at its begin."""

    plan_id: str
    branch_id: str
    account_id: str
    invoice_id: str
    is_cancelled: bool
    paid_before_minor: int
    currency: str
    created_at: int
    created_by: str


@dataclasses.dataclass(frozen=True, slots=True)
class OpenInstalment:
    """A part with what is still open of it."""

    instalment: Instalment
    open_minor: int


def even_parts(
    open_minor: int, count: int, first_on: datetime.date, every_months: int = 1
) -> tuple[Instalment, ...]:
    """Return equal parts a number of months apart; the first bears what does not divide.

    A day that a month lacks is its last one; the next goes back to the day of the first.
    InstalmentError: count or every_months below 1, or less than one minor unit a part.
    """
    if count < 1 or count > open_minor:
        raise InstalmentError(f"count: expected 1 to {open_minor}, got {count}")
    if every_months < 1:
        raise InstalmentError(f"every_months: expected at least 1, got {every_months}")
    each = open_minor // count
    first_month = first_on.year * 12 + first_on.month - 1
    return tuple(
        Instalment(
            number + 1,
            day_in_month(first_month + number * every_months, first_on.day),
            each + (open_minor - each * count if number == 0 else 0),
        )
        for number in range(count)
    )


def agreed_parts(
    open_minor: int, parts: Sequence[tuple[datetime.date, int]]
) -> tuple[Instalment, ...]:
    """Return parts as agreed, by day. InstalmentError: they are not the open amount, or not parts.

    Two parts of one day are one too many.
    """
    ordered = sorted(parts)
    days = [day for day, _ in ordered]
    if not parts or len(set(days)) < len(days):
        raise InstalmentError("parts: expected at least one, each on a day of its own")
    if any(amount <= 0 for _, amount in ordered):
        raise InstalmentError("parts: expected amounts above zero")
    total = sum(amount for _, amount in ordered)
    if total != open_minor:
        raise InstalmentError(f"parts: expected a sum of {open_minor}, got {total}")
    return tuple(Instalment(n, day, amount) for n, (day, amount) in enumerate(ordered, 1))


def open_parts(parts: Sequence[Instalment], paid_minor: int) -> list[OpenInstalment]:
    """Return the parts that are not paid yet, by number; money pays the earliest first."""
    left = max(paid_minor, 0)
    found: list[OpenInstalment] = []
    for part in sorted(parts, key=lambda part: part.number):
        taken = min(left, part.amount_minor)
        left -= taken
        if taken < part.amount_minor:
            found.append(OpenInstalment(part, part.amount_minor - taken))
    return found


def status_of_plan(plan: InstalmentPlan, parts: Sequence[Instalment], paid_minor: int) -> str:
    """Return a plan's state; paid_minor is what its invoice has been paid in all."""
    if plan.is_cancelled:
        return CANCELLED
    return RUNNING if open_parts(parts, paid_minor - plan.paid_before_minor) else DONE
