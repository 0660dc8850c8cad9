"""A collector of a cluster: its topic, its spool, its lease."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kafka.errors import KafkaError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from billing.adapters import postgres
from collectors.adapters.growing_spool import Generation, GrowingSpool
from collectors.adapters.kafka_publisher import RawTopic
from collectors.adapters.lease_keeper import LeaseKeeper
from collectors.adapters.lease_renewal import LeaseRenewal
from collectors.adapters.spool import SpoolingWriter
from collectors.leases import producer_of
from collectors.metrics import Counters
from collectors.partitioning import split_flows, split_packets
from collectors.tracing import start_trace
from infra.files import replace_whole
from infra.process import Context
from infra.settings import Settings
from infra.wiring.paths import ACCOUNTING_LOG, FLOW_LOG, database_url
from infra.wiring.relaying import relayed_number
from rating.ports import TopicWriter
from streams.adapters.postgres_tables import (
    collecting_generation,
    read_generations,
    read_taken,
)
from streams.topics import physical_topic

LOG = logging.getLogger(__name__)

SPLITS = {FLOW_LOG: split_flows, ACCOUNTING_LOG: split_packets}
"""How the blocks of each raw log are split over partitions."""

_GENERATION_FILE = "generation.json"
_RETRY_SECONDS = 1.0
LOOK_SECONDS = 1.0
"""How often a collector asks whether its topic has grown."""


@contextlib.contextmanager
def open_spool(context: Context, log: str, counters: Counters) -> Iterator[TopicWriter]:
    """Give the writer of a raw log for the life of a collector of a cluster. Raises OSError.

    It publishes and holds its lease meanwhile; in the end it publishes what is left for a while.
    """
    engine = collector_engine(context.settings)
    try:
        found = find_generation(spool_root(context.settings), engine, context.stop)
        if found is None:
            yield _Nowhere()
            return
        with _spooling(context, log, counters, (engine, found)) as spooling:
            yield spooling
    finally:
        engine.dispose()


@contextlib.contextmanager
def _spooling(
    context: Context, log: str, counters: Counters, place: tuple[Engine, tuple[int, int]]
) -> Iterator[TopicWriter]:
    settings, (engine, found) = context.settings, place
    spool = settings.cluster.spool
    collector_id = spool.collector_id or socket.gethostname()
    root = spool_root(settings)
    writer = GrowingSpool(
        lambda generation: root / physical_topic(log, generation),
        _opener(context, log, collector_id, counters),
        replace_whole,
        Generation(*found),
    )
    renewal = LeaseRenewal(
        engine, (collector_id, log), spool.lease_seconds, context.clock.now_ms, counters
    )
    renewal.generation = lambda: writer.generation
    watch = _GenerationWatch(engine, root, (log, producer_of(log, collector_id)), writer)
    watch.look()
    renewal.start()
    watch.start()
    has_left = False
    try:
        yield writer
    finally:
        watch.finish()
        has_left = writer.close()
        renewal.finish(has_left=has_left)


def _opener(
    context: Context, log: str, collector_id: str, counters: Counters
) -> Callable[[Path, Generation], SpoolingWriter]:
    """Return how a spool of one generation of a raw topic is opened."""
    settings = context.settings
    spool, kafka = settings.cluster.spool, settings.cluster.kafka

    def open_writer(directory: Path, generation: Generation) -> SpoolingWriter:
        topic = RawTopic(
            physical_topic(log, generation.number),
            generation.partitions,
            producer_of(log, collector_id),
            SPLITS[log],
            waits_for_kafka=log == ACCOUNTING_LOG and spool.radius_ack_after == "log",
            read_through=functools.partial(_read_through, settings, log, generation.number),
        )
        if settings.traces.is_enabled:
            topic = dataclasses.replace(topic, start_trace=_tracer(context))
        return SpoolingWriter(directory, topic, spool, kafka, counters)

    return open_writer


def _read_through(settings: Settings, log: str, generation: int) -> int | None:
    is_relayed = log == ACCOUNTING_LOG
    return relayed_number(settings, physical_topic(log, generation)) if is_relayed else None


def _tracer(context: Context) -> Callable[[tuple[int, int], bytes], bytes]:
    spans = context.traces.spans
    return lambda part, body: start_trace(spans, part, body, time.time_ns())


class _Nowhere:
    """Takes nothing: the collector was stopped before it knew its topic."""

    def append(self, kind: str, received_at: int, body: bytes) -> int:
        """Raise OSError."""
        raise OSError("the topics are not known")


def spool_root(settings: Settings) -> Path:
    """Return the directory of a collector's spools; each topic has one of its own."""
    root = settings.data_dir / "spool"
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    return root


def collector_engine(settings: Settings) -> Engine:
    """Return a small engine for PostgreSQL that gives up soon: receiving never waits for it."""
    database = dataclasses.replace(
        settings.cluster.database, connect_timeout_seconds=3, statement_timeout_seconds=3
    )
    url = database_url(settings)
    return postgres.open_engine(url, database, "flowrate collect", pool_size=1)


def find_generation(root: Path, engine: Engine, stop: threading.Event) -> tuple[int, int] | None:
    """Return number and partitions of the topics' generation, as the database says or last said.

    Without either it waits for the database; None where it is stopped meanwhile.
    """
    while True:
        try:
            with engine.connect() as connection:
                found = collecting_generation(connection)
            remember_generation(root, found)
            return found
        except (SQLAlchemyError, LookupError) as error:
            known = known_generation(root)
            LOG.warning(
                "the topics' generation is not to be had from the database",
                extra={"error": str(error), "known": known},
            )
            if known is not None:
                return known
        if stop.wait(_RETRY_SECONDS):
            return None


def known_generation(root: Path) -> tuple[int, int] | None:
    """Return the generation that the database named last, None where it never did."""
    try:
        kept = json.loads((root / _GENERATION_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return int(kept["generation"]), int(kept["partitions"])


def remember_generation(root: Path, found: tuple[int, int]) -> None:
    """Keep what the database said, for a start without it."""
    if known_generation(root) != found:
        kept = {"generation": found[0], "partitions": found[1]}
        replace_whole(root / _GENERATION_FILE, json.dumps(kept) + "\n")


class _GenerationWatch(threading.Thread):
    """Tells a spool which generations of its topic there are, every LOOK_SECONDS until `finish`."""

    def __init__(
        self, engine: Engine, root: Path, names: tuple[str, str], spool: GrowingSpool
    ) -> None:
        """Take (raw topic, producer) and the spool; `start` looks."""
        super().__init__(name=f"generations-{names[0]}", daemon=True)
        self._engine = engine
        self._root = root
        self._log, self._producer = names
        self._spool = spool
        self._stopping = threading.Event()
        self._has_failed = False

    def run(self) -> None:
        """Look until told to finish."""
        while not self._stopping.wait(LOOK_SECONDS):
            self.look()

    def finish(self) -> None:
        """End."""
        self._stopping.set()
        self.join()

    def look(self) -> None:
        """Look once; without the database or a disk the spool goes on as it is."""
        try:
            with self._engine.connect() as connection:
                remember_generation(self._root, collecting_generation(connection))
                rows = read_generations(connection)
            known = [Generation(*row[:2], is_done=row[2] in ("done", "dropped")) for row in rows]
            self._spool.learn(known, self._taken)
        except (SQLAlchemyError, LookupError, OSError, KafkaError) as error:
            if not self._has_failed:
                LOG.warning("%s: generations are not looked after: %s", self._log, error)
            self._has_failed = True
            return
        self._has_failed = False

    def _taken(self, generation: int) -> dict[int, int]:
        with self._engine.connect() as connection:
            return read_taken(connection, generation, self._log, self._producer)


def keep_leases(
    settings: Settings, counters: Counters, now_ms: Callable[[], int], stop: threading.Event
) -> None:
    """Give up collectors that do not renew their lease, until told to stop (role `schedule`)."""
    engine = collector_engine(settings)

    def locate(log: str) -> list[tuple[str, int]]:
        with engine.connect() as connection:
            rows = read_generations(connection)
        return [
            (physical_topic(log, generation), partitions)
            for generation, partitions, state in rows
            if state in ("preparing", "running", "draining")
        ]

    cluster = settings.cluster
    keeper = LeaseKeeper(engine, locate, cluster.spool.lease_seconds, cluster.kafka, counters)
    try:
        keeper.run(now_ms, stop)
    finally:
        engine.dispose()
