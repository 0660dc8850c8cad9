"""Instants between ms since 1970 and RFC 3339 text, and the local time of a branch."""

from __future__ import annotations

import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, PlainSerializer, WithJsonSchema
from pydantic.functional_validators import BeforeValidator

MINUTE_MS = 60_000
INSTANT_MAX = 253_402_300_799_999
"""9999-12-31T23:59:59.999Z, the last instant that RFC 3339 can write."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MILLISECOND = datetime.timedelta(milliseconds=1)


def to_text(at: int) -> str:
    """Return ms since 1970 as RFC 3339 in UTC; milliseconds only where there are some."""
    moment = _EPOCH + datetime.timedelta(milliseconds=at)
    precision = "milliseconds" if at % 1000 else "seconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def from_text(text: str) -> int:
    """Return ms since 1970 of an RFC 3339 instant; ValueError where it is none.

    An instant without a UTC offset is refused: whose clock it means is unknown.
    """
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no RFC 3339 instant such as 2026-11-30T18:00:00Z") from None
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no UTC offset; write 2026-11-30T18:00:00+06:00 or …Z")
    return (moment - _EPOCH) // _MILLISECOND


def next_minute(now: int) -> int:
    """Return the start of the minute after `now`, in ms: the default effective time."""
    return now // MINUTE_MS * MINUTE_MS + MINUTE_MS


def local(at: int, timezone: str) -> datetime.datetime:
    """Return the instant on the wall clock of an IANA time zone."""
    return (_EPOCH + datetime.timedelta(milliseconds=at)).astimezone(ZoneInfo(timezone))


def day_start(day: datetime.date, timezone: str) -> int:
    """Return the first instant (ms) of a local calendar day."""
    midnight = datetime.datetime.combine(day, datetime.time(), ZoneInfo(timezone))
    return (midnight - _EPOCH) // _MILLISECOND


def _parse(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError("an instant is RFC 3339 text such as 2026-11-30T18:00:00Z")
    return from_text(value)


def _bounded(at: int) -> int:
    if not 0 <= at <= INSTANT_MAX:
        raise ValueError("an instant lies between 1970 and 9999")
    return at


InstantIn = Annotated[
    int,
    BeforeValidator(_parse),
    AfterValidator(_bounded),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A request field: RFC 3339 text in, ms since 1970 out."""

Instant = Annotated[
    int,
    PlainSerializer(to_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A response field: ms since 1970 in, RFC 3339 text out."""
