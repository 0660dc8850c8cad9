"""The sessions stage on a raw log: RADIUS packets become records, rating does the rest."""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from typing import Any

from collectors.config import RadiusConfig
from collectors.radius.accounting import decode_block
from collectors.radius.clients import ClientTable
from rating import session_step
from rating.accounting import AccountingRecord
from rating.ports import Batch, Output, StateView, StepResult
from rating.records import DeadLetter, DirectoryEntry, frame_of, schema_of
from rating.session_config import SessionsConfig

COLLECTIONS: dict[str, Any] = session_step.COLLECTIONS

COUNTERS: dict[str, str] = {
    "sessions_blocks_refused": "blocks of radius.accounting that could not be read",
    "sessions_packet_faults": "packets or attributes that said nothing usable",
}
"""Every counter that this module adds to those of `rating.session_metrics`."""

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
        records += decoded
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
    return dataclasses.replace(result, outputs=outputs, counters=dict(counters))
