"""A collector of a cluster: its topic, its spool, its lease."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from billing.adapters import postgres
from collectors.adapters.kafka_publisher import RawTopic
from collectors.adapters.lease_keeper import LeaseKeeper
from collectors.adapters.lease_renewal import LeaseRenewal
from collectors.adapters.spool import SpoolingWriter, unpublished
from collectors.leases import producer_of
from collectors.metrics import Counters
from collectors.partitioning import split_flows, split_packets
from collectors.tracing import start_trace
from infra.files import replace_whole
from infra.process import Context
from infra.settings import Settings
from infra.wiring.paths import ACCOUNTING_LOG, FLOW_LOG, database_url
from rating.ports import TopicWriter
from streams.adapters.postgres_tables import current_generation
from streams.topics import physical_topic

LOG = logging.getLogger(__name__)

SPLITS = {FLOW_LOG: split_flows, ACCOUNTING_LOG: split_packets}
"""How the blocks of each raw log are split over partitions."""

_GENERATION_FILE = "generation.json"
_RETRY_SECONDS = 1.0


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
    settings, (engine, (generation, partitions)) = context.settings, place
    spool = settings.cluster.spool
    collector_id = spool.collector_id or socket.gethostname()
    topic = RawTopic(
        physical_topic(log, generation),
        partitions,
        producer_of(log, collector_id),
        SPLITS[log],
        waits_for_kafka=log == ACCOUNTING_LOG and spool.radius_ack_after == "log",
    )
    if settings.traces.is_enabled:
        topic = dataclasses.replace(topic, start_trace=_tracer(context))
    directory = spool_root(settings) / topic.name
    writer = SpoolingWriter(directory, topic, spool, settings.cluster.kafka, counters)
    renewal = LeaseRenewal(
        engine, (collector_id, log), spool.lease_seconds, context.clock.now_ms, counters
    )
    renewal.also = _watch_generation(settings, (generation, partitions), context.stop)
    renewal.start()
    has_left = False
    try:
        move_older(directory, log, writer)
        yield writer
    finally:
        has_left = writer.close()
        renewal.finish(has_left=has_left)


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
                found = current_generation(connection)
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


def _watch_generation(
    settings: Settings, ours: tuple[int, int], stop: threading.Event
) -> Callable[[Connection], None]:
    """Return what ends a collector in order once the topics have grown; it starts on the new."""

    def look(connection: Connection) -> None:
        found = current_generation(connection)
        remember_generation(spool_root(settings), found)
        if found != ours and not stop.is_set():
            LOG.warning("the topics have a new generation, ending", extra={"generation": found[0]})
            stop.set()

    return look


def move_older(directory: Path, log: str, writer: TopicWriter) -> None:
    """Move what a generation's spool could not publish before the topics grew into the new one."""
    for older in sorted(directory.parent.glob(f"{log}.g*")):
        if older == directory:
            continue
        moved = 0
        for received_at, body in unpublished(older):
            writer.append("data", received_at, body)
            moved += 1
        shutil.rmtree(older)
        LOG.warning("an older spool is moved", extra={"spool": older.name, "blocks": moved})


def keep_leases(
    settings: Settings, counters: Counters, now_ms: Callable[[], int], stop: threading.Event
) -> None:
    """Give up collectors that do not renew their lease, until told to stop (role `schedule`)."""
    engine = collector_engine(settings)

    def locate(log: str) -> tuple[str, int]:
        with engine.connect() as connection:
            generation, partitions = current_generation(connection)
        return physical_topic(log, generation), partitions

    cluster = settings.cluster
    keeper = LeaseKeeper(engine, locate, cluster.spool.lease_seconds, cluster.kafka, counters)
    try:
        keeper.run(now_ms, stop)
    finally:
        engine.dispose()
