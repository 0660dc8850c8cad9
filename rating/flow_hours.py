"""What flows say of each subscriber in each hour: exported, scaled, without a rate, by exporter.

Minutes are kept as columns until their hour is over, and then told as rows, so that the business
database is asked once an hour and not once a minute. What comes later is told as a difference.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from rating import key_sums
from rating.attribution import PROVENANCE
from rating.page_bodies import decode_page, encode_page
from rating.ports import Delete, Put, StateView
from rating.rows import FlowHour

HOUR_MINUTES = 60
HOUR_MS = 3_600_000

FLOW_HOURS = "flow_hours"
COLLECTIONS: dict[str, object] = {FLOW_HOURS: bytes}
"""flow_hours: hour and minute -> Arrow frame (SCHEMA) of an hour that is not over."""

KEY = ("subscriber_id", "exporter")
SUMS = ("octets", *PROVENANCE)
SCHEMA = pl.Schema(
    {
        "subscriber_id": pl.String(),
        "exporter": pl.String(),
        **{name: pl.Int64() for name in SUMS},
        "received_at": pl.Int64(),
    }
)


def key_of(hour: int, minute: int) -> str:
    """Return the key of a minute's frame; keys of an hour lie together, hours ascending."""
    return f"{hour:08d}/{minute:010d}"


def summed(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return one row per subscriber and exporter of frames (SCHEMA), in any order; at least one."""
    return key_sums.add_up(pl.concat(frames, rechunk=True), KEY, SUMS).select(SCHEMA.names())


def of_owned(owned: pl.DataFrame) -> pl.DataFrame:
    """Return one row per subscriber and exporter of rows with their owner (SCHEMA), as they name.

    What is nobody's is left out; text may be of categories.
    """
    octets = (pl.col("octets_up") + pl.col("octets_down")).alias("octets")
    mine = owned.select(*(octets if name == "octets" else name for name in SCHEMA))
    is_known = mine.select(pl.col("subscriber_id") != "").to_series()
    if not is_known.all():
        mine = mine.filter(is_known)
    return summed([mine])


class FlowHours:
    """The hours as one step sees them; an hour is over once all its minutes were joined."""

    def __init__(self, view: StateView, over_before_hour: int) -> None:
        """Start with nothing added; hours before over_before_hour (since 1970) are over."""
        self._view = view
        self._over = over_before_hour
        self._added: dict[int, list[pl.DataFrame]] = {}

    def add(self, minute: int, rows: pl.DataFrame) -> None:
        """Add rows of a minute (SCHEMA)."""
        self._added.setdefault(minute, []).append(rows)

    def result(self) -> tuple[list[Put | Delete], list[FlowHour]]:
        """Return the changes of the state, and the rows of the hours that are over."""
        changes: list[Put | Delete] = []
        over: dict[int, list[pl.DataFrame]] = {}
        for key, body in self._view.scan(FLOW_HOURS, "", f"{self._over:08d}"):
            changes.append(Delete(FLOW_HOURS, key))
            over.setdefault(int(key.partition("/")[0]), []).append(decode_page(body, SCHEMA))
        for minute, frames in sorted(self._added.items()):
            hour = minute // HOUR_MINUTES
            if hour < self._over:
                over.setdefault(hour, []).extend(frames)
                continue
            key = key_of(hour, minute)
            known = self._view.get(FLOW_HOURS, key)
            if known is not None:
                frames.append(decode_page(known, SCHEMA))
            changes.append(
                Put(FLOW_HOURS, key, encode_page(summed(frames) if len(frames) > 1 else frames[0]))
            )
        return changes, [row for hour, frames in over.items() for row in _rows(hour, frames)]


def _rows(hour: int, frames: Sequence[pl.DataFrame]) -> list[FlowHour]:
    """Return an hour's rows, without those that add up to nothing."""
    # In one order everywhere: who upserts them beside another must not wait for him both ways.
    sums = summed(frames).filter(pl.any_horizontal(pl.col(*SUMS) != 0)).sort(KEY)
    changed = pl.max_horizontal("received_at", pl.lit((hour + 1) * HOUR_MS))
    return [
        FlowHour(subscriber, hour, exporter, *values)
        for subscriber, exporter, *values in sums.select(*KEY, *SUMS, changed).iter_rows()
    ]
