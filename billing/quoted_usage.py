"""The usage that a quote prices, as a document: when, how much, in which class and session.

Times without an offset are local times of the document's time zone. A use with `seconds` is spread
over them as a session's counters are (`rating.knots`); without, all of it is in one minute.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec

from rating.document_errors import DocumentError, fault_of
from rating.knots import ZERO, Counters, minutes_between
from rating.money import ZERO as NO_MONEY
from rating.periods import MINUTE_MS, Calendar, Cycle, day_start_at, zone
from rating.plans import decode_hook
from rating.records import UNCLASSIFIED, Usage

USES_MAX = 1_000
"""Uses in one document: each is one step of the rate stage."""
MINUTES_MAX = 100_000
"""Minutes that the uses of one document may cover together: some ten weeks."""
SUBJECT = "quote"
"""The subscriber and rating key that a quote is for."""


class QuotedUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Octets and seconds from an instant on; uses of one session name are one session.

    at is ISO 8601, "" for the start of the usage; a use without a session name is a session.
    """

    at: str = ""
    seconds: int = 0
    octets_up: int = 0
    octets_down: int = 0
    traffic_class: str = UNCLASSIFIED
    session: str = ""

    def __post_init__(self) -> None:
        for field in ("seconds", "octets_up", "octets_down"):
            if getattr(self, field) < 0:
                raise ValueError(f"{field}: must be 0 or more")
        if self.seconds > MINUTES_MAX * 60:
            raise ValueError(f"seconds: at most {MINUTES_MAX * 60}")


class QuotedUsage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is used, and by whose calendar: the subscription starts on starts_on, at midnight.

    Without starts_on it starts on the day of the first use. balance is what a prepaid plan begins
    with, in major units.
    """

    usage: tuple[QuotedUse, ...] = ()
    starts_on: str = ""
    timezone: str = "UTC"
    cycle: Cycle = "monthly"
    anchor_day: int = 1
    balance: Fraction = NO_MONEY

    def __post_init__(self) -> None:
        zone(self.timezone)
        Calendar(self.timezone, self.cycle, self.anchor_day)
        if len(self.usage) > USES_MAX:
            raise ValueError(f"usage: at most {USES_MAX} uses")
        if sum(use.seconds // 60 + 1 for use in self.usage) > MINUTES_MAX:
            raise ValueError(f"usage: at most {MINUTES_MAX} minutes together")
        if self.balance < 0:
            raise ValueError("balance: may not be negative")


class PlacedUse(msgspec.Struct, frozen=True):
    """A use in time: start_at and end_at in ms, and the session_id that rating sees."""

    use: QuotedUse
    start_at: int
    end_at: int
    session_id: str


def usage_of_document(document: Mapping[str, Any]) -> QuotedUsage:
    """Return the usage of a document's members; DocumentError names the field that is wrong."""
    plain = _plain(document)
    try:
        return msgspec.convert(plain, type=QuotedUsage, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        root = msgspec.inspect.type_info(QuotedUsage)
        raise fault_of(str(error), plain, root) from None


def start_of(usage: QuotedUsage) -> int:
    """Return the instant (ms) at which the subscription starts: a local midnight."""
    if usage.starts_on:
        try:
            day = datetime.date.fromisoformat(usage.starts_on)
        except ValueError:
            expected = "expected a day such as 2026-11-01"
            raise DocumentError("starts_on", f'"{usage.starts_on}"', expected) from None
        return day_start_at(usage.timezone, day)
    named = [_instant(usage, n) for n, use in enumerate(usage.usage) if use.at]
    if not named:
        raise DocumentError("starts_on", "", "expected a day, as no use says when it was")
    first = datetime.datetime.fromtimestamp(min(named) / 1000, zone(usage.timezone))
    return day_start_at(usage.timezone, first.date())


def placed_uses(usage: QuotedUsage, start_at: int) -> list[PlacedUse]:
    """Return the uses by their start; DocumentError for one that begins before the subscription.

    start_at is `start_of` the usage.
    """
    placed: list[PlacedUse] = []
    sessions: dict[str, str] = {}
    for number, use in enumerate(usage.usage):
        at = _instant(usage, number) if use.at else start_at
        if at < start_at:
            expected = "expected an instant at or after the subscription's start"
            raise DocumentError(f"usage[{number}].at", f'"{use.at}"', expected)
        placed.append(PlacedUse(use, at, at + use.seconds * 1000, use.session or f"#{number}"))
    placed.sort(key=lambda one: one.start_at)
    named = []
    for one in placed:
        begun = f"{SUBJECT}/{one.session_id}/{one.start_at // MINUTE_MS}"
        session_id = sessions.setdefault(one.session_id, begun)
        named.append(msgspec.structs.replace(one, session_id=session_id))
    return named


def measured(one: PlacedUse, sources: tuple[str, ...]) -> list[Usage]:
    """Return the rows of `usage.measured` of a use, minute by minute, as each source tells them.

    Accounting knows no traffic class, and flows no session and no seconds.
    """
    use = one.use
    counters = Counters(use.octets_up, use.octets_down, 0, 0, use.seconds)
    if use.seconds:
        minutes = minutes_between(one.start_at, ZERO, one.end_at, counters)
    else:
        minutes = [(one.start_at // MINUTE_MS, counters)]
    return [
        Usage(
            rating_key=SUBJECT,
            subscriber_id=SUBJECT,
            source=source,
            session_id=one.session_id if source == "accounting" else "",
            traffic_class=UNCLASSIFIED if source == "accounting" else use.traffic_class,
            minute=minute,
            octets_up=change.octets_up,
            octets_down=change.octets_down,
            packets_up=0,
            packets_down=0,
            seconds=change.seconds if source == "accounting" else 0,
            received_at=(minute + 1) * MINUTE_MS,
        )
        for source in sources
        for minute, change in minutes
    ]


def _instant(usage: QuotedUsage, number: int) -> int:
    text = usage.usage[number].at
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        expected = "expected an instant such as 2026-11-03T20:15"
        raise DocumentError(f"usage[{number}].at", f'"{text}"', expected) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone(usage.timezone))
    return int(moment.timestamp() * 1000)


def _plain(node: Any) -> Any:
    """Return a document in which TOML's own dates and times are text, as in JSON."""
    if isinstance(node, datetime.date | datetime.datetime):
        return node.isoformat()
    if isinstance(node, Mapping):
        return {name: _plain(value) for name, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, list) else node
