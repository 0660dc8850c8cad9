"""Time at work: segments open, days are posted, periods close, also of silent subscribers.

A timer is only a reason to look at a rating key; what is due follows from its state. Postings
happen in order of their instants, each with what was received in time for it, however far the
watermark has jumped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from rating.adjustments import post_adjustment, prices_by_day
from rating.engine import Closing, DayPosting, closing_of, post, settle
from rating.money import encode_exact
from rating.periods import MINUTE_MS, cell_of, next_period
from rating.plans import Plan
from rating.ports import Delete
from rating.rate_state import OpenPeriod, cell_range, timers_through
from rating.rate_work import Account, Span, Touched, Workspace
from rating.rows import PeriodClosing, UsageCharge, UsageDay


def fire_timers(work: Workspace) -> set[str]:
    """Bring every rating key whose timer is due up to the watermark; return those keys."""
    due: set[str] = set()
    for key, rating_key in work.view.scan("timers", high=timers_through(work.watermark_at)):
        if rating_key not in due and len(due) >= work.config.timers_per_step_limit:
            work.counters["rate_timers_deferred"] += 1
            break
        due.add(rating_key)
        work.changes.append(Delete("timers", key))
    due |= {key for at, key in work.new_timers if at <= work.watermark_at}
    work.load(sorted(due))
    work.load_meters(name for key in due for name in _due_meters(work, work.account(key)))
    for rating_key in sorted(due):
        _advance(work, work.account(rating_key))
    work.counters["rate_timers_fired"] += len(due)
    work.new_timers = {timer for timer in work.new_timers if timer[0] > work.watermark_at}
    return due


def _due_meters(work: Workspace, account: Account) -> Iterator[str]:
    """Return the keys of the counters that are about to be posted."""
    for opened in account.state.periods:
        if not opened.posts or opened.posts[0] > work.watermark_at:
            continue
        segments = account.segments(opened.period)
        for number in opened.opened:
            span = work.span(account, segments[number])
            for pricing in span.terms.counters:
                yield span.meters_prefix + pricing.meter.meter_id


def _advance(work: Workspace, account: Account) -> None:
    _open_due_segments(work, account)
    for opened in account.state.periods:
        while opened.posts and opened.posts[0] <= work.watermark_at:
            opened = _post_period(work, account, opened, opened.posts[0])
        _drop_if_expired(work, account, opened)


def _open_due_segments(work: Workspace, account: Account) -> None:
    """Open every segment that starts by the watermark, and have the next one looked at."""
    calendar = account.state.calendar
    if calendar is None or not account.cuts:
        return
    first = max(account.state.opened_until, account.cuts[0][0])
    period = account.period_at(first // MINUTE_MS)
    while period.start_at <= work.watermark_at:
        for segment in account.segments(period):
            if segment.start_at <= work.watermark_at:
                work.open_segment(work.span(account, segment))
            else:
                work.add_timer(segment.start_at, account)
        last_cut_at, last_plan_ref = account.cuts[-1]
        period = next_period(calendar, period)
        if last_cut_at < period.start_at and not last_plan_ref:
            break
    else:
        work.add_timer(period.start_at, account)
    if account.state.opened_until != work.watermark_at:
        account.change(opened_until=work.watermark_at)


def _post_period(work: Workspace, account: Account, opened: OpenPeriod, at: int) -> OpenPeriod:
    """Do one posting of a period: its days, and at its end or after it the lines too."""
    is_closing = at >= work.close_at(opened.period) and not opened.is_closed
    has_lines = opened.is_closed or is_closing
    segments = account.segments(opened.period)
    known = {s.start_at: s for s in account.segments_as_of(opened.period, at)}
    for number in opened.opened:
        segment = segments[number]
        span = work.span(account, segment)
        for pricing in span.terms.pricings:
            work.touch(span, pricing)
        as_of = work.span(account, known.get(segment.start_at, segment))
        currency = span.terms.plan.currency
        for pricing in as_of.terms.pricings:
            touched = msgspec.structs.replace(work.touch(span, pricing), pricing=pricing)
            _write_days(work, touched, post(touched.state, pricing, at, currency), at)
            if has_lines:
                _charge_line(work, touched, closing_of(touched.state, pricing, currency), at)
        if as_of.terms.adjusters:
            _post_adjustments(work, (span, as_of), at, has_lines)
    if is_closing:
        period = opened.period
        work.rows.append(
            PeriodClosing(account.rating_key, period.start_at, period.end_at, at, True, "")
        )
        work.counters["rate_periods_closed"] += 1
        work.add_timer(at + work.config.closed_period_retention_days * 86_400_000, account)
    _drop_cells(work, account, at)
    return account.change_period(
        opened,
        posts=tuple(post_at for post_at in opened.posts if post_at > at),
        posted_at=at,
        is_closed=has_lines,
    )


def _post_adjustments(work: Workspace, spans: tuple[Span, Span], at: int, has_lines: bool) -> None:
    """Do a posting of a segment's adjustments, from what its meters have settled by now.

    spans are the segment as it is and as it was known at that instant.
    """
    span, as_of = spans
    currency, adjusters = span.terms.plan.currency, as_of.terms.adjusters
    counters = [(work.touch(span, p).state, p) for p in as_of.terms.counters]
    for state, _ in counters[len(as_of.terms.pricings) :]:
        settle(state, at)
    prices = prices_by_day(counters, adjusters, currency)
    for adjuster in adjusters:
        touched = work.touch(span, adjuster.pricing)
        touched = msgspec.structs.replace(touched, pricing=adjuster.pricing)
        name = adjuster.adjustment.adjustment_id
        _write_days(work, touched, post_adjustment(touched.state, name, prices), at)
        if has_lines:
            last = prices[-1]
            _charge_line(work, touched, Closing(0, last.amounts[name], last.minors[name]), at)


def _write_days(work: Workspace, touched: Touched, days: Sequence[DayPosting], at: int) -> None:
    work.rows += [_day_row(touched, day, at) for day in days]
    work.counters["rate_days_posted"] += len(days)


def _day_row(touched: Touched, day: DayPosting, at: int) -> UsageDay:
    account, segment, terms, _ = touched.span
    return UsageDay(
        rating_key=account.rating_key,
        meter_id=touched.pricing.meter.meter_id,
        day_on=day.day_on,
        segment_number=segment.number,
        revision=day.revision,
        period_start_at=segment.period.start_at,
        quantity=day.quantity,
        amount_minor=day.amount_minor,
        currency=terms.plan.currency,
        posted_at=at,
    )


def _charge_line(work: Workspace, touched: Touched, closing: Closing, at: int) -> None:
    """Write a meter's line at closing, and again as a revision when late usage has changed it."""
    state, (account, segment, terms, _) = touched.state, touched.span
    plan = terms.plan
    was = (state.charge_quantity, state.charge_minor)
    if state.charge_revision >= 0 and was == (closing.quantity, closing.amount_minor):
        return
    state.charge_revision += 1
    state.charge_quantity, state.charge_minor = closing.quantity, closing.amount_minor
    work.counters["rate_late_revisions"] += state.charge_revision > 0
    work.rows.append(
        UsageCharge(
            rating_key=account.rating_key,
            period_start_at=segment.period.start_at,
            segment_number=segment.number,
            meter_id=touched.pricing.meter.meter_id,
            revision=state.charge_revision,
            period_end_at=segment.period.end_at,
            plan_id=plan.plan_id,
            plan_version=plan.version,
            quantity=closing.quantity,
            amount_exact=encode_exact(closing.amount),
            amount_minor=closing.amount_minor,
            currency=plan.currency,
            description=_description(plan, touched),
            closed_at=at,
        )
    )


def _description(plan: Plan, touched: Touched) -> str:
    meter = touched.pricing.meter
    return f"{plan.name}: {meter.name or meter.meter_id}"


def _drop_cells(work: Workspace, account: Account, at: int) -> None:
    """Forget the cells that no flow can split any more, and that wait for no posting."""
    day_ended_at = at - work.config.lateness_bound_ms
    before_ms = day_ended_at - work.config.cell_retention_seconds * 1000
    low, high = cell_range(account.rating_key, max(0, cell_of(before_ms // MINUTE_MS)))
    for key, cell in list(work.view.scan("cells", low, high)):
        if key not in work.cells and all(layer.post_at <= at for layer in cell.layers):
            work.changes.append(Delete("cells", key))
            work.counters["rate_cells_dropped"] += 1


def _drop_if_expired(work: Workspace, account: Account, opened: OpenPeriod) -> None:
    """Forget a period, with its counters, that takes no more late usage."""
    retention_ms = work.config.closed_period_retention_days * 86_400_000
    keep_until = work.close_at(opened.period) + retention_ms
    if not opened.is_closed or opened.posts or work.watermark_at < keep_until:
        return
    _drop_cells(work, account, keep_until)
    segments = account.segments(opened.period)
    for number in opened.opened:
        span = work.span(account, segments[number])
        for pricing in span.terms.counters:
            work.drop_meter(span, pricing)
    account.drop_period(opened.period.start_at)
