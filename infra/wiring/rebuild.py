"""What `flowrate warehouse` needs, in a cluster or embedded: a client, the intents, the log."""

from __future__ import annotations

import contextlib
import os
import socket
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import warehouse.connect
from infra.secrets import Secrets
from infra.settings import Settings
from infra.wiring.sink import libpq_url, open_topic, rated_topics
from infra.wiring.store import RatedTopicReader, warehouse_config
from warehouse.claims import Claims
from warehouse.intent_tables import PostgresIntentStore, SqliteIntentStore
from warehouse.intents import IntentStore, Source
from warehouse.kafka_topic import KafkaTopic
from warehouse.metrics import Counters
from warehouse.rebuilding import RebuildLog
from warehouse.sink import RecordReader
from warehouse.store import intents_path


@contextlib.contextmanager
def writing_client(settings: Settings, secrets: Secrets) -> Iterator[Any]:
    """Give a client that may write. WarehouseError where nothing answers."""
    opened = warehouse.connect.client(warehouse_config(settings, secrets), may_write=True)
    try:
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def open_intents(settings: Settings) -> Iterator[IntentStore]:
    """Give the sinks' memory, for looking and for holding inserts off."""
    if settings.mode == "cluster":
        in_postgres = PostgresIntentStore(libpq_url(settings))
        try:
            yield in_postgres
        finally:
            in_postgres.close()
    else:
        in_file = _file(settings)
        try:
            yield in_file
        finally:
            in_file.close()


def _file(settings: Settings) -> SqliteIntentStore:
    from infra.wiring.paths import store_directory

    return SqliteIntentStore(store_directory(settings) / intents_path(settings.warehouse).name)


@contextlib.contextmanager
def open_log(settings: Settings) -> Iterator[tuple[IntentStore, RebuildLog]]:
    """Give the log of rated usage, and intents that may record what is replayed from it."""
    if settings.mode != "cluster":
        intents = _file(settings)
        try:
            yield intents, _EngineLog(settings)
        finally:
            intents.close()
        return
    owner = f"rebuild@{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    claims = Claims(libpq_url(settings), owner, settings.warehouse.sink.claim_timeout_seconds)
    in_postgres = PostgresIntentStore(libpq_url(settings), owner, claims.epochs)
    log = _KafkaLog(settings, claims)
    try:
        yield in_postgres, log
    finally:
        log.close()
        claims.close()
        in_postgres.close()


class _EngineLog:
    """The engine's own topic: what its sink has not consumed, or has not been trimmed yet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sink = settings.warehouse.sink

    def sources(self, generation: int) -> Sequence[Source]:
        return [Source(generation, self._sink.topic, self._sink.partition)]

    def begin(self, source: Source, since_ms: int) -> tuple[int, int] | None:
        """Its records have no time of their own: all that is kept counts as logged since."""
        first = RatedTopicReader(self._settings).read(0, 1)
        return (first[0][0] - 1, 0) if first else None

    def reader(self, source: Source, position: int, cursor: int) -> RecordReader:
        return RatedTopicReader(self._settings)


class _KafkaLog:
    """Kafka's topics of rated usage. A reader claims its source, so that it may be recorded."""

    def __init__(self, settings: Settings, claims: Claims) -> None:
        self._settings = settings
        self._claims = claims
        self._open = open_topic(settings, Counters())
        self._topics: dict[str, KafkaTopic] = {}

    def close(self) -> None:
        for topic in self._topics.values():
            topic.close()

    def sources(self, generation: int) -> Sequence[Source]:
        return [
            Source(generation, name, number)
            for name in rated_topics(self._settings)
            for number in range(self._topic(name).partition_count())
        ]

    def begin(self, source: Source, since_ms: int) -> tuple[int, int] | None:
        topic = self._topic(source.topic)
        offset = topic.first_offset_since(source.partition, since_ms)
        found = topic.first_number(source.partition, offset)
        return (found[0] - 1, found[1]) if found else None

    def reader(self, source: Source, position: int, cursor: int) -> RecordReader:
        topic = self._topic(source.topic)
        topic.leave(source.partition)
        return ClaimedReader(
            topic.follow(source.partition, position, cursor), self._claims, source.claim
        )

    def _topic(self, name: str) -> KafkaTopic:
        if name not in self._topics:
            self._topics[name] = self._open(name)
        return self._topics[name]


class ClaimedReader:
    """A reader that renews the claim on its source before each read."""

    def __init__(self, reader: RecordReader, claims: Claims, name: str) -> None:
        """Take the reader and the claim's name; the other claims of the process are given back."""
        self._reader = reader
        self._claims = claims
        self._name = name
        claims.renew((), (name,))

    def read(self, after_position: int, limit_rows: int) -> Any:
        """Return what the reader gives."""
        self._claims.renew((), (self._name,))
        return self._reader.read(after_position, limit_rows)

    def cursor(self, position: int) -> int:
        """Return what the reader gives."""
        return self._reader.cursor(position)
