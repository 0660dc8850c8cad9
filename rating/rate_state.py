"""The keyed state of the stage rate: what is kept of a rating key, a meter, a cell.

Keys are text with ``|`` between parts and zero-padded numbers, so that a range scan follows time.
A value that came from the view is never changed. All are frozen but `MeterState`, of which the
step works on a copy (`engine.copy_meter`).
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from rating.buckets import Bucket, Row
from rating.periods import Calendar, Period
from rating.segments import Derived, HistoryEvent, Stretch
from rating.split import Layer


class OpenPeriod(msgspec.Struct, frozen=True):
    """A period that takes usage: until its closing on time, afterwards as late usage.

    opened are the segment numbers that have posted F(0); posts are the instants of coming
    postings, ascending; posted_at is the last one done.
    """

    period: Period
    opened: tuple[int, ...] = ()
    posts: tuple[int, ...] = ()
    posted_at: int = 0
    is_closed: bool = False
    alerts: tuple[str, ...] = ()


class KeyState(msgspec.Struct, frozen=True, dict=True):
    """A rating key: its history, its periods, and what its sessions should get.

    opened_until: every segment that starts by this instant has been opened. target and reason
    repeat the newest `DesiredService` row. What follows from the history is derived once, when
    first asked for, and never stored: a state stays in memory for many steps.
    has_wallet says that its balance is more than one sum.
    """

    calendar: Calendar | None = None
    history: tuple[HistoryEvent, ...] = ()
    periods: tuple[OpenPeriod, ...] = ()
    opened_until: int = -1
    target: str = ""
    reason: str = ""
    has_wallet: bool = False

    def changed(self, **changes: Any) -> KeyState:
        """Return the state with changes; the same history has the same stretches."""
        state = msgspec.structs.replace(self, **changes)
        if "history" not in changes:
            state.__dict__.update(self.__dict__)
        return state

    @functools.cached_property
    def derived(self) -> Derived:
        """What follows from the history."""
        return Derived(self.history)

    def stretches(self, period: Period) -> list[Stretch]:
        """Return the segments of a period as known now, with their terms."""
        stretches = self.derived.stretches.get(period.start_at)
        if stretches is None:
            assert self.calendar is not None
            stretches = self.derived.stretches_of(period, self.calendar.timezone)
        return stretches

    def period_at(self, instant: int) -> Period | None:
        """Return the period around an instant that is kept, None where none is."""
        for kept in self.periods:
            if kept.period.start_at <= instant < kept.period.end_at:
                return kept.period
        return None


class MeterState(msgspec.Struct):
    """The counter of one meter in one segment of one period.

    Quantities are in units of 1 / `denominator` of the meter's weights, so that they stay whole
    and add up in any order. A bucket is ``day`` or ``day|session_id``; settled holds what is
    posted by bucket, pending what waits for its posting by ``post_at|bucket``. scopes holds the
    totals per day or session where the curve runs over those; amount is their exact price, and
    the sum of the charges emitted is its floor in wire units. posted is (revision, minor units,
    quantity) per day.
    """

    total: int = 0
    scopes: dict[str, int] = {}
    settled: dict[str, int] = {}
    pending: dict[str, int] = {}
    posted: dict[str, tuple[int, int, int]] = {}
    posted_share: str = ""
    amount: str = "0/1"
    charge_revision: int = -1
    charge_quantity: int = 0
    charge_minor: int = 0
    updated_at: int = 0


class CellState(msgspec.Struct, frozen=True):
    """One subscriber's quarter of an hour in one segment; layers ascend by post_at."""

    layers: tuple[Layer, ...] = ()
    is_released: bool = False


class WaitingCell(msgspec.Struct, frozen=True, gc=False):
    """A cell whose class-weighted meters wait for flows; enough to find it again."""

    rating_key: str
    subscriber_id: str
    cell: int
    period_start_at: int
    segment_number: int
    day_on: str
    received_at: int


class BalanceState(msgspec.Struct, frozen=True, gc=False):
    """A prepaid balance: credits in minor units minus exact charges; top_ups counts credits."""

    currency: str
    credits_minor: int = 0
    charged: str = "0/1"
    top_ups: int = 0
    is_exhausted: bool = True
    updated_at: int = 0


class WalletState(msgspec.Struct, frozen=True):
    """Buckets as they stand at the checkpoint, and the rows behind it, in the order of the walk."""

    buckets: tuple[Bucket, ...] = ()
    rows: tuple[Row, ...] = ()


COLLECTIONS: dict[str, type] = {
    "keys": KeyState,
    "meters": MeterState,
    "cells": CellState,
    "balances": BalanceState,
    "wallets": WalletState,
    "plans": str,
    "events": str,
    "timers": str,
    "waiting": WaitingCell,
}
"""Every collection of the stage with the type of its values.

plans: plan_ref -> plan document; events: event_id -> first outcome; timers: `timer_key` ->
rating key. plans and events grow with business decisions, not with usage, and are kept.
"""


def meters_prefix(rating_key: str, period_start_at: int, segment_number: int) -> str:
    """Return what the keys of all counters of a segment begin with; the meter_id follows."""
    return f"{rating_key}|{period_start_at:015d}|{segment_number:05d}|"


def cell_key(rating_key: str, cell: int, segment_number: int, subscriber_id: str) -> str:
    """Return the key of a cell; the cells of a rating key ascend by time."""
    return f"{rating_key}|{cell:09d}|{segment_number:05d}|{subscriber_id}"


def cell_range(rating_key: str, before_cell: int) -> tuple[str, str]:
    """Return the scan bounds of a rating key's cells before one cell."""
    return f"{rating_key}|", f"{rating_key}|{before_cell:09d}"


def timer_key(due_at: int, key: str) -> str:
    """Return the key of a timer: due instants ascend."""
    return f"{due_at:015d}|{key}"


def timers_through(watermark_at: int) -> str:
    """Return the scan bound below which timers are due."""
    return f"{max(0, watermark_at + 1):015d}"
