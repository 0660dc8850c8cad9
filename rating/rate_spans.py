"""Which span of which account rates each row of a batch, and the rows of volume that follow.

A batch's minutes meet its accounts' segments on one line of numbers: each account has a stretch of
its own on it, in which its minutes ascend. One binary search then places every row.

Columns are made of columns, one by one: most batches are a few hundred rows, for which planning a
query costs more than all the rows do.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from rating.money import wire_decimal
from rating.periods import MINUTE_MS, Period, next_period
from rating.plans import VOLUME_METER
from rating.plausible import INT64_MAX
from rating.rate_work import Account, Span, Terms, Workspace
from rating.records import CHARGE_DTYPE, UNATTRIBUTED_PREFIX, UNCLASSIFIED, RatedUsage, schema_of

_NO_SPAN = -1
_EXPIRED = -2

_STRETCH_MINUTES = 1 << 40
"""What an account takes up on the line; minutes of the years 1 to 9999 lie far inside."""

_ZERO = pl.Series([wire_decimal(0)], dtype=CHARGE_DTYPE)
_UNCLASSIFIED = pl.Series([UNCLASSIFIED])
_VOLUME = pl.Series([VOLUME_METER])


class Placed(NamedTuple):
    """A batch's usage with what rates each row, columns [n].

    span_ids count the spans, terms_ids the terms of all spans; both are negative where nothing
    rates a row. is_late is by the row's own period.
    """

    usage: pl.DataFrame
    spans: Sequence[Span]
    terms: Sequence[Terms]
    span_ids: NDArray[np.int64]
    terms_ids: NDArray[np.int64]
    is_late: NDArray[np.bool_]


class _Line(NamedTuple):
    """Where spans begin and end on the line: starts ascend, and ids say what begins there."""

    spans: list[Span]
    starts: list[int]
    ids: list[int]


def place_rows(work: Workspace, usage: pl.DataFrame) -> Placed:
    """Return a batch's usage with the spans that rate it, and count what nothing rates."""
    keys = usage["rating_key"].to_list()
    names = sorted(set(keys))
    number_of = {name: number for number, name in enumerate(names)}
    numbers = np.array([number_of[key] for key in keys], np.int64)
    minutes = usage["minute"].to_numpy()
    first = np.full(len(names), INT64_MAX)
    last = np.full(len(names), -INT64_MAX)
    np.minimum.at(first, numbers, minutes)
    np.maximum.at(last, numbers, minutes)

    is_known = [not name.startswith(UNATTRIBUTED_PREFIX) for name in names]
    work.load([name for name, known in zip(names, is_known, strict=True) if known])
    line = _lay_out(work, names, first.tolist(), last.tolist())

    # Where one stretch ends and the next begins at once, the beginning stands: it comes last.
    places = numbers * _STRETCH_MINUTES + np.clip(minutes, 0, _STRETCH_MINUTES - 1)
    span_ids = np.array(line.ids)[np.searchsorted(line.starts, places, side="right") - 1]
    terms, terms_of_spans = _number_terms(line.spans)
    terms_ids = np.array([*terms_of_spans, -1, -1])[span_ids]
    close_at = np.array([known.close_at for known in terms] + [INT64_MAX])[terms_ids]
    is_late = usage["received_at"].to_numpy() >= close_at

    unattributed = 0 if all(is_known) else int((~np.array(is_known))[numbers].sum())
    work.counters["rate_unattributed_rows"] += unattributed
    work.counters["rate_unsubscribed_rows"] += int((span_ids == _NO_SPAN).sum()) - unattributed
    work.counters["rate_expired_rows"] += int((span_ids == _EXPIRED).sum())
    work.counters["rate_late_rows"] += int(is_late.sum())
    return Placed(usage, line.spans, terms, span_ids, terms_ids, is_late)


def _lay_out(work: Workspace, names: list[str], first: list[int], last: list[int]) -> _Line:
    """Return the spans of every account between its first and last minute, on one line."""
    oldest_end_at = _oldest_end_at(work)
    accounts = work.accounts
    spans: list[Span] = []
    starts, ids = [-1], [_NO_SPAN]
    for number, name in enumerate(names):
        account = accounts.get(name)
        if account is None or account.state.calendar is None or not account.state.derived.cuts:
            continue
        begin = number * _STRETCH_MINUTES
        for period in _periods(account, first[number], last[number]):
            is_expired = period.end_at <= oldest_end_at and not account.open_period(period.start_at)
            for stretch in account.state.stretches(period):
                starts.append(begin + stretch.first_minute)
                starts.append(begin + stretch.end_minute)
                ids.append(_EXPIRED if is_expired else len(spans))
                ids.append(_NO_SPAN)
                if not is_expired:
                    spans.append(work.span_of(account, stretch))
    return _Line(spans, starts, ids)


def _number_terms(spans: Sequence[Span]) -> tuple[list[Terms], list[int]]:
    """Return the different terms of spans, and which of them each span has."""
    numbers: dict[Terms, int] = {}
    numbered = [numbers.setdefault(span.terms, len(numbers)) for span in spans]
    return list(numbers), numbered


def _periods(account: Account, first: int, last: int) -> Sequence[Period]:
    """Return the periods between two minutes, from the account's start on."""
    state = account.state
    first_at = max(first * MINUTE_MS, state.derived.cuts[0][0])
    last_at = last * MINUTE_MS
    if first_at > last_at:
        return ()
    period = state.period_at(first_at) or account.period_at(first_at // MINUTE_MS)
    if last_at < period.end_at:
        return (period,)
    periods = [period]
    while periods[-1].end_at <= last_at:
        assert state.calendar is not None
        periods.append(next_period(state.calendar, periods[-1]))
    return periods


def _oldest_end_at(work: Workspace) -> int:
    retention_ms = work.config.closed_period_retention_days * 86_400_000
    return work.watermark_at - work.config.lateness_bound_ms - retention_ms


def volume_rows(placed: Placed) -> pl.DataFrame:
    """Return the rows of `RatedUsage` that carry octets.

    They are the charged source's, and what no plan rates once: without a plan a session's octets
    are its accounting's, as by default with one; flows count where there is no session to account
    for them: static prefixes, and what matched nobody. Accounting octets come as unclassified
    here; `rate_cells` moves them between classes.
    """
    source = placed.usage["source"]
    is_accounting = (source == "accounting").to_numpy()
    is_flow = (source == "flows").to_numpy()
    by_accounting = np.array([terms.source == "accounting" for terms in placed.terms] + [False])
    is_charged = np.where(by_accounting[placed.terms_ids], is_accounting, is_flow)
    has_terms = placed.terms_ids >= 0
    if not has_terms.all():
        is_counted = is_accounting | (placed.usage["session_id"] == "").to_numpy()
        is_charged = np.where(has_terms, is_charged, is_counted)
    of_class = pl.Series(~(is_accounting & has_terms))
    columns = {column.name: column for column in placed.usage.get_columns()}
    unclassified = _UNCLASSIFIED.new_from_index(0, len(source))
    columns["traffic_class"] = columns["traffic_class"].zip_with(of_class, unclassified)
    columns["is_late"] = pl.Series(placed.is_late)
    terms_ids = placed.terms_ids
    if not is_charged.all():
        kept = pl.Series(is_charged)
        columns = {name: column.filter(kept) for name, column in columns.items()}
        terms_ids = terms_ids[is_charged]
    return _rated_rows(columns, placed.terms, terms_ids)


def _rated_rows(
    columns: dict[str, pl.Series], terms: Sequence[Terms], terms_ids: NDArray[np.int64]
) -> pl.DataFrame:
    """Return columns of usage as `RatedUsage`; terms_ids say whose plan rates each row, -1 none."""
    rows = len(terms_ids)
    places = pl.Series(terms_ids % (len(terms) + 1), dtype=pl.UInt32())
    columns["meter_id"] = _VOLUME.new_from_index(0, rows)
    columns["quantity"] = columns["octets_up"] + columns["octets_down"]
    columns["charge"] = columns["balance_effect"] = _ZERO.new_from_index(0, rows)
    for name, of_each in _columns_of(tuple(terms)):
        columns[name] = of_each[places]
    return pl.DataFrame([columns[name].alias(name) for name in schema_of(RatedUsage)])


@functools.lru_cache(maxsize=64)
def _columns_of(terms: tuple[Terms, ...]) -> tuple[tuple[str, pl.Series], ...]:
    """Return what rated rows say of terms, a value for each; the last one is of no terms."""
    of_each: dict[str, list[Any]] = {
        "currency": [*(known.plan.currency for known in terms), ""],
        "plan_id": [*(known.plan.plan_id for known in terms), ""],
        "plan_version": [*(known.plan.version for known in terms), 0],
        "period_start_at": [*(known.period_start_at for known in terms), 0],
    }
    return tuple((name, pl.Series(values)) for name, values in of_each.items())
