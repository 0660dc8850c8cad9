"""Numbers, times and names as a person reads them: the filters of the templates."""

from __future__ import annotations

import datetime
from typing import Any

from api.instants import local, to_text
from api.models.values import Money
from billing.quantities import format_quantity

_OCTETS = ("B", "kB", "MB", "GB", "TB", "PB")
_RATES = ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")
_SYMBOLS = {
    "BDT": "৳", "EUR": "€", "GBP": "£", "INR": "₹", "JPY": "¥", "NGN": "₦", "NPR": "Rs",
    "PHP": "₱", "USD": "$", "VND": "₫",
}  # fmt: skip
_CLASS_NAMES = {"cdn": "CDN", "bdix": "BDIX", "ix": "Exchange"}
NARROW_SPACE = "\u202f"
UNIT_SPACE = "\u00a0"
"""Between a number and its unit; `figure` in the templates and charts.js cut there."""


def octets(value: int) -> str:
    """Return octets with a decimal unit and three figures: ``81.4 GB``."""
    return _scaled(value, _OCTETS)


def rate(value: int) -> str:
    """Return bit/s with a decimal unit and three figures: ``842 Mbit/s``."""
    return _scaled(value, _RATES)


def _scaled(value: int, units: tuple[str, ...]) -> str:
    sign, size = ("−" if value < 0 else ""), float(abs(value))
    index = 0
    while index < len(units) - 1 and size >= 999.5:
        size /= 1000
        index += 1
    decimals = 0 if index == 0 or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{sign}{size:.{decimals}f}{UNIT_SPACE}{units[index]}"


def whole(value: int) -> str:
    """Return an integer with thousands set apart: ``20 000``."""
    return f"{value:,}".replace(",", NARROW_SPACE).replace("-", "−")


def money(amount: Money) -> str:
    """Return an amount with its symbol and thousands set apart: ``৳ 1 812.00``."""
    text = amount.text.removeprefix("-")
    units, _, part = text.partition(".")
    grouped = f"{int(units):,}".replace(",", NARROW_SPACE)
    symbol = _SYMBOLS.get(amount.currency, amount.currency)
    sign = "−" if amount.amount_minor < 0 else ""
    return f"{sign}{symbol}{NARROW_SPACE}{grouped}" + (f".{part}" if part else "")


def clock(at: int | None, timezone: str) -> str:
    """Return the local time of day: ``16:05:09``; a dash where there is none."""
    return "–" if at is None else local(at, timezone).strftime("%H:%M:%S")


def moment(at: int | None, timezone: str) -> str:
    """Return the local day and minute: ``21 Nov, 16:05``."""
    if at is None:
        return "–"
    when = local(at, timezone)
    return f"{when.day} {when:%b}, {when:%H:%M}"


def day(at: int, timezone: str) -> str:
    """Return the local day: ``21 Nov 2026``."""
    when = local(at, timezone)
    return f"{when.day} {when:%b %Y}"


def iso_day(text: str | None) -> str:
    """Return an ISO day as ``21 Nov 2026``."""
    if not text:
        return "–"
    when = datetime.date.fromisoformat(text)
    return f"{when.day} {when:%b %Y}"


def period(start_at: int, end_at: int, timezone: str) -> str:
    """Return a period by its first and last local day: ``1–30 Nov 2026``."""
    first, last = local(start_at, timezone), local(end_at - 1, timezone)
    if (first.year, first.month) == (last.year, last.month):
        days = str(first.day) if first.day == last.day else f"{first.day}–{last.day}"
        return f"{days} {last:%b %Y}"
    return f"{first.day} {first:%b %Y} – {last.day} {last:%b %Y}"


def iso(at: int, timezone: str) -> str:
    """Return the instant for a `datetime` attribute, with the branch's offset."""
    return local(at, timezone).isoformat(timespec="seconds")


def ago(at: int, now_at: int) -> str:
    """Return how long ago: ``12 s ago``, ``4 min ago``, ``3 h ago``, ``2 d ago``."""
    return f"{duration(max(0, now_at - at))} ago" if now_at - at >= 1000 else "just now"


def duration(milliseconds: int) -> str:
    """Return a length of time in its greatest whole unit, below a second in ms."""
    if milliseconds < 1000:
        return f"{milliseconds}{UNIT_SPACE}ms"
    seconds = milliseconds / 1000
    if seconds < 10:
        return f"{seconds:.1f}{UNIT_SPACE}s"
    for limit, size, unit in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h")):
        if seconds < limit:
            return f"{int(seconds // size)}{UNIT_SPACE}{unit}"
    return f"{int(seconds // 86_400)}{UNIT_SPACE}d"


def class_name(traffic_class: str) -> str:
    """Return a traffic class as a person says it."""
    known = _CLASS_NAMES.get(traffic_class)
    return known or traffic_class.replace("_", " ").replace("-", " ").capitalize()


def service(target: str) -> tuple[str, str]:
    """Return (words, tone) of what a subscriber should get."""
    if target.startswith("profile:"):
        return f"Throttled to {target.removeprefix('profile:')}", "warn"
    if target == "blocked":
        return "Blocked", "bad"
    return "Full speed", "good"


def target(text: str) -> str:
    """Return a command's target in words."""
    if text.startswith("profile:"):
        return text.removeprefix("profile:")
    return {"active": "full speed", "blocked": "block"}.get(text, text or "session")


def quantity(value: int, unit: str, octets_per_gigabyte: int = 10**9) -> str:
    """Return a line's quantity as its invoice prints it, others counted."""
    printed = format_quantity(value, unit, octets_per_gigabyte)
    if printed:
        return printed.replace(" ", UNIT_SPACE).replace(",", NARROW_SPACE)
    return f"{whole(value)}{UNIT_SPACE}{unit}" if unit else whole(value)


def millis(at: int, timezone: str) -> str:
    """Return the local time of day with milliseconds: ``16:05:09.214``."""
    return f"{local(at, timezone):%H:%M:%S}.{at % 1000:03d}"


FILTERS: dict[str, Any] = {
    "ago": ago,
    "class_name": class_name,
    "clock": clock,
    "day": day,
    "duration": duration,
    "iso": iso,
    "iso_day": iso_day,
    "millis": millis,
    "moment": moment,
    "money": money,
    "octets": octets,
    "period": period,
    "quantity": quantity,
    "rate": rate,
    "service": service,
    "target": target,
    "utc": to_text,
    "whole": whole,
}
"""Name in the templates → function."""
