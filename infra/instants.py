"""Instants and days as people give them on a command line."""

from __future__ import annotations

import argparse
import datetime


def instant(text: str) -> datetime.datetime:
    """Return an instant such as ``2026-11-29T13:05+05:45``; argparse's error where it is none."""
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected an instant such as 2026-11-29T13:05+05:45"
        ) from None
    if at.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text}: expected an offset, such as {text}+06:00")
    return at


def day(text: str) -> datetime.date:
    """Return a day such as ``2026-11-30``; argparse's error where it is none."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a day such as 2026-11-30") from None


def milliseconds(at: datetime.datetime) -> int:
    """Return an instant as whole milliseconds since 1970 UTC."""
    return int(at.timestamp()) * 1000 + at.microsecond // 1000


def shown(at_ms: int) -> str:
    """Return an instant (ms) as text in UTC, milliseconds only where there are some."""
    whole, rest = divmod(at_ms, 1000)
    at = datetime.datetime.fromtimestamp(whole, datetime.UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S") + (f".{rest:03}Z" if rest else "Z")
