"""When an invoice is due, and which dunning schedule it falls under.

An account, its customer group and its branch may each say so; what the nearest of them says holds,
field by field, and the settings' days stand behind all of them.
"""

from __future__ import annotations

import dataclasses
import datetime

TERMS_DAYS_MAX = 365
"""Most days that an invoice may be given until it is due."""


@dataclasses.dataclass(frozen=True, slots=True)
class PaymentTerms:
    """What one level says: None, or empty, where it leaves the answer to the next.

    terms_days are days from issue until due; grace_days are added to the days of each dunning step
    that comes after the due day.
    """

    terms_days: int | None = None
    grace_days: int | None = None
    schedule_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class CustomerGroup:
    """Accounts that are treated alike: such as homes, companies, public offices."""

    group_id: str
    branch_id: str
    name: str
    terms: PaymentTerms


def effective_terms(*levels: PaymentTerms) -> PaymentTerms:
    """Return what holds, from the nearest level (the account) to the farthest (the settings)."""
    days = [level.terms_days for level in levels if level.terms_days is not None]
    grace = [level.grace_days for level in levels if level.grace_days is not None]
    schedules = [level.schedule_id for level in levels if level.schedule_id]
    return PaymentTerms(
        days[0] if days else None,
        grace[0] if grace else None,
        schedules[0] if schedules else "",
    )


def due_on(issued_on: datetime.date, terms_days: int) -> datetime.date:
    """Return the last day on which an invoice can be paid in time.

    Whole calendar days of the branch, so a day of 23 hours is one too.
    """
    return issued_on + datetime.timedelta(days=terms_days)
