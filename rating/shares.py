"""The part of a period that a segment covers, and what it does to bounds and amounts."""

from __future__ import annotations

import dataclasses
from fractions import Fraction


@dataclasses.dataclass(frozen=True, slots=True)
class Share:
    """A stretch [start, end) of a period, both as fractions of it: 0 <= start <= end <= 1.

    Kept as two ends and not as one length, so that the whole octets of neighbouring segments sum
    to the whole allowance: floor(A x end) - floor(A x start) telescopes, floor(A x length) loses.
    """

    start: Fraction
    end: Fraction

    def quantity(self, bound: int) -> int:
        """Return this stretch's part of a bound in whole units."""
        below_end = bound * self.end.numerator // self.end.denominator
        return below_end - bound * self.start.numerator // self.start.denominator

    def amount(self, amount: Fraction) -> Fraction:
        """Return this stretch's exact part of a fixed amount."""
        return amount * (self.end - self.start)


WHOLE = Share(Fraction(0), Fraction(1))
"""The whole period."""
