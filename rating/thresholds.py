"""Thresholds: which percentages of an allowance are reached, and which throttle step applies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from rating.engine import Pricing
from rating.plans import Plan, ThrottleStep


def alert_base(plan: Plan, pricing: Pricing) -> int | None:
    """Return what a meter's alerts are percentages of, None where it has no limit.

    The curve's allowance; without one, the first quantity at which the plan throttles.
    """
    if pricing.allowance:
        return pricing.allowance
    bounds = [
        throttle_bound(step, pricing)
        for step in plan.throttle_steps
        if step.meter_id == pricing.meter.meter_id
    ]
    return min(bounds, default=0) or None


@functools.lru_cache(maxsize=4_096)
def alert_thresholds(percents: tuple[int, ...], base: int) -> tuple[tuple[int, int], ...]:
    """Return (percent, quantity from which it is reached), ascending."""
    return tuple((percent, -(-base * percent // 100)) for percent in sorted(set(percents)))


def throttle_bound(step: ThrottleStep, pricing: Pricing) -> int:
    """Return the quantity from which a throttle step applies in this segment, in whole units."""
    if step.at_octets is not None:
        return pricing.share.quantity(step.at_octets)
    allowance = pricing.allowance or 0
    return -(-allowance * (step.at_percent or 0) // 100)


def throttle_profile(
    plan: Plan, pricings: Mapping[str, Pricing], quantity_of: Callable[[Pricing], int]
) -> str:
    """Return the profile of the last step reached in the plan's order, "" where none is.

    It follows the quantity down as well: a correction that takes usage back also takes back the
    throttle that it caused. A bound of zero (a segment of no whole day) never throttles.
    """
    profile = ""
    for step in plan.throttle_steps:
        pricing = pricings[step.meter_id]
        bound = throttle_bound(step, pricing)
        if bound and quantity_of(pricing) >= bound:
            profile = step.profile
    return profile
