"""Old segments of a raw log go once the engine has consumed them and they are old enough."""

from __future__ import annotations

import logging
import threading

from collectors.adapters.segments import SegmentWriter
from infra.process import Context
from infra.wiring.logs import consumed_number

LOG = logging.getLogger(__name__)

_DAY_MS = 86_400_000


def start_trimming(context: Context, writer: SegmentWriter, log: str) -> None:
    """Trim a raw log in the background, now and then, until the process stops."""
    threading.Thread(
        target=_trim_for_ever, args=(context, writer, log), name=f"trim-{log}", daemon=True
    ).start()


def _trim_for_ever(context: Context, writer: SegmentWriter, log: str) -> None:
    config = context.settings.streams
    while not context.stop.wait(config.log_trim_interval_seconds):
        before = context.clock.now_ms() - int(config.log_retention_days * _DAY_MS)
        consumed = consumed_number(context.settings, log)
        deleted = writer.trim(consumed_number=consumed, received_before_at=before)
        if deleted:
            LOG.info("segments deleted", extra={"log": log, "segments": deleted})
