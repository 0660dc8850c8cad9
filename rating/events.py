"""Account events: everything decided about a rating key, by kind (topic `account.events`).

Only the rate stage acts on them; the API appends and awaits `AccountEventResult`. An event has an
effective time in whole minutes, not in the past when it is accepted, so usage of a minute finds
its plan already there.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

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
