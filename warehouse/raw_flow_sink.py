"""Moves raw flows from the collectors' log into their table, each flow exactly once.

What a datagram holds depends on the datagrams before it: templates, sampling rates, sets that wait,
copies that were seen. So the decoder's state is kept beside the position and moves with it in one
transaction; a replay begins with the state in which the recorded insert began, reads the same
entries, and decodes the same rows. Several collectors write to a partition, each with numbers of
its own, so a position here is Kafka's: the offset behind a message.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import polars as pl

from rating.raw_flows import RawEntry, RawFlow
from rating.records import schema_of
from warehouse.config import WarehouseConfig
from warehouse.intents import Intent, IntentStore, Source
from warehouse.kafka_topic import KafkaPartition, KafkaTopic, Record
from warehouse.raw_flows import RAW_FLOW, UNNUMBERED
from warehouse.sink import Sink
from warehouse.tables import Table

LOG = logging.getLogger(__name__)


class LogDecoder(Protocol):
    """Decodes one partition's messages in their order.

    A pure function of the state that it was opened with and the messages: the same messages behind
    the same state give the same rows and the same changes, however often, on any machine.
    """

    def take(self, message: bytes) -> RawEntry:
        """Return what a message holds. ValueError: it is none, or one before it is missing."""
        ...

    def pass_over(self) -> None:
        """Expect that messages are missing now; the next changes of the state say so too."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class RawFlowPorts:
    """What raw flows need beside a sink's other ports; topics are followed all at once."""

    open_topic: Callable[[str], KafkaTopic]
    topics: Callable[[], Sequence[str]]
    open_decoder: Callable[[Mapping[str, bytes]], LogDecoder]


class RawFlowPartition(KafkaPartition):
    """One partition of the log, decoded as it is read ahead, with the state behind each message."""

    def __init__(self, topic: KafkaTopic, number: int, position: int, decoder: LogDecoder) -> None:
        """Begin behind a position, with a decoder opened with the state as of it."""
        super().__init__(topic, number, position)
        self._decoder = decoder
        self._changes: deque[tuple[int, Mapping[str, bytes | None]]] = deque()

    def accept(self, message: bytes, next_offset: int) -> None:
        """Decode a message and buffer its rows; ValueError where one before it is missing."""
        if next_offset <= self._last:
            return
        decoded = self._decoder.take(message)
        counters = self._topic.counters
        counters.add("warehouse_raw_flow_repeats", int(decoded.is_repeat))
        counters.add("warehouse_raw_flow_refused", int(decoded.is_refused))
        counters.add("warehouse_raw_flow_dropped", decoded.dropped)
        self._changes.append((next_offset, decoded.state))
        self._buffer(Record(next_offset, decoded.frame, next_offset, b""))

    def state_through(self, position: int) -> dict[str, bytes | None]:
        """Return, once, what changed in the state with all messages up to a position."""
        changed: dict[str, bytes | None] = {}
        while self._changes and self._changes[0][0] <= position:
            changed.update(self._changes.popleft()[1])
        return changed


class RawFlowSink(Sink):
    """Follows one partition of the log of datagrams into the table of raw flows."""

    target: ClassVar[Table] = RAW_FLOW
    columns: ClassVar[Sequence[str]] = list(schema_of(RawFlow))
    counted: ClassVar[str] = "warehouse_raw_flow"

    _reader: RawFlowPartition

    def _observe(self, frames: Sequence[pl.DataFrame]) -> None:
        """Raw flows are no usage: their age says nothing about it."""

    def _pass(self, intent: Intent) -> None:
        self._read_again(intent)  # For the state behind them.

    def _state(self, intent: Intent) -> Mapping[str, bytes | None]:
        return self._reader.state_through(intent.last_position)


def raw_flow_sources(ports: RawFlowPorts, topics: dict[str, KafkaTopic]) -> list[Source]:
    """Return every partition to be followed; opens those topics that are not open yet."""
    sources = []
    for name in ports.topics():
        if name not in topics:
            topics[name] = ports.open_topic(name)
        count = topics[name].partition_count()
        sources += [Source(UNNUMBERED, name, number) for number in range(count)]
    return sources


def follow_raw_flows(
    config: WarehouseConfig,
    ports: RawFlowPorts,
    topic: KafkaTopic,
    source: Source,
    intents: IntentStore,
    writer: Any,
) -> tuple[RawFlowSink, RawFlowPartition]:
    """Begin to follow a partition where it was left.

    Where Kafka has deleted what comes next and no insert was under way, goes on with what it has:
    the table was switched off for longer than the log is kept, or its sinks were. DivergenceError
    where the recorded insert's own messages are gone.
    """
    position, cursor = intents.position(source), intents.cursor(source)
    intent = intents.intent(source)
    decoder = ports.open_decoder(intents.state(source))
    kept = topic.beginning(source.partition)
    goes_on_at = intent.first_position - 1 if intent else kept
    if position and cursor < kept <= goes_on_at:
        LOG.warning(
            "%s:%d begins at offset %d, raw flows stood at %d: the table has a gap there",
            source.topic,
            source.partition,
            kept,
            cursor,
        )
        topic.counters.add("warehouse_raw_flow_skips")
        decoder.pass_over()
        cursor = goes_on_at
    partition = RawFlowPartition(topic, source.partition, position, decoder)
    topic.follow_as(partition, position, cursor)
    raw = config.raw_flows
    sink_config = dataclasses.replace(
        config.sink,
        topic=source.topic,
        partition=source.partition,
        batch_rows=raw.batch_rows,
        interval_seconds=raw.interval_seconds,
    )
    sink = RawFlowSink(sink_config, UNNUMBERED, partition, writer, intents, topic.counters)
    return sink, partition
