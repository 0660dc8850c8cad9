"""The rows that the warehouse's queries answer with: fields are the result's columns, in order.

Instants (`at`, `*_at`) are ms since 1970 UTC, `at` being the start of a step; octets are signed
sums; charges are in major units of their currency.
"""

from __future__ import annotations

import dataclasses
from decimal import Decimal


@dataclasses.dataclass(frozen=True, slots=True)
class TrafficPoint:
    """What moved in one step; traffic_class is empty where the query does not split."""

    at: int
    traffic_class: str
    octets_up: int
    octets_down: int


@dataclasses.dataclass(frozen=True, slots=True)
class RatePoint:
    """The mean rate of one step in bit/s."""

    at: int
    traffic_class: str
    bps_up: float
    bps_down: float


@dataclasses.dataclass(frozen=True, slots=True)
class Total:
    """Octets of one key (a subscriber, a traffic class) over a range."""

    key: str
    octets_up: int
    octets_down: int


@dataclasses.dataclass(frozen=True, slots=True)
class PeriodTotal:
    """One meter's sum in one period of a rating key, from the base table."""

    meter_id: str
    plan_id: str
    plan_version: int
    currency: str
    quantity: int
    charge: Decimal
    balance_effect: Decimal
    octets_up: int
    octets_down: int
    octets_late: int
    rows: int


@dataclasses.dataclass(frozen=True, slots=True)
class UnattributedPoint:
    """What matched nobody in one step, per source, beside all that was measured."""

    at: int
    source: str
    octets_unattributed: int
    octets_total: int
    share: float


@dataclasses.dataclass(frozen=True, slots=True)
class LossPoint:
    """What an exporter sent in one minute and what its sequence numbers say was lost."""

    at: int
    exporter: str
    datagrams: int
    lost: int
    share: float


@dataclasses.dataclass(frozen=True, slots=True)
class FlowQuality:
    """What flows say of somebody's usage in one step, and how sure that is; octets both ways.

    octets are scaled by the sampling rate, octets_exported as exporters counted them,
    octets_rate_unknown the part of octets whose rate nobody knew. octets_missing is what loss may
    have taken, an estimate beyond octets; octets_unnumbered came from exporters without numbers.
    """

    at: int
    octets: int
    octets_exported: int
    octets_rate_unknown: int
    octets_missing: int
    octets_unnumbered: int


@dataclasses.dataclass(frozen=True, slots=True)
class EvidencePiece:
    """A piece of an invoice line: key is the day, the session or the minute's instant in ms.

    last_at is the end (exclusive) of the last minute in it.
    """

    key: str
    first_at: int
    last_at: int
    octets_up: int
    octets_down: int
    quantity: int
    rows: int


@dataclasses.dataclass(frozen=True, slots=True)
class SessionUsage:
    """What one session of a subscriber moved within a range, and where the log has it."""

    session_id: str
    source: str
    first_at: int
    last_at: int
    octets_up: int
    octets_down: int
    seconds: int
    rows: int
    log_partition: int
    first_log_position: int
    last_log_position: int


@dataclasses.dataclass(frozen=True, slots=True)
class RatedRow:
    """One row of the base table as evidence, with its log position."""

    at: int
    subscriber_id: str
    session_id: str
    source: str
    traffic_class: str
    meter_id: str
    octets_up: int
    octets_down: int
    quantity: int
    charge: Decimal
    currency: str
    plan_id: str
    plan_version: int
    is_late: bool
    received_at: int
    log_partition: int
    log_position: int


@dataclasses.dataclass(frozen=True, slots=True)
class LateUsage:
    """Usage that came behind its period's lateness bound, per rating key and period."""

    rating_key: str
    period_start_at: int
    octets: int
    charge: Decimal
    rows: int
    last_received_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class LagPoint:
    """How long after its minute's end usage was received, in seconds, and what came late."""

    at: int
    mean_seconds: float
    max_seconds: float
    octets_late: int


@dataclasses.dataclass(frozen=True, slots=True)
class ChargePoint:
    """What one meter charged in one step, in major units of the currency."""

    at: int
    meter_id: str
    currency: str
    charge: Decimal
    quantity: int


@dataclasses.dataclass(frozen=True, slots=True)
class AlertRow:
    """A threshold crossed; percent 0 is a balance exhausted."""

    at: int
    rating_key: str
    meter_id: str
    percent: int
    quantity: int
    threshold: int


@dataclasses.dataclass(frozen=True, slots=True)
class CommandRow:
    """A command to a NAS with its newest state; instants that have not come are None."""

    at: int
    subscriber_id: str
    session_id: str
    kind: str
    target: str
    attempt: int
    outcome: str
    acknowledged_at: int | None
    verified_at: int | None
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class SessionRow:
    """A session of the history, newest state; ended_at is None while it lives."""

    at: int
    session_id: str
    nas_id: str
    user_name: str
    framed_address: str
    last_seen_at: int
    ended_at: int | None
    end_cause: str
    octets_up: int
    octets_down: int


@dataclasses.dataclass(frozen=True, slots=True)
class InvoiceRow:
    """An issued invoice; amounts in minor units of its currency, at is its period's end."""

    at: int
    invoice_id: str
    number: str | None
    account_id: str
    status: str
    currency: str
    total_minor: int
    paid_minor: int


@dataclasses.dataclass(frozen=True, slots=True)
class FlowRow:
    """A raw flow; at is its start by the exporter's clock, addresses are text, "" for none."""

    at: int
    end_at: int
    exporter: str
    protocol: int
    source: str
    source_port: int
    destination: str
    destination_port: int
    nat_source: str
    nat_destination: str
    octets: int
    packets: int
    rate_known: bool
    received_at: int


@dataclasses.dataclass(frozen=True, slots=True)
class Now:
    """The state of the whole: sessions that live, their rate, and how fresh the warehouse is."""

    sessions: int
    rate_up_bps: int
    rate_down_bps: int
    newest_received_at: int
