"""Settings of the stage rate."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class RateConfig:
    """How measured usage becomes charges, closings and alerts (DESIGN §3, §6, §7)."""

    lateness_bound_seconds: int = 7_200
    """Usage received this long after a period's end, or later, is billed as late usage."""
    class_split_wait_seconds: int = 120
    """How long a class-weighted meter waits for flows before it counts octets unclassified."""
    late_posting_interval_seconds: int = 3_600
    """Late usage is gathered on this grid of UTC time and posted as one revision per stretch."""
    cell_retention_seconds: int = 86_400
    """How long after its day was posted a cell can still be split anew by late flows."""
    closed_period_retention_days: int = 62
    """How long after its closing a period still takes late usage."""
    buckets_per_key_max: int = 64
    """Buckets of money and quota that one rating key holds at a time."""
    timers_per_step_limit: int = 2_000
    """Rating keys whose timers fire in one step; the rest follow in the next."""

    @property
    def lateness_bound_ms(self) -> int:
        """The lateness bound in ms."""
        return self.lateness_bound_seconds * 1000

    @property
    def late_posting_interval_ms(self) -> int:
        """The grid of late postings in ms."""
        return self.late_posting_interval_seconds * 1000


def check_rate(config: RateConfig) -> list[str]:
    """Return one message per setting that cannot work: the key and what was expected."""
    problems = [
        f"{name} = {getattr(config, name)}: expected 0 or more"
        for name in ("lateness_bound_seconds", "class_split_wait_seconds", "cell_retention_seconds")
        if getattr(config, name) < 0
    ]
    problems += [
        f"{name} = {getattr(config, name)}: expected 1 or more"
        for name in (
            "late_posting_interval_seconds",
            "closed_period_retention_days",
            "buckets_per_key_max",
            "timers_per_step_limit",
        )
        if getattr(config, name) < 1
    ]
    return problems
