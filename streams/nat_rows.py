"""Events of NATs as rows of topic `nat.events`: of pools that are ours, at a time to believe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.nat_events import NatEvents
from collectors.netflow.sessions import Origin
from rating.address_columns import packed
from rating.addresses import format_address
from rating.classes import Rules
from rating.records import NatEvent, empty_frame, schema_of


def nat_event_rows(
    told: Sequence[NatEvents], origins: Sequence[Origin], rules: Rules, config: FlowDecodeConfig
) -> tuple[pl.DataFrame, Counter[str]]:
    """Return events as rows of NatEvent, and what was counted on the way.

    An event of an outside address that is in no pool at the time is left out: no flow will ask.
    One outside the window around its receipt has a wrong clock and happens when it is received.
    """
    counters: Counter[str] = Counter()
    frames = [_rows(events, origins, rules, config, counters) for events in told]
    return pl.concat([empty_frame(NatEvent), *frames]), counters


def _rows(
    events: NatEvents,
    origins: Sequence[Origin],
    rules: Rules,
    config: FlowDecodeConfig,
    counters: Counter[str],
) -> pl.DataFrame:
    """Return the events of one layout as rows."""
    received_at = events.received_at
    early = events.event_at < received_at - config.event_time_window_seconds * 1000
    ahead = events.event_at > received_at + config.event_time_ahead_seconds * 1000
    event_at = np.where(early | ahead, received_at, events.event_at)
    counters["decode_nat_events_retimed"] += int((early | ahead).sum())
    in_pool = np.zeros(len(events), np.bool_)
    epochs = rules.epochs(event_at)
    for epoch in np.unique(epochs).tolist():
        at = np.flatnonzero(epochs == epoch)
        high, low = events.outside_high[at], events.outside_low[at]
        in_pool[at] = rules.book(epoch).pool_of(high, low) >= 0
    counters["decode_nat_events"] += int(in_pool.sum())
    counters["decode_nat_events_elsewhere"] += int((~in_pool).sum())
    texts = pl.Series([format_address(origin.address) for origin in origins], dtype=pl.String)
    kept = events.take(in_pool)
    if not len(kept):
        return empty_frame(NatEvent)
    return pl.DataFrame(
        {
            "address": packed(kept.outside_high, kept.outside_low),
            "first_port": kept.first,
            "last_port": kept.last,
            "port_step": kept.step,
            "protocol": kept.protocol,
            "is_release": kept.is_release,
            "inside_address": packed(kept.inside_high, kept.inside_low),
            "event_at": event_at[in_pool],
            "exporter": texts.gather(pl.Series(kept.origin, dtype=pl.UInt32)),
            "received_at": kept.received_at,
        },
        schema=schema_of(NatEvent),
    )
