"""Every measure of the runners and its meaning. Stages add their own under their names."""

from __future__ import annotations

from rating.latency import HISTOGRAMS as LATENCY_HISTOGRAMS
from rating.measures import Gauge, Histogram

COUNTERS: dict[str, str] = {
    "stream_steps": "steps executed, data or watermark",
    "stream_blocks_read": "raw log blocks taken by first stages",
    "stream_rows_read": "topic rows taken by stages",
    "stream_rows_appended": "topic rows appended by stages",
    "stream_records_trimmed": "topic records deleted after everyone consumed them",
    "stream_state_evicted": "state values that the cache had no room for; read again if asked",
    "stream_commits": "transactions committed by the runner",
    "stream_repeats_dropped": "messages dropped because their number had been taken before",
    "stream_messages_published": "outbox rows that Kafka acknowledged",
    "stream_collector_outages": "times that a partition saw a collector given up or come back",
    "stream_lag_failures": "times that Kafka did not tell where its topics end",
}

GAUGES: dict[str, Gauge] = {
    "stream_consumer_lag_messages": Gauge(
        "messages in a topic partition behind the position that was committed",
        ("topic", "partition"),
    ),
    "stream_watermark_age_seconds": Gauge(
        "how far a task's watermark (everything received through it is in) is behind now",
        ("stage", "partition"),
    ),
    "stream_outbox_oldest_seconds": Gauge(
        "age of the oldest committed output that Kafka has not acknowledged; 0 where none waits"
    ),
    "stream_outbox_rows": Gauge("committed outputs that Kafka has not acknowledged"),
    "stream_outbox_octets": Gauge("octets of those outputs' bodies"),
    "stream_relay_in_flight_messages": Gauge("messages sent to Kafka and not yet acknowledged"),
    "stream_at_gap": Gauge(
        "1 where this worker stands still because numbers of a producer miss; nobody may skip them"
    ),
    "stream_tasks": Gauge("tasks that this worker owns"),
    "stream_collectors_live": Gauge("collectors whose lease stands", ("log",)),
}
"""What the processes of a cluster report of where they stand."""

HISTOGRAMS: dict[str, Histogram] = {
    **LATENCY_HISTOGRAMS,
    "stream_round_seconds": Histogram("time of one round, commit included", ("stage",)),
    "stream_publish_seconds": Histogram("time from sending to Kafka until its acknowledgement"),
}
"""Durations of the runners."""
