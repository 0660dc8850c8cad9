"""Which span of which account rates each row of a batch, and the rows of volume that follow.

A batch's minutes meet its accounts' segments on one line of numbers: each account has a stretch of
its own on it, in which its minutes ascend. One binary search then places every row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from rating.money import wire_decimal
from rating.periods import MINUTE_MS, Period, next_period
from rating.plans import VOLUME_METER
from rating.plausible import INT64_MAX
from rating.rate_work import Account, Span, Terms, Workspace
from rating.records import CHARGE_DTYPE, UNATTRIBUTED_PREFIX, UNCLASSIFIED

_NO_SPAN = -1
_EXPIRED = -2

_STRETCH_MINUTES = 1 << 40
"""What an account takes up on the line; minutes of the years 1 to 9999 lie far inside."""

_ZERO = pl.lit(wire_decimal(0), dtype=CHARGE_DTYPE)
_IS_CHARGED = pl.col("source") == pl.col("charged_source")

_VOLUME_COLUMNS = (
    *("rating_key", "subscriber_id", "source", "session_id"),
    pl.when(_IS_CHARGED & (pl.col("source") == "accounting"))
    .then(pl.lit(UNCLASSIFIED))
    .otherwise(pl.col("traffic_class"))
    .alias("traffic_class"),
    *("minute", "octets_up", "octets_down", "packets_up", "packets_down", "seconds"),
    pl.lit(VOLUME_METER).alias("meter_id"),
    (pl.col("octets_up") + pl.col("octets_down")).alias("quantity"),
    _ZERO.alias("charge"),
    "currency",
    _ZERO.alias("balance_effect"),
    *("plan_id", "plan_version", "period_start_at", "is_late", "received_at"),
)
"""The columns of `RatedUsage`, of rows that know their terms."""


def place_rows(work: Workspace, usage: pl.DataFrame) -> tuple[list[Span], pl.DataFrame]:
    """Return the spans of a batch, and its rows with their span_id and what it says of them.

    span_id counts the spans; it is negative where nothing rates a row. The columns charged_source
    (null there), currency, plan_id, plan_version, period_start_at and is_late are added.
    """
    keys = usage["rating_key"].to_list()
    names = sorted(set(keys))
    number_of = {name: number for number, name in enumerate(names)}
    numbers = np.array([number_of[key] for key in keys], np.int64)
    minutes = usage["minute"].to_numpy()
    first = np.full(len(names), INT64_MAX)
    last = np.full(len(names), -INT64_MAX)
    np.minimum.at(first, numbers, minutes)
    np.maximum.at(last, numbers, minutes)

    is_known = np.array([not name.startswith(UNATTRIBUTED_PREFIX) for name in names])
    work.load(name for name, known in zip(names, is_known, strict=True) if known)
    oldest_end_at = _oldest_end_at(work)
    spans: list[Span] = []
    starts, ids = [-1], [_NO_SPAN]
    for number, (name, from_minute, to_minute) in enumerate(
        zip(names, first.tolist(), last.tolist(), strict=True)
    ):
        account = work.accounts.get(name)
        if account is None or account.state.calendar is None or not account.cuts:
            continue
        begin = number * _STRETCH_MINUTES
        for period in _periods(account, from_minute, to_minute):
            is_expired = period.end_at <= oldest_end_at and not account.open_period(period.start_at)
            for segment in account.segments(period):
                starts.append(begin + segment.start_at // MINUTE_MS)
                starts.append(begin + segment.end_at // MINUTE_MS)
                ids += (_EXPIRED if is_expired else len(spans), _NO_SPAN)
                if not is_expired:
                    spans.append(work.span(account, segment))

    # Where one stretch ends and the next begins at once, the beginning stands: it comes last.
    places = numbers * _STRETCH_MINUTES + np.clip(minutes, 0, _STRETCH_MINUTES - 1)
    span_ids = np.array(ids)[np.searchsorted(starts, places, side="right") - 1]
    terms_ids = np.array([span.terms.number for span in spans] + [-1, -1])[span_ids]
    close_at = np.array([terms.close_at for terms in work.all_terms] + [INT64_MAX])[terms_ids]
    is_late = usage["received_at"].to_numpy() >= close_at

    unattributed = int((~is_known)[numbers].sum())
    work.counters["rate_unattributed_rows"] += unattributed
    work.counters["rate_unsubscribed_rows"] += int((span_ids == _NO_SPAN).sum()) - unattributed
    work.counters["rate_expired_rows"] += int((span_ids == _EXPIRED).sum())
    work.counters["rate_late_rows"] += int(is_late.sum())
    facts = _terms_frame(work.all_terms)[terms_ids % (len(work.all_terms) + 1)]
    return spans, usage.hstack(
        [*facts.get_columns(), pl.Series("span_id", span_ids), pl.Series("is_late", is_late)]
    )


def _periods(account: Account, first: int, last: int) -> list[Period]:
    """Return the periods between two minutes, from the account's start on."""
    first = max(first, account.cuts[0][0] // MINUTE_MS)
    if first > last:
        return []
    periods = [account.period_at(first)]
    while periods[-1].end_at <= last * MINUTE_MS:
        assert account.state.calendar is not None
        periods.append(next_period(account.state.calendar, periods[-1]))
    return periods


def _oldest_end_at(work: Workspace) -> int:
    retention_ms = work.config.closed_period_retention_days * 86_400_000
    return work.watermark_at - work.config.lateness_bound_ms - retention_ms


def _terms_frame(all_terms: Sequence[Terms]) -> pl.DataFrame:
    """Return a row per terms; the one after the last is of no terms at all."""
    rows = [
        (t.source, t.plan.currency, t.plan.plan_id, t.plan.version, t.period_start_at)
        for t in all_terms
    ]
    return pl.DataFrame(
        [*rows, (None, "", "", 0, 0)],
        schema={
            "charged_source": pl.String,
            "currency": pl.String,
            "plan_id": pl.String,
            "plan_version": pl.Int64,
            "period_start_at": pl.Int64,
        },
        orient="row",
    )


def volume_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that carry octets: the charged source's, and what no plan rates once.

    Without a plan a session's octets are its accounting's, as by default with one; flows count
    where there is no session to account for them: static prefixes, and what matched nobody.
    Accounting octets come as unclassified here; `rate_cells` moves them between classes.
    """
    is_counted = (pl.col("source") == "accounting") | (pl.col("session_id") == "")
    is_unrated = pl.col("charged_source").is_null() & is_counted
    return frame.filter(_IS_CHARGED | is_unrated).select(_VOLUME_COLUMNS)
