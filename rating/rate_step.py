"""The stage rate: what did this usage cost, and what follows from that?

    account.events ─▶ history ─▶ segments ─▶ curves ─┐
    usage.measured ─▶ cells (split over classes) ────┴▶ counters ─▶ usage.rated, alerts, services
    watermark ──────▶ openings, day postings, closings

The result of a period is a function of its history and usage alone. Three decisions carry that:
quantities only add up and charges are differences of F (`engine`); what a posting contains is
decided by each row's own `received_at`, never by when it was processed (`rate_usage`); a cell's
split is recomputed from all that is known of it (`split`). What is decided in time, that is
alerts and services, follows what was known then, and says so in its instants.
"""

from __future__ import annotations

import polars as pl

from rating.config import RateConfig
from rating.ports import Batch, Output, Put, StateView, StepResult
from rating.rate_cells import release_waiting
from rating.rate_events import apply_events
from rating.rate_service import decide_services, show_balances, show_counters
from rating.rate_state import COLLECTIONS
from rating.rate_timers import fire_timers
from rating.rate_usage import rate_usage
from rating.rate_work import Workspace
from rating.records import AccountEvent, RatedUsage, Usage, frame_of_values, schema_of
from rating.wallets import put_wallets, settle

__all__ = ["COLLECTIONS", "step"]

USAGE_TOPIC = "usage.measured"
EVENTS_TOPIC = "account.events"
RATED_TOPIC = "usage.rated"

_DEFAULT_CONFIG = RateConfig()


def step(
    view: StateView, batch: Batch, *, watermark_at: int, config: RateConfig = _DEFAULT_CONFIG
) -> StepResult:
    """Return what to commit for a batch of usage, account events, or only a watermark (ms)."""
    work = Workspace(view, config, watermark_at)
    if batch.frames.get(EVENTS_TOPIC):
        apply_events(work, batch.frame(EVENTS_TOPIC, schema_of(AccountEvent)))
    volume = []
    if batch.frames.get(USAGE_TOPIC):
        volume = rate_usage(work, batch.frame(USAGE_TOPIC, schema_of(Usage)))
    release_waiting(work)
    settle(work)  # Before days are posted: with what was received in time for them.
    fired = fire_timers(work)
    settle(work, fired)
    show_counters(work)
    moved = {touched.span.account.rating_key for touched in work.touched.values()}
    told = {key for key, account in work.accounts.items() if account.newest_received_at}
    decide_services(work, fired | moved | told)
    show_balances(work)
    return _result(work, volume)


def _result(work: Workspace, volume: list[pl.DataFrame]) -> StepResult:
    work.put_timers()
    for key, touched in work.touched.items():
        work.changes.append(Put("meters", key, touched.state))
    for name, cell in work.cells.items():
        work.changes.append(Put("cells", name, cell))
    put_wallets(work)
    for rating_key in sorted(work.changed_balances):
        work.changes.append(Put("balances", rating_key, work.balances[rating_key]))
    for rating_key, account in work.accounts.items():
        if account.is_dirty:
            work.changes.append(Put("keys", rating_key, account.state))
    frames = [frame for frame in volume if frame.height]
    if work.rated:
        frames.append(frame_of_values(RatedUsage, work.rated))
    work.counters["rate_rated_rows"] += sum(frame.height for frame in frames)
    return StepResult(
        changes=work.changes,
        outputs=[Output(RATED_TOPIC, _stacked(frames))] if frames else [],
        rows=work.rows,
        counters={name: count for name, count in work.counters.items() if count},
    )


def _stacked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Return frames as one; `pl.concat` plans a query for it."""
    stacked, *others = frames
    for frame in others:
        stacked = stacked.vstack(frame)
    return stacked
