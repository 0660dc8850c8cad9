"""Runs the check of rollups once a day in a thread of its own, so that the sink goes on."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

from warehouse.checking import Checker, CheckRules
from warehouse.config import WarehouseConfig
from warehouse.metrics import Counters

LOG = logging.getLogger(__name__)

STEP = "checked on day"
HOUR_MS = 3_600_000


@dataclasses.dataclass(frozen=True, slots=True)
class CheckPorts:
    """Opens what a check needs, for its thread alone: a writing client and the intents."""

    open_client: Callable[[], Any]
    open_intents: Callable[[], Any]
    now_ms: Callable[[], int]


class NightlyCheck:
    """Starts the check when its hour has come and it has not run on that day (UTC)."""

    def __init__(self, config: WarehouseConfig, ports: CheckPorts, counters: Counters) -> None:
        """Take the ports; nothing is opened before a check is due."""
        self._config = config
        self._ports = ports
        self._counters = counters
        self._looked_at_day = -1
        self._thread: threading.Thread | None = None

    def start_if_due(self, generation: int) -> None:
        """Start a check in a thread where one is due; returns at once."""
        day, hour = divmod(self._ports.now_ms() // HOUR_MS, 24)
        at_hour = self._config.sink.check_at_hour
        if hour < at_hour or day == self._looked_at_day:
            return
        if self._thread is not None and self._thread.is_alive():
            return
        self._looked_at_day = day
        self._thread = threading.Thread(
            target=self._run, args=(generation, day), name="check", daemon=True
        )
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for a check that runs."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, generation: int, day: int) -> None:
        """Check, and note the day. A failure is told and tried again on the next day."""
        try:
            with (
                closing(self._ports.open_client()) as client,
                closing(self._ports.open_intents()) as intents,
            ):
                if intents.steps(generation).get(STEP) == str(day):
                    return
                report = Checker(
                    client,
                    intents,
                    generation,
                    self._counters,
                    CheckRules(
                        base_days=self._config.retention.rated_days,
                        now_ms=self._ports.now_ms(),
                        hold_seconds=self._config.sink.hold_seconds,
                    ),
                ).run(newest_months=self._config.sink.check_months)
                intents.note_step(generation, STEP, str(day))
        except Exception:
            self._counters.add("warehouse_check_failures")
            LOG.exception("the nightly check of rollups failed")
            return
        for finding in report.findings:
            LOG.error("nightly check: %s", finding)
        LOG.info("nightly check ended", extra={"partitions": report.partitions})
