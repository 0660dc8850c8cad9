"""What the collector processes need: their log, and how far the engine has read it."""

from __future__ import annotations

from collectors.adapters.segments import SegmentWriter
from infra.settings import Settings
from infra.wiring.paths import ACCOUNTING_LOG, FLOW_LOG, database_path, log_directory, read_only
from infra.wiring.relaying import relayed_number

CONSUMERS = {FLOW_LOG: "decode/0", ACCOUNTING_LOG: "sessions/0"}
"""The engine's task that reads each raw log."""


def log_writer(settings: Settings, log: str) -> SegmentWriter:
    """Return the writer of a raw log."""
    return SegmentWriter(log_directory(settings, log))


def consumed_number(settings: Settings, log: str) -> int:
    """Return the last block of a raw log that everybody has read: the engine, and the relay."""
    relayed = relayed_number(settings, log) if log == ACCOUNTING_LOG else None
    engine = _committed_number(settings, log)
    return engine if relayed is None else min(engine, relayed)


def _committed_number(settings: Settings, log: str) -> int:
    """Return the last block that the engine committed; 0 before it ran."""
    rows = read_only(
        database_path(settings),
        "select position from topic_position where task = ? and topic = ?",
        (CONSUMERS[log], log),
    )
    return int(rows[0][0]) if rows else 0
