"""Business rows that stages write: each is upserted by its key in the step's transaction.

One writer each (DESIGN §5): the engine process writes these, everyone else reads them. The SQL
tables in `billing/adapters/tables.py` carry the same column names. `KEYS` gives the primary keys.
Instants are ms since 1970 UTC; exact money is a Fraction's ``numerator/denominator`` string.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class LiveSession:
    """The newest state of one accounting session (stage sessions).

    rate_*_bps is the mean over the interval between the last two knots, whose start is
    interval_start_at: a throttle is verified by an interval that began after its ACK.
    """

    session_id: str
    nas_id: str
    nas_address: str
    acct_session_id: str
    subscriber_id: str
    user_name: str
    framed_address: str
    delegated_prefix: str
    started_at: int
    last_seen_at: int
    ended_at: int | None
    end_cause: str
    octets_up: int
    octets_down: int
    rate_up_bps: int
    rate_down_bps: int
    interval_start_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class UsageCounter:
    """The running total of one meter in one period's segment (stage rate)."""

    rating_key: str
    period_start_at: int
    segment_number: int
    meter_id: str
    period_end_at: int
    plan_id: str
    plan_version: int
    quantity: int
    allowance: int | None
    amount_exact: str
    amount_minor: int
    currency: str
    updated_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class UsageDay:
    """One meter's total of one local day: the ledger's posting unit (DESIGN §7) (stage rate).

    revision rises with each posting of late usage; amount_minor is the difference to post.
    """

    rating_key: str
    meter_id: str
    day_on: str
    segment_number: int
    revision: int
    period_start_at: int
    quantity: int
    amount_minor: int
    currency: str
    posted_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class UsageCharge:
    """An invoice line's truth: F(q) of one meter and segment at closing, and each late revision.

    quantity and amount_* are cumulative for (rating_key, period, segment, meter); the line of
    revision n bills amount_minor(n) - amount_minor(n-1).
    """

    rating_key: str
    period_start_at: int
    segment_number: int
    meter_id: str
    revision: int
    period_end_at: int
    plan_id: str
    plan_version: int
    quantity: int
    amount_exact: str
    amount_minor: int
    currency: str
    description: str
    closed_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class PeriodClosing:
    """A period that is complete: billing may draft and finalize from it (stage rate)."""

    rating_key: str
    period_start_at: int
    period_end_at: int
    closed_at: int
    is_complete: bool
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class Balance:
    """A prepaid money balance: credits minus charges; rate's own state, shown (stage rate)."""

    rating_key: str
    currency: str
    amount_exact: str
    amount_minor: int
    updated_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class BalanceBucket:
    """A lot of money (in the balance) or of quota, as drawn on so far (stage rate).

    amount, spent, rolled_over and expired are minor units, octets or seconds, by unit. What has
    rolled over is in the bucket of the next period too. is_final says that the bucket has ended
    and nothing draws on it any more: expired is then what was left to nobody.
    """

    rating_key: str
    bucket_id: str
    unit: str
    meter_id: str
    priority: int
    amount: int
    spent: int
    rolled_over: int
    expired: int
    valid_from_at: int
    valid_until_at: int | None
    is_final: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Alert:
    """A threshold crossed once per period (stage rate). percent 0 is a balance exhausted."""

    alert_id: str
    rating_key: str
    period_start_at: int
    meter_id: str
    percent: int
    quantity: int
    threshold: int
    raised_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class DesiredService:
    """What every session of a rating key should get (stage rate); acting makes it so.

    target is ``active``, ``profile:<name>`` or ``blocked``.
    """

    rating_key: str
    target: str
    reason: str
    decided_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class AccountEventResult:
    """Rate's answer to an account event: outcome is ``applied``, ``duplicate`` or ``refused``."""

    event_id: str
    outcome: str
    reason: str
    decided_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class UnattributedMinute:
    """What matched nobody, per source and minute (stages sessions, attribute)."""

    source: str
    detail: str
    minute: int
    octets_up: int
    octets_down: int


@dataclasses.dataclass(frozen=True, slots=True)
class LossMinute:
    """What an exporter sent and what its sequence numbers miss, per receive minute (decode).

    A datagram that comes late after all takes its loss back, so `lost` may fall. refused counts
    datagrams and sets that could not be read.
    """

    exporter: str
    minute: int
    datagrams: int
    lost: int
    refused: int


@dataclasses.dataclass(frozen=True, slots=True)
class LossHour:
    """What came of one numbering of an exporter, and what is missing, per hour of receipt (decode).

    numbering is ``v9/<domain>`` or ``sflow/<sub-agent>`` (``…:<port>`` where ports are told apart,
    ``…:tcp`` all connections), and units what its sequence numbers count: flows (v5, v7),
    datagrams (v9, sFlow), records (IPFIX). lost is units, and
    falls where a late datagram takes its loss back; units is 0 where there are no numbers (v1).
    clock_skew_ms is how far the exporter's clock was ahead, at last.

    exporter "" is the collector itself: lost is datagrams, of whichever exporter, that the kernel
    (numbering ``kernel/<port>``) or the queue to the disk (``queue/<port>``) dropped. The numbers
    of the exporters miss them too.
    """

    exporter: str
    numbering: str
    hour: int
    datagrams: int
    units: int
    lost: int
    clock_skew_ms: int


@dataclasses.dataclass(frozen=True, slots=True)
class FlowHour:
    """What one exporter's flows say of one subscriber in one hour of UTC (stage attribute).

    octets are both ways and scaled by the sampling rate, octets_exported as the exporter counted
    them, octets_rate_unknown the part of octets whose rate nobody knew. Late usage and bindings add
    differences. changed_at is the hour's end, or when what came later was received (ms).
    """

    subscriber_id: str
    hour: int
    exporter: str
    octets: int
    octets_exported: int
    octets_rate_unknown: int
    changed_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class CollectorOutage:
    """A collector that was given up, as one partition of its log saw it (a cluster's runner).

    expired_at is when its lease ran out, returned_at until when it had sent everything once it was
    back (receive time, ms), None while it is away. What it received in between came late or never.
    """

    producer: str
    partition: int
    expired_at: int
    returned_at: int | None


KEYS: dict[type, tuple[str, ...]] = {
    LiveSession: ("session_id",),
    UsageCounter: ("rating_key", "period_start_at", "segment_number", "meter_id"),
    UsageDay: ("rating_key", "meter_id", "day_on", "segment_number", "revision"),
    UsageCharge: ("rating_key", "period_start_at", "segment_number", "meter_id", "revision"),
    PeriodClosing: ("rating_key", "period_start_at"),
    Balance: ("rating_key", "currency"),
    BalanceBucket: ("rating_key", "bucket_id"),
    Alert: ("alert_id",),
    DesiredService: ("rating_key",),
    AccountEventResult: ("event_id",),
    UnattributedMinute: ("source", "detail", "minute"),
    LossMinute: ("exporter", "minute"),
    LossHour: ("exporter", "numbering", "hour"),
    FlowHour: ("subscriber_id", "hour", "exporter"),
    CollectorOutage: ("producer", "partition", "expired_at"),
}
"""Primary key of each row class. All rows replace, except those of ADDED."""

ADDED: dict[type, tuple[str, ...]] = {
    UnattributedMinute: ("octets_up", "octets_down"),
    LossMinute: ("datagrams", "lost", "refused"),
    LossHour: ("datagrams", "units", "lost"),
    FlowHour: ("octets", "octets_exported", "octets_rate_unknown"),
}
"""Columns that add to the stored value, by row class."""
