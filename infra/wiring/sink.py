"""What the sink of a cluster needs: Kafka, PostgreSQL and ClickHouse, as the settings name them."""

from __future__ import annotations

import functools
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import psycopg

import warehouse.connect
from infra.secrets import Secrets
from infra.settings import Settings
from infra.wiring.databases import business_database
from infra.wiring.store import warehouse_config
from rating.records import RatedUsage
from rating.traces import Spans
from streams.codec import decode_frame
from streams.raw_flows import LOG_TOPIC, RawFlowDecoder
from streams.topics import physical_topic
from warehouse.claims import Claims
from warehouse.cluster_sink import ClusterPorts, ClusterSink
from warehouse.intent_tables import PostgresIntentStore, connect
from warehouse.kafka_topic import KafkaTopic
from warehouse.metrics import Counters
from warehouse.nightly import CheckPorts, NightlyCheck
from warehouse.raw_flow_sink import RawFlowPorts
from warehouse.snapshots import PostgresSnapshotReader, SnapshotCopies


def libpq_url(settings: Settings) -> str:
    """Return the cluster's database as libpq takes it."""
    _, _, rest = settings.cluster.database_url.partition("://")
    return f"postgresql://{rest}"


def rated_topics(settings: Settings) -> Sequence[str]:
    """Return the physical topics of rated usage, oldest generation first.

    psycopg.Error where PostgreSQL does not answer.
    """
    return physical_topics(settings, settings.warehouse.sink.topic)


def physical_topics(settings: Settings, topic: str) -> Sequence[str]:
    """Return a topic's names in Kafka, oldest generation first; of the first before there is one.

    psycopg.Error passes through.
    """
    with connect(libpq_url(settings)) as connection:
        try:
            rows = connection.execute(
                "SELECT generation FROM topic_generation"
                " WHERE state NOT IN ('planned', 'dropped') ORDER BY generation"
            ).fetchall()
        except psycopg.errors.UndefinedTable:
            rows = []
    return [physical_topic(topic, int(row[0])) for row in rows or [(1,)]]


def open_topic(settings: Settings, counters: Counters) -> Callable[[str], KafkaTopic]:
    """Return how a physical topic of rated usage is opened."""
    sink = settings.warehouse.sink
    return lambda name: KafkaTopic(
        settings.cluster.kafka,
        name,
        decode_rated,
        counters,
        buffered_rows=sink.buffered_rows,
        group=sink.consumer_group,
    )


def decode_rated(body: bytes) -> pl.DataFrame:
    """Return the rows of a message's body. ValueError where it is not rated usage."""
    return decode_frame(body, RatedUsage)


RAW_POLL_MESSAGES = 16
"""Blocks of datagrams that are decoded between two looks at how many rows are buffered."""


def raw_flow_ports(settings: Settings, counters: Counters) -> RawFlowPorts:
    """Return what the optional table of raw flows is fed by."""
    raw, decode = settings.warehouse.raw_flows, settings.rating.decode

    def open_log(name: str) -> KafkaTopic:
        topic = KafkaTopic(
            settings.cluster.kafka,
            name,
            decode_rated,
            counters,
            buffered_rows=raw.buffered_rows,
            group=raw.consumer_group,
        )
        topic.poll_messages = RAW_POLL_MESSAGES
        return topic

    return RawFlowPorts(
        open_topic=open_log,
        topics=lambda: physical_topics(settings, LOG_TOPIC),
        open_decoder=lambda saved: RawFlowDecoder(saved, decode, raw.entry_rows),
    )


def open_writer(settings: Settings, secrets: Secrets) -> Callable[[], Any]:
    """Return how a client that may write is opened."""
    config = warehouse_config(settings, secrets)
    return functools.partial(warehouse.connect.client, config, may_write=True)


def cluster_sink(
    settings: Settings,
    secrets: Secrets,
    now_ms: Callable[[], int],
    counters: Counters,
    spans: Spans,
) -> ClusterSink:
    """Return one process's sink; it opens its connections as it runs."""
    config = warehouse_config(settings, secrets)
    url = libpq_url(settings)
    owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    claims = Claims(url, owner, config.sink.claim_timeout_seconds)
    writer = open_writer(settings, secrets)
    reader = PostgresSnapshotReader(business_database(settings, "sink"))
    ports = ClusterPorts(
        open_writer=writer,
        open_topic=open_topic(settings, counters),
        topics=lambda: rated_topics(settings),
        intents=PostgresIntentStore(url, owner, claims.epochs),
        claims=claims,
        snapshots=SnapshotCopies(reader, config.sink, counters),
        nightly=NightlyCheck(
            config, CheckPorts(writer, lambda: PostgresIntentStore(url), now_ms), counters
        ),
        now_ms=now_ms,
        spans=spans,
        raw_flows=raw_flow_ports(settings, counters) if config.raw_flows.is_enabled else None,
    )
    return ClusterSink(config, ports, counters)
