"""Account events: everything decided about a rating key, by kind (topic `account.events`).

Only the rate stage acts on them; the API appends and awaits `AccountEventResult`. An event has an
effective time in whole minutes, not in the past when it is accepted, so usage of a minute finds
its plan already there.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rating.buckets import Unit
from rating.money import minor_decimals
from rating.periods import Calendar
from rating.plans import Plan, decode_hook, encode_hook
from rating.records import AccountEvent


class EventError(ValueError):
    """An account event is not valid; the message names the field and what was expected."""


class SubscriptionStarted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From the effective time, usage of the key is rated by the plan in the calendar's periods."""

    plan: Plan
    calendar: Calendar


class PlanChanged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From the effective time another plan, or another version, rates the key."""

    plan: Plan


class SubscriptionEnded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From the effective time nothing is rated; the running period still closes at its end."""

    reason: str = ""


class TopUp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Money for a prepaid balance, in minor units; counts at once, whatever its effective time."""

    amount_minor: int
    currency: str

    def __post_init__(self) -> None:
        if self.amount_minor < 1:
            raise ValueError("amount_minor: must be 1 or more")
        minor_decimals(self.currency)


class BalanceDebited(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Money taken off a prepaid balance, in minor units: refused where less can be spent now."""

    amount_minor: int
    currency: str
    purpose: str = ""

    def __post_init__(self) -> None:
        if self.amount_minor < 1:
            raise ValueError("amount_minor: must be 1 or more")
        minor_decimals(self.currency)


class BucketGranted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bucket of money or quota (`rating.buckets`), valid from the effective time.

    It ends at valid_until_at, or with the period (ends_with_period), or never. Only one that ends
    with its period may renew; money does not renew. A price is taken from the balance with it:
    refused where less can be spent now.
    """

    bucket_id: str
    unit: Unit
    amount: int
    currency: str
    priority: int = 100
    meter_id: str = ""
    valid_until_at: int | None = None
    ends_with_period: bool = False
    renews: bool = False
    rollover_max: int = 0
    price_minor: int = 0

    def __post_init__(self) -> None:
        minor_decimals(self.currency)
        if self.price_minor < 0 or (self.price_minor and self.unit == "money"):
            raise ValueError("price_minor: money is not sold, and no price is negative")
        if not self.bucket_id or "|" in self.bucket_id or "#" in self.bucket_id:
            raise ValueError("bucket_id: expected a name without '|' and '#'")
        if not 1 <= self.amount <= 2**62:
            raise ValueError("amount: expected 1 to 2^62")
        if self.priority < 0 or self.rollover_max < 0:
            raise ValueError("priority, rollover_max: may not be negative")
        if self.valid_until_at is not None and (
            self.ends_with_period or self.valid_until_at % 60_000
        ):
            raise ValueError("valid_until_at: expected a whole minute, and no ends_with_period")
        if self.renews and (not self.ends_with_period or self.unit == "money"):
            raise ValueError("renews: only quota that ends with its period does")
        if self.rollover_max and not self.ends_with_period:
            raise ValueError("rollover_max: only what ends with its period rolls over")


class PoolJoined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A subscriber counts under this key from the effective time: a new segment opens."""

    subscriber_id: str


class PoolLeft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A subscriber no longer counts under this key: a new segment opens."""

    subscriber_id: str


class Suspended(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The service is blocked, for instance by dunning; what is used anyway is still rated."""

    reason: str = ""


class Resumed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The suspension ends."""

    reason: str = ""


Payload = (
    SubscriptionStarted
    | PlanChanged
    | SubscriptionEnded
    | TopUp
    | BalanceDebited
    | BucketGranted
    | PoolJoined
    | PoolLeft
    | Suspended
    | Resumed
)

KINDS: Mapping[str, type[Payload]] = {
    "subscription_started": SubscriptionStarted,
    "plan_changed": PlanChanged,
    "subscription_ended": SubscriptionEnded,
    "topup": TopUp,
    "balance_debited": BalanceDebited,
    "bucket_granted": BucketGranted,
    "pool_joined": PoolJoined,
    "pool_left": PoolLeft,
    "suspended": Suspended,
    "resumed": Resumed,
}
"""Every kind with the class of its payload."""

_KIND_OF = {payload: kind for kind, payload in KINDS.items()}


def encode_payload(payload: Payload) -> str:
    """Return the JSON of a payload."""
    return msgspec.json.encode(payload, enc_hook=encode_hook).decode()


def decode_payload(kind: str, text: str) -> Payload:
    """Return the payload of a kind's JSON; EventError for an unknown kind or a wrong field."""
    payload_type = KINDS.get(kind)
    if payload_type is None:
        raise EventError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    try:
        return msgspec.json.decode(text, type=payload_type, dec_hook=decode_hook)
    except msgspec.DecodeError as error:
        raise EventError(f"{kind}: {error}") from None


def account_event(
    event_id: str, rating_key: str, payload: Payload, *, effective_at: int, received_at: int
) -> AccountEvent:
    """Return the wire record of a payload; EventError unless effective_at is a whole minute."""
    if effective_at % 60_000:
        raise EventError(f"effective_at: expected whole minutes, got {effective_at} ms")
    return AccountEvent(
        event_id=event_id,
        rating_key=rating_key,
        kind=_KIND_OF[type(payload)],
        payload=encode_payload(payload),
        effective_at=effective_at,
        received_at=received_at,
    )
