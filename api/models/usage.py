"""Usage and sessions: now, over time, by class, and against the allowance."""

from __future__ import annotations

from typing import Literal

from api.instants import Instant
from api.models.values import MONEY_EXAMPLE, Model, Money, example

Step = Literal["minute", "hour", "day"]

_NOW = {
    "measured_at": "2026-11-21T10:15:00Z",
    "rate_down_bps": 842_000_000,
    "rate_up_bps": 121_500_000,
    "sessions": 287,
    "subscribers": 281,
}


class UsageNow(Model):
    """What moves now: each live session's mean over its last interval, summed."""

    model_config = example(_NOW)

    measured_at: Instant
    rate_down_bps: int
    rate_up_bps: int
    sessions: int
    subscribers: int


_POINT = {
    "start_at": "2026-11-21T10:00:00Z",
    "traffic_class": "cdn",
    "octets_up": 120_000_000,
    "octets_down": 2_400_000_000,
}


class Point(Model):
    """Octets of one step; traffic_class is empty where the series is not split."""

    model_config = example(_POINT)

    start_at: Instant
    traffic_class: str
    octets_up: int
    octets_down: int


class Series(Model):
    """Usage over [from_at, until_at) in steps; steps without usage are left out."""

    model_config = example(
        {
            "from_at": "2026-11-21T10:00:00Z",
            "until_at": "2026-11-21T11:00:00Z",
            "step": "minute",
            "points": [_POINT],
        }
    )

    from_at: Instant
    until_at: Instant
    step: Step
    points: list[Point]


_QUALITY = {
    "start_at": "2026-11-21T10:00:00Z",
    "octets": 2_520_000_000,
    "octets_exported": 25_200_000,
    "octets_rate_unknown": 0,
    "octets_missing": 12_600_000,
    "missing_permille": 5,
    "octets_unnumbered": 0,
}


class FlowQuality(Model):
    """How sure flow usage is over one step; octets are both ways.

    `octets` are scaled by the sampling rate, `octets_exported` as the exporters counted them;
    `octets_rate_unknown` is the part of `octets` whose sampling rate nobody knew (1 was used).
    `octets_missing` is an estimate of what loss on the way took beyond `octets`, in permille of
    both together; it is never billed. `octets_unnumbered` came from exporters whose datagrams have
    no sequence numbers: of them only what the collector itself dropped is known.
    """

    model_config = example(_QUALITY)

    start_at: Instant
    octets: int
    octets_exported: int
    octets_rate_unknown: int
    octets_missing: int
    missing_permille: int
    octets_unnumbered: int


class FlowQualitySeries(Model):
    """How sure flow usage is over [from_at, until_at); steps without flows are left out."""

    model_config = example(
        {
            "from_at": "2026-11-21T10:00:00Z",
            "until_at": "2026-11-21T11:00:00Z",
            "step": "hour",
            "steps": [_QUALITY],
        }
    )

    from_at: Instant
    until_at: Instant
    step: Literal["hour", "day"]
    steps: list[FlowQuality]


class ClassUsage(Model):
    """Octets of one traffic class over the range; share is of all octets, in permille."""

    model_config = example(
        {
            "traffic_class": "cdn",
            "octets_up": 8_000_000_000,
            "octets_down": 160_000_000_000,
            "share_permille": 412,
        }
    )

    traffic_class: str
    octets_up: int
    octets_down: int
    share_permille: int


class ByClass(Model):
    """Usage over [from_at, until_at) per traffic class, greatest first."""

    model_config = example(
        {
            "from_at": "2026-11-20T18:00:00Z",
            "until_at": "2026-11-21T18:00:00Z",
            "classes": [
                {
                    "traffic_class": "cdn",
                    "octets_up": 8_000_000_000,
                    "octets_down": 160_000_000_000,
                    "share_permille": 1000,
                }
            ],
        }
    )

    from_at: Instant
    until_at: Instant
    classes: list[ClassUsage]


class Counter(Model):
    """The running total of one meter in one segment of a period.

    used_permille is quantity against allowance (above 1000: overage), null without allowance.
    """

    model_config = example(
        {
            "rating_key": "pool_01J9Z3",
            "period_start_at": "2026-10-31T18:00:00Z",
            "period_end_at": "2026-11-30T18:00:00Z",
            "segment_number": 1,
            "meter_id": "data",
            "plan_id": "family-100",
            "plan_version": 1,
            "quantity": 81_000_000_000,
            "allowance": 100_000_000_000,
            "used_permille": 810,
            "amount": MONEY_EXAMPLE,
            "updated_at": "2026-11-21T10:15:00Z",
        }
    )

    rating_key: str
    period_start_at: Instant
    period_end_at: Instant
    segment_number: int
    meter_id: str
    plan_id: str
    plan_version: int
    quantity: int
    allowance: int | None = None
    used_permille: int | None = None
    amount: Money
    updated_at: Instant


class Session(Model):
    """An accounting session as last heard of; ended_at is null while it lives."""

    model_config = example(
        {
            "session_id": "nas1/81a0f3/1",
            "subscriber_id": "sub_01J9Z2",
            "user_name": "rahman01",
            "nas_id": "nas-dhanmondi-1",
            "acct_session_id": "81a0f3",
            "framed_address": "10.20.3.14",
            "delegated_prefix": "2001:db8:3::/56",
            "started_at": "2026-11-21T06:00:00Z",
            "last_seen_at": "2026-11-21T10:14:58Z",
            "ended_at": None,
            "end_cause": "",
            "octets_up": 512_000_000,
            "octets_down": 9_200_000_000,
            "rate_up_bps": 1_200_000,
            "rate_down_bps": 18_400_000,
        }
    )

    session_id: str
    subscriber_id: str
    user_name: str
    nas_id: str
    acct_session_id: str
    framed_address: str
    delegated_prefix: str
    started_at: Instant
    last_seen_at: Instant
    ended_at: Instant | None = None
    end_cause: str = ""
    octets_up: int
    octets_down: int
    rate_up_bps: int
    rate_down_bps: int


class Unattributed(Model):
    """Octets that matched no subscriber, per source and reason."""

    model_config = example(
        {
            "source": "flows",
            "detail": "192.0.2.77",
            "octets_up": 1_000,
            "octets_down": 52_000,
            "first_at": "2026-11-21T09:00:00Z",
            "last_at": "2026-11-21T10:14:00Z",
            "minutes": 31,
        }
    )

    source: str
    detail: str
    octets_up: int
    octets_down: int
    first_at: Instant
    last_at: Instant
    minutes: int
