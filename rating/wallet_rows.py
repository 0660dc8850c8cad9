"""What a walk over a wallet is told of a movement: the row that draws on its buckets."""

from __future__ import annotations

from rating.buckets import Row, place_of
from rating.engine import Movement, Pricing

Origin = tuple[str, str, str, int]
"""Whose usage a rated row stands for: (subscriber_id, source, session_id), up to a minute."""


def row_of(movement: Movement, origin: Origin, pricing: Pricing, lateness_bound_ms: int) -> Row:
    """Return a movement as a row of the walk over a wallet."""
    subscriber_id, source, session_id, minute = origin
    return Row(
        minute=place_of(minute, movement.received_at, lateness_bound_ms),
        event_minute=minute,
        meter_id=pricing.meter.meter_id,
        unit="seconds" if pricing.meter.unit == "seconds" else "octets",
        day_on=movement.day_on,
        session_id=session_id or movement.session_id,
        subscriber_id=subscriber_id,
        source=source,
        post_at=movement.post_at,
        denominator=pricing.denominator,
        amount=movement.amount,
        received_at=movement.received_at,
    )
