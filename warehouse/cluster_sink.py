"""The sink of a cluster: follows its share of Kafka's partitions into a ClickHouse server.

Several processes share the partitions by claims (`claims`). A process that was paused past the
claims' timeout can record nothing (PostgreSQL refuses) and insert nothing (ClickHouse refuses: each
insert carries the second until which its sink's claims hold, on ClickHouse's own clock); what it
had under way bears the token of the recorded intent, which its successor replays first.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from clickhouse_connect.driver.exceptions import ClickHouseError
from kafka.errors import KafkaError

from rating.traces import NoSpans, Spans
from warehouse.claims import Claims
from warehouse.config import WarehouseConfig
from warehouse.connect import WarehouseError
from warehouse.intents import ClaimLostError, HeldError, IntentStore, Source, current_generation
from warehouse.kafka_topic import KafkaPartition, KafkaTopic
from warehouse.metrics import Counters
from warehouse.migrations import migrate, pending
from warehouse.nightly import NightlyCheck
from warehouse.raw_flow_sink import RawFlowPorts, follow_raw_flows, raw_flow_sources
from warehouse.raw_flows import UNNUMBERED, prepare_raw_flows
from warehouse.retention import apply_retention
from warehouse.sink import DivergenceError, Sink
from warehouse.snapshots import SnapshotCopies

LOG = logging.getLogger(__name__)

PASSING_ERRORS = (ClickHouseError, WarehouseError, KafkaError, psycopg.Error, OSError)
"""What may pass by itself (a server away, a claim run out during an insert): begin anew."""

SCHEMA, SNAPSHOTS, CHECK = "schema", "snapshots", "check"
"""Claims of what one process at a time does: migrations, copies of business rows, the check."""

POLL_SECONDS = 0.2
FULL_WAIT_SECONDS = 5.0
"""How often a sink that may not yet do anything looks again."""


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterPorts:
    """What a cluster's sink is given. Clients and topics are made anew after a failure.

    topics gives the physical names that are to be followed; the current one is the last.
    """

    open_writer: Callable[[], Any]
    open_topic: Callable[[str], KafkaTopic]
    topics: Callable[[], Sequence[str]]
    intents: IntentStore
    claims: Claims
    snapshots: SnapshotCopies | None
    nightly: NightlyCheck | None
    now_ms: Callable[[], int]
    spans: Spans = dataclasses.field(default_factory=NoSpans)
    raw_flows: RawFlowPorts | None = None
    """Where they are None, raw flows are not written."""


@dataclasses.dataclass(slots=True)
class _Followed:
    sink: Sink
    partition: KafkaPartition
    topic: KafkaTopic
    is_recovered: bool = False


class ClusterSink:
    """One process's share of the work. `run` in one thread."""

    def __init__(self, config: WarehouseConfig, ports: ClusterPorts, counters: Counters) -> None:
        """Take the ports; nothing is opened before `run`."""
        self._config = config
        self._ports = ports
        self._counters = counters
        self._writer: Any = None
        self._topics: dict[str, KafkaTopic] = {}
        self._followed: dict[str, _Followed] = {}
        self._halted: set[str] = set()
        self._generation = 0
        self._deadline = 0
        self._is_ready = False

    def run(self, stop: threading.Event) -> None:
        """Sink until told to stop; then give the claims back. What may pass is tried again."""
        try:
            while not stop.is_set():
                try:
                    self._turn(stop)
                except PASSING_ERRORS as error:
                    self._counters.add("warehouse_sink_failures")
                    LOG.warning("sink begins anew in %s s: %s", self._retry_seconds, error)
                    self._begin_anew()
                    stop.wait(self._retry_seconds)
        finally:
            self._begin_anew()
            self._ports.claims.close()

    def readiness(self) -> list[str]:
        """Return why this process does not sink yet; empty where it does."""
        if self._is_ready:
            return []
        return ["the sink has no ClickHouse, Kafka or PostgreSQL, or waits for a migration"]

    @property
    def _retry_seconds(self) -> float:
        return self._config.sink.retry_seconds

    def _begin_anew(self) -> None:
        """Forget what is open and read ahead; what is recorded stands."""
        self._followed.clear()
        self._is_ready = False
        for topic in self._topics.values():
            topic.close()
        self._topics.clear()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _turn(self, stop: threading.Event) -> None:
        if self._writer is None:
            self._writer = self._ports.open_writer()
        since = time.monotonic() - self._ports.claims.renewed_at
        if not self._is_ready or since >= self._config.sink.claim_renew_seconds:
            self._renew()
            if not self._is_ready:
                stop.wait(min(FULL_WAIT_SECONDS, self._config.sink.claim_renew_seconds))
                return
        self._recover_one()
        for topic in self._topics.values():
            topic.poll(POLL_SECONDS / len(self._topics))
        if not self._topics:
            stop.wait(POLL_SECONDS)
        for name in list(self._followed):
            self._step(name)
        self._do_singles()

    def _renew(self) -> None:
        """Renew claims, read which generation is in force, and follow what is ours now."""
        generation = current_generation(self._ports.intents, self._config.generation)
        if generation != self._generation:
            self._followed.clear()
            self._begin_topics()
            self._generation = generation
            self._is_ready = False
        if not self._is_ready and not self._prepare_schema():
            return
        self._is_ready = True
        sources = {source.claim: source for source in self._sources()}
        server_seconds = int(str(self._writer.command("SELECT toUnixTimestamp(now())")))
        held = self._ports.claims.renew(sorted(sources), (SNAPSHOTS, CHECK))
        self._deadline = server_seconds + int(self._config.sink.claim_timeout_seconds)
        for name in set(self._followed) - set(held):
            self._leave(name)
        for name in sorted(set(held) & set(sources) - set(self._followed) - self._halted):
            self._follow(name, sources[name])
        self._counters.set("warehouse_sink_partitions", len(self._followed))
        for topic in self._topics.values():
            topic.tell_offsets()

    def _begin_topics(self) -> None:
        for topic in self._topics.values():
            topic.close()
        self._topics.clear()

    def _prepare_schema(self) -> bool:
        """Bring the tables up to date; False: sinks of an older release must end first."""
        if pending(self._writer, self._generation):
            held = self._ports.claims.renew((), (SCHEMA,))
            if SCHEMA not in held or self._ports.claims.held_by_others():
                LOG.warning("the tables need a migration: waits until the other sinks have ended")
                return False
            migrate(
                self._writer,
                self._generation,
                self._ports.now_ms(),
                open_intents=self._ports.intents.open_intents(self._generation),
            )
        apply_retention(self._writer, self._generation, self._config.retention)
        if self._ports.raw_flows is not None:
            prepare_raw_flows(self._writer, self._config.retention)
        return True

    def _sources(self) -> list[Source]:
        sources = []
        for name in self._ports.topics():
            if name not in self._topics:
                self._topics[name] = self._ports.open_topic(name)
            count = self._topics[name].partition_count()
            sources += [Source(self._generation, name, number) for number in range(count)]
        if self._ports.raw_flows is not None:
            sources += raw_flow_sources(self._ports.raw_flows, self._topics)
        return sources

    def _follow(self, name: str, source: Source) -> None:
        topic = self._topics[source.topic]
        try:
            sink, partition = self._opened(topic, source)
        except DivergenceError as error:
            self._halt(name, error)
            return
        sink.deadline = lambda: self._deadline
        self._followed[name] = _Followed(sink, partition, topic)

    def _opened(self, topic: KafkaTopic, source: Source) -> tuple[Sink, KafkaPartition]:
        """Return a sink of a source and its reader, standing where the source was left."""
        intents, ports = self._ports.intents, self._ports.raw_flows
        if source.generation == UNNUMBERED:
            assert ports is not None, "only ports of raw flows give such sources"
            return follow_raw_flows(self._config, ports, topic, source, intents, self._writer)
        partition = topic.follow(source.partition, intents.position(source), intents.cursor(source))
        sink = Sink(
            dataclasses.replace(self._config.sink, topic=source.topic, partition=source.partition),
            self._generation,
            partition,
            self._writer,
            intents,
            self._counters,
        )
        return sink, partition

    def _recover_one(self) -> None:
        """Replay what was under way in one partition: claims are renewed between two of them."""
        for name, followed in list(self._followed.items()):
            if followed.is_recovered:
                continue
            try:
                replayed = followed.sink.recover()
            except ClaimLostError:
                self._leave(name)
            except DivergenceError as error:
                self._halt(name, error)
            else:
                followed.is_recovered = True
                if replayed:
                    return

    def _step(self, name: str) -> None:
        followed = self._followed[name]
        if not followed.is_recovered:
            return
        partition, config = followed.partition, followed.sink.config
        waited = time.monotonic() - partition.waiting_since
        is_due = partition.rows >= config.batch_rows or waited >= config.interval_seconds
        try:
            if partition.has_records and (is_due or partition.problem):
                self._sink_step(followed)
            elif partition.problem:
                raise DivergenceError(partition.problem)
        except HeldError:
            self._counters.add("warehouse_sink_held")
        except ClaimLostError:
            self._leave(name)
        except DivergenceError as error:
            self._halt(name, error)

    def _sink_step(self, followed: _Followed) -> None:
        """Sink one batch, and end the traces of what it holds: each with a span of its own."""
        began_ms = self._ports.now_ms()
        rows = followed.sink.step()
        ended_ms = self._ports.now_ms()
        # Records of one round of rate have the same trace.
        for trace in dict.fromkeys(followed.partition.traces) if rows else ():
            attributes = {"flowrate.rows": rows}
            self._ports.spans.child(
                trace, "sink", began_ms * 1_000_000, ended_ms * 1_000_000, attributes
            )

    def _do_singles(self) -> None:
        epochs, ports = self._ports.claims.epochs, self._ports
        if ports.snapshots is not None and SNAPSHOTS in epochs and ports.claims.is_fresh():
            ports.snapshots.copy_due(self._writer, self._generation, ports.now_ms())
        if ports.nightly is not None and CHECK in epochs:
            ports.nightly.start_if_due(self._generation)

    def _leave(self, name: str) -> None:
        followed = self._followed.pop(name)
        followed.topic.leave(followed.partition.number)
        self._counters.add("warehouse_sink_claims_lost")

    def _halt(self, name: str, error: DivergenceError) -> None:
        """Stop one partition for good: guessing would falsify invoices. The others go on."""
        LOG.critical("sink stopped a partition, an operator must look: %s: %s", name, error)
        followed = self._followed.pop(name, None)
        if followed is not None:
            followed.topic.leave(followed.partition.number)
        self._halted.add(name)
        self._counters.set("warehouse_sink_diverged", len(self._halted))
