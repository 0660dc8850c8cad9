"""The live chart's memory: the installation's rate, sampled while the process runs.

Accounting says how fast a session was over its last interval; the sum of all, taken every
live_sample_seconds, is the line that moves. It is shown, never billed, and not kept.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from api.ports import Services
from billing.adapters import tables
from billing.adapters.databases import reading

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """Rates at one instant, per branch, in bit/s."""

    at: int
    down_bps: dict[str, int]
    up_bps: dict[str, int]

    def rates(self, branch_id: str | None) -> tuple[int, int]:
        """Return (down, up) of a branch, or of all branches."""
        if branch_id is None:
            return sum(self.down_bps.values()), sum(self.up_bps.values())
        return self.down_bps.get(branch_id, 0), self.up_bps.get(branch_id, 0)


class LiveSamples:
    """At most live_samples_max samples, the oldest first."""

    def __init__(self, services: Services) -> None:
        """Start without samples."""
        self.services = services
        self.samples: deque[Sample] = deque(maxlen=services.config.live_samples_max)

    def take(self) -> None:
        """Add the present rates of every branch."""
        session, subscriber = tables.live_session, tables.subscriber
        statement = (
            select(
                subscriber.c.branch_id,
                func.sum(session.c.rate_down_bps).label("down"),
                func.sum(session.c.rate_up_bps).label("up"),
            )
            .join_from(session, subscriber, subscriber.c.subscriber_id == session.c.subscriber_id)
            .where(session.c.ended_at.is_(None))
            .group_by(subscriber.c.branch_id)
        )
        with reading(self.services.engine) as connection:
            rows = connection.execute(statement).all()
        self.samples.append(
            Sample(
                self.services.now_ms(),
                {row.branch_id: int(row.down) for row in rows},
                {row.branch_id: int(row.up) for row in rows},
            )
        )

    def since(self, branch_id: str | None, after_at: int) -> list[tuple[int, int, int]]:
        """Return (at, down, up) of the samples after an instant, for the chart."""
        return [(s.at, *s.rates(branch_id)) for s in list(self.samples) if s.at > after_at]

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[None]:
        """Take a sample every live_sample_seconds while inside."""
        task = asyncio.create_task(self._sample())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _sample(self) -> None:
        while True:
            try:
                await run_in_threadpool(self.take)
            except SQLAlchemyError as error:  # the chart has a gap; nothing that counts is lost
                log.warning("live sample failed: %s", error)
            await asyncio.sleep(self.services.config.live_sample_seconds)
