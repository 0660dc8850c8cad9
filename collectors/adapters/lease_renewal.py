"""A collector's lease in PostgreSQL, renewed beside the work: without the database it goes on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from collectors.leases import LEFT_LEASE, LIVE_LEASE
from collectors.metrics import Counters

log = logging.getLogger(__name__)

_RENEWALS_PER_LEASE = 3
_RENEW = text(
    "insert into collector_lease(collector_id, log, renewed_at, state, generation)"
    " values (:collector_id, :log, :renewed_at, :state, :generation)"
    " on conflict (collector_id, log) do update set renewed_at = excluded.renewed_at,"
    " state = excluded.state, generation = excluded.generation"
)


class LeaseRenewal(threading.Thread):
    """Renews one lease three times in its length until `finish`.

    lease is (collector_id, raw topic). `generation` may be set before the start: it gives the
    oldest generation of the topic that this collector may still append to.
    """

    def __init__(
        self,
        engine: Engine,
        lease: tuple[str, str],
        lease_seconds: float,
        now_ms: Callable[[], int],
        counters: Counters,
    ) -> None:
        """Take the lease; `start` renews it at once."""
        super().__init__(name=f"lease-{lease[1]}", daemon=True)
        self._engine = engine
        self._lease = lease
        self._interval_seconds = lease_seconds / _RENEWALS_PER_LEASE
        self._now_ms = now_ms
        self._counters = counters
        self._stopping = threading.Event()
        self._has_failed = False
        self.generation: Callable[[], int] = lambda: 1

    def run(self) -> None:
        """Renew until told to finish."""
        while not self._stopping.is_set():
            self._renew(LIVE_LEASE)
            self._stopping.wait(self._interval_seconds)

    def finish(self, *, has_left: bool) -> None:
        """End; a collector that left everything in order gives its lease back."""
        self._stopping.set()
        self.join(self._interval_seconds)
        if has_left:
            self._renew(LEFT_LEASE)

    def _renew(self, state: str) -> None:
        collector_id, topic = self._lease
        try:
            with self._engine.begin() as connection:
                which = {"collector_id": collector_id, "log": topic, "state": state}
                renewed = {"renewed_at": self._now_ms(), "generation": self.generation()}
                connection.execute(_RENEW, {**which, **renewed})
        except SQLAlchemyError as error:
            self._counters.add("lease_failures")
            if not self._has_failed:
                log.warning("%s: the lease is not renewed, receiving goes on: %s", topic, error)
            self._has_failed = True
            return
        self._counters.add("lease_renewals")
        if self._has_failed:
            log.info("%s: the lease is renewed again", topic)
            self._has_failed = False
