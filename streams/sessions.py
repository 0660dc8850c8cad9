"""The sessions stage on a raw log: RADIUS packets become records, rating does the rest."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from typing import Any

import msgspec

from collectors.config import RadiusConfig
from collectors.radius.accounting import decode_block
from collectors.radius.clients import ClientTable
from rating import session_step
from rating.accounting import FROM_DELAY, AccountingRecord
from rating.ports import Batch, Output, StateView, StepResult
from rating.records import DeadLetter, DirectoryEntry, frame_of, schema_of
from rating.rows import LiveSession
from rating.session_config import SessionsConfig

COLLECTIONS: dict[str, Any] = session_step.COLLECTIONS

COUNTERS: dict[str, str] = {
    "sessions_blocks_refused": "blocks of radius.accounting that could not be read",
    "sessions_counters_implausible": "octets of packets that no line moves in their session's time",
    "sessions_clock_wrong": "packets whose Event-Timestamp lies outside the trusted window",
    "sessions_packet_faults": "packets or attributes that said nothing usable",
}
"""Every counter that this module adds to those of `rating.session_metrics`."""

SESSION_OCTETS_MAX = 1 << 56
"""Most octets of one session in one direction: 72 PB, 10 Gbit/s for nearly two years."""
_YEAR_SECONDS = 31_622_400

DEAD_LETTER_OCTETS_MAX = 65_536
"""How much of a refused block is kept as evidence; the block itself stays in its log."""


@dataclasses.dataclass(frozen=True, slots=True)
class SessionsStageConfig:
    """Everything the stage is told: its own settings and what corrects each NAS's packets."""

    sessions: SessionsConfig = dataclasses.field(default_factory=SessionsConfig)
    """Sessions, generations, silence."""
    radius: RadiusConfig = dataclasses.field(default_factory=RadiusConfig)
    """NASes with their units and directions, and the window in which Event-Timestamp is trusted."""


@functools.lru_cache(maxsize=8)
def _clients(config: RadiusConfig) -> ClientTable:
    return ClientTable(config.clients)


def step(
    view: StateView, batch: Batch, *, watermark_at: int, config: SessionsStageConfig
) -> StepResult:
    """Return what a batch of raw blocks changes; a block that cannot be read is a dead letter."""
    clients = _clients(config.radius)
    records: list[AccountingRecord] = []
    counters: Counter[str] = Counter()
    refused = []
    for block in batch.blocks:
        try:
            decoded, faults = decode_block(block.body, clients, config.radius)
        except ValueError as error:
            counters["sessions_blocks_refused"] += 1
            body = block.body[:DEAD_LETTER_OCTETS_MAX]
            where = f"block {block.number}: {error}"
            refused.append(
                DeadLetter("radius.accounting", "unreadable block", where, body, block.received_at)
            )
            continue
        records += [_plausible(record, config.sessions, counters) for record in decoded]
        counters["sessions_clock_wrong"] += sum(
            record.event_timestamp_at is not None and record.event_at_source == FROM_DELAY
            for record in decoded
        )
        counters["sessions_packet_faults"] += sum(faults.values())
    result = session_step.step(
        view,
        records,
        batch.frame("directory", schema_of(DirectoryEntry)),
        watermark_at=watermark_at,
        config=config.sessions,
    )
    counters.update(result.counters)
    outputs = list(result.outputs)
    if refused:
        outputs.append(Output("dead.letters", frame_of(DeadLetter, refused)))
    rows = [_shown(row, config.sessions) for row in result.rows]
    return dataclasses.replace(result, outputs=outputs, rows=rows, counters=dict(counters))


def _plausible(
    record: AccountingRecord, config: SessionsConfig, counters: Counter[str]
) -> AccountingRecord:
    """Return a packet without octets that cannot be true; its session and times remain.

    A counter may stand at what the limit moves in the session's time, a minute at least: a year
    where the packet does not say, and never beyond what columns of int64 can add up.
    """
    seconds = record.session_seconds
    elapsed = _YEAR_SECONDS if seconds is None else max(seconds, 60)
    limit = min(config.octets_per_second_limit * elapsed, SESSION_OCTETS_MAX)
    up, down = record.octets_up or 0, record.octets_down or 0
    if up <= limit and down <= limit:
        return record
    counters["sessions_counters_implausible"] += (up > limit) + (down > limit)
    return msgspec.structs.replace(
        record,
        octets_up=record.octets_up if up <= limit else None,
        octets_down=record.octets_down if down <= limit else None,
    )


def _shown(row: Any, config: SessionsConfig) -> Any:
    """Return a live session whose rates are of a line: two packets may lie a millisecond apart."""
    if not isinstance(row, LiveSession):
        return row
    limit = 8 * config.octets_per_second_limit
    if row.rate_up_bps <= limit and row.rate_down_bps <= limit:
        return row
    return dataclasses.replace(
        row, rate_up_bps=min(row.rate_up_bps, limit), rate_down_bps=min(row.rate_down_bps, limit)
    )
