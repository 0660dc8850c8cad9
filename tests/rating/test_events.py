"""Account events: payloads per kind, and errors that name the field."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rating import events
from rating.curves import Payg
from rating.periods import Calendar
from rating.plans import Meter, Plan

PLAN = Plan("p", 1, "P", "USD", meters=(Meter("data", Payg(Fraction("0.5"), 10**9)),))

PAYLOADS: dict[str, events.Payload] = {
    "subscription_started": events.SubscriptionStarted(PLAN, Calendar("Asia/Dhaka", "monthly", 31)),
    "plan_changed": events.PlanChanged(PLAN),
    "subscription_ended": events.SubscriptionEnded("moved"),
    "topup": events.TopUp(50_000, "BDT"),
    "balance_debited": events.BalanceDebited(50_000, "BDT", "set-top box"),
    "bucket_granted": events.BucketGranted(
        "b1", "octets", 5, "BDT", ends_with_period=True, renews=True, rollover_max=2, price_minor=9
    ),
    "pool_joined": events.PoolJoined("sub-1"),
    "pool_left": events.PoolLeft("sub-1"),
    "suspended": events.Suspended("dunning"),
    "resumed": events.Resumed(),
}


def test_every_kind_has_a_payload_here() -> None:
    assert set(PAYLOADS) == set(events.KINDS)


@pytest.mark.parametrize("kind", events.KINDS)
def test_a_payload_round_trips(kind: str) -> None:
    record = events.account_event(
        "e1", "key", PAYLOADS[kind], effective_at=120_000, received_at=61_000
    )
    assert record.kind == kind
    assert events.decode_payload(record.kind, record.payload) == PAYLOADS[kind]


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("refund", "{}", "kind: expected one of subscription_started"),
        ("topup", '{"amount_minor": 0, "currency": "BDT"}', "amount_minor: must be 1 or more"),
        (
            "bucket_granted",
            '{"bucket_id": "b#1", "unit": "octets", "amount": 5, "currency": "BDT"}',
            "bucket_id: expected a name without",
        ),
        (
            "bucket_granted",
            '{"bucket_id": "b", "unit": "octets", "amount": 5, "currency": "BDT", "renews": true}',
            "renews: only quota that ends with its period does",
        ),
        (
            "bucket_granted",
            '{"bucket_id": "b", "unit": "money", "amount": 5, "currency": "BDT", "price_minor": 1}',
            "price_minor: money is not sold",
        ),
        ("topup", '{"amount_minor": 5, "currency": "BDX"}', "unknown currency 'BDX'"),
        ("topup", '{"amount_minor": "5", "currency": "BDT"}', "amount_minor"),
        ("topup", "{", "topup"),
        ("pool_joined", "{}", "subscriber_id"),
        ("plan_changed", '{"plan": {}}', "plan_id"),
    ],
)
def test_a_wrong_field_is_named(kind: str, text: str, message: str) -> None:
    with pytest.raises(events.EventError, match=message):
        events.decode_payload(kind, text)


def test_effective_times_are_whole_minutes() -> None:
    with pytest.raises(events.EventError, match="effective_at"):
        events.account_event("e1", "key", events.Resumed(), effective_at=61_000, received_at=61_000)
