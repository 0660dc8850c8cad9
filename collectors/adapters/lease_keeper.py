"""Gives up collectors that do not renew their lease, so that the others' usage goes on.

Runs in the role `schedule`, at one or several places: an EXPIRED mark may be sent twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from kafka.errors import KafkaError
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from collectors.adapters.kafka_publisher import open_producer
from collectors.leases import EXPIRED_LEASE, LIVE_LEASE, Lease, Over, Watch, expiry_mark, look
from collectors.metrics import Counters
from rating.connections import KafkaConfig
from rating.envelopes import encode_marks

log = logging.getLogger(__name__)

_LOOKS_PER_LEASE = 4
_CLOSE_SECONDS = 2.0
_SELECT = text("select collector_id, log, renewed_at, state from collector_lease")
_EXPIRE = text(
    "update collector_lease set state = :state"
    " where collector_id = :collector_id and log = :log and renewed_at = :renewed_at"
)


class LeaseKeeper:
    """Looks at all leases and expires those that stand still.

    locate gives the physical names of a raw topic's generations that are read or appended to, each
    with its partitions; it may raise SQLAlchemyError or LookupError, and then the next look tries
    again.
    """

    def __init__(
        self,
        engine: Engine,
        locate: Callable[[str], Sequence[tuple[str, int]]],
        lease_seconds: float,
        kafka: KafkaConfig,
        counters: Counters,
    ) -> None:
        """Take the database and the length of a lease; `run` looks."""
        self._engine = engine
        self._locate = locate
        self._lease_ms = int(lease_seconds * 1000)
        self._kafka = kafka
        self._counters = counters
        self._watch = Watch()

    def run(self, now_ms: Callable[[], int], stop: threading.Event) -> None:
        """Look four times in a lease until told to stop."""
        while not stop.wait(self._lease_ms / 1000 / _LOOKS_PER_LEASE):
            try:
                self.look(now_ms())
            except (SQLAlchemyError, LookupError, KafkaError, OSError) as error:
                log.warning("leases of the collectors are not looked after: %s", error)

    def look(self, now_ms: int) -> None:
        """Look once and give up whose lease is over: the marks first, then the row."""
        with self._engine.begin() as connection:
            leases = [Lease(*row) for row in connection.execute(_SELECT)]
        self._watch, over = look(self._watch, leases, now_ms, self._lease_ms)
        for each in over:
            self._publish(each)
            if each.lease.state == LIVE_LEASE:
                self._give_up(each.lease)

    def _give_up(self, lease: Lease) -> None:
        with self._engine.begin() as connection:
            which = {"collector_id": lease.collector_id, "log": lease.log}
            connection.execute(
                _EXPIRE,
                {**which, "renewed_at": lease.renewed_at, "state": EXPIRED_LEASE},
            )
        self._counters.add("leases_expired")
        log.warning(
            "%s: collector %s is given up, it did not renew its lease",
            *(lease.log, lease.collector_id),
        )

    def _publish(self, over: Over) -> None:
        topics = self._locate(over.lease.log)
        message = encode_marks([expiry_mark(over, self._lease_ms)])
        producer = open_producer(self._kafka, linger_milliseconds=0)
        try:
            futures = [
                producer.send(topic, message, partition=partition)
                for topic, partitions in topics
                for partition in range(partitions)
            ]
            for future in futures:
                future.get(timeout=self._kafka.request_timeout_milliseconds / 1000)
        finally:
            producer.close(timeout=_CLOSE_SECONDS)
