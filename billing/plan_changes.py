"""When a change of plan or product takes effect, unless the request says otherwise (DESIGN §7)."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from rating.periods import Calendar, period_at

When = Literal["now", "period_end"]
"""At the next minute, prorated; or where the running period of the customer ends."""


def default_when(fee_before: Fraction, fee_after: Fraction) -> When:
    """Return when a change takes effect by its fees: an upgrade at once, a downgrade at the end.

    A change between equal fees is no downgrade: it acts at once.
    """
    return "period_end" if fee_after < fee_before else "now"


def period_end_at(calendar: Calendar, now_ms: int) -> int:
    """Return where the period that holds an instant ends (ms)."""
    return period_at(calendar, now_ms // 60_000).end_at
