"""What a cluster needs for so many subscribers, as sums over what `bench_cluster` has measured.

Linear in subscribers and flows, but for the marks, of which there are some per pair of partitions,
and the directory, of which each partition has a copy.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

INTERIM_SECONDS = 300
FLOWS_PER_SECOND = 0.5
"""Of a subscriber, exported, in the busy hour."""
BUSY_SHARE = 0.5
"""Mean of the day against the busy hour: for what grows by the month."""
CORE_SHARE = 0.6
"""How busy a worker's core may be in the busy hour, so that it catches up after an outage."""
PARTITIONS_PER_CORE = 2
"""So that partitions of unequal weight spread."""
PARTITIONS_LEAST = 8
BROKER_OCTETS_PER_SECOND = 50e6
"""What one broker takes in with three copies of everything; an assumption, brokers differ."""
WAREHOUSE_ROWS_PER_SECOND = 200e3
"""Of one shard, rollups included; an assumption: a server has more cores than this machine."""
POSTGRES_CORES = 16
"""Of one PostgreSQL server; an assumption."""
REPLICAS = 3
MONTH_SECONDS = 30 * 86_400
SIZES = (10_000, 100_000, 1_000_000, 10_000_000, 50_000_000)


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What a million flows, or a thousand packets, take; octets of Kafka before its copies."""

    worker_seconds: float
    kafka_seconds: float
    postgres_seconds: float
    kafka_octets: float
    wal_octets: float
    postgres_rows: float
    rated_rows: float


@dataclasses.dataclass(frozen=True, slots=True)
class Figures:
    """What one run measured; state_rows are those of one subscriber in one partition's copy."""

    flows: Cost
    packets: Cost
    directory_rows: float
    other_state_rows: float
    octets_per_state_row: float
    warehouse_octets_per_row: float


@dataclasses.dataclass(frozen=True, slots=True)
class Needs:
    """What one size needs; rates are of the busy hour."""

    subscribers: int
    kafka_octets_per_second: float
    partitions: int
    brokers: int
    worker_cores: float
    postgres_rows_per_second: float
    postgres_cores: float
    wal_octets_per_second: float
    postgres_octets: float
    postgres_shards: int
    warehouse_rows_per_second: float
    warehouse_octets_per_month: float
    warehouse_shards: int
    marks_per_second: float
    directory_rows: float


def read_figures(text: str) -> Figures:
    """Return what `bench_cluster --figures` wrote, JSON."""
    told: dict[str, Any] = json.loads(text)
    costs: dict[str, Any] = {name: Cost(**told.pop(name)) for name in ("flows", "packets")}
    return Figures(**costs, **told)


def needs(figures: Figures, subscribers: int) -> Needs:
    """Return what so many subscribers need in one cluster, were it to grow without end."""
    millions_of_flows = subscribers * FLOWS_PER_SECOND / 1e6
    thousands_of_packets = subscribers / INTERIM_SECONDS / 1e3

    def rate(name: str) -> float:
        return float(
            millions_of_flows * getattr(figures.flows, name)
            + thousands_of_packets * getattr(figures.packets, name)
        )

    cores = rate("worker_seconds") / CORE_SHARE
    partitions = max(PARTITIONS_LEAST, _power_of_two(cores * PARTITIONS_PER_CORE))
    directory_rows = figures.directory_rows * subscribers * partitions
    state_rows = directory_rows + figures.other_state_rows * subscribers
    rated = rate("rated_rows")
    postgres_cores = rate("postgres_seconds")
    return Needs(
        subscribers=subscribers,
        kafka_octets_per_second=rate("kafka_octets"),
        partitions=partitions,
        brokers=max(REPLICAS, math.ceil(rate("kafka_octets") / BROKER_OCTETS_PER_SECOND)),
        worker_cores=cores,
        postgres_rows_per_second=rate("postgres_rows"),
        postgres_cores=postgres_cores,
        wal_octets_per_second=rate("wal_octets"),
        postgres_octets=state_rows * figures.octets_per_state_row,
        postgres_shards=math.ceil(postgres_cores / POSTGRES_CORES / CORE_SHARE),
        warehouse_rows_per_second=rated,
        warehouse_octets_per_month=rated
        * BUSY_SHARE
        * MONTH_SECONDS
        * figures.warehouse_octets_per_row,
        warehouse_shards=math.ceil(rated / WAREHOUSE_ROWS_PER_SECOND),
        marks_per_second=4.0 * partitions**2,
        directory_rows=directory_rows,
    )


def _power_of_two(number: float) -> int:
    return int(2 ** math.ceil(math.log2(max(number, 1))))


def table(figures: Figures, sizes: Sequence[int] = SIZES) -> str:
    """Return the sums as a table of Markdown."""
    all_needs = [needs(figures, size) for size in sizes]
    rows = [
        ("subscribers", [f"{n.subscribers:,}" for n in all_needs]),
        ("Kafka in, MB/s", [f"{n.kafka_octets_per_second / 1e6:,.2f}" for n in all_needs]),
        ("partitions", [f"{n.partitions:,}" for n in all_needs]),
        ("brokers", [f"{n.brokers:,}" for n in all_needs]),
        ("worker cores", [f"{n.worker_cores:,.2f}" for n in all_needs]),
        ("PostgreSQL rows/s", [f"{n.postgres_rows_per_second:,.0f}" for n in all_needs]),
        ("PostgreSQL cores", [f"{n.postgres_cores:,.2f}" for n in all_needs]),
        ("WAL, MB/s", [f"{n.wal_octets_per_second / 1e6:,.2f}" for n in all_needs]),
        ("PostgreSQL, GB", [f"{n.postgres_octets / 1e9:,.1f}" for n in all_needs]),
        ("of it rows of the directory", [f"{n.directory_rows:,.0f}" for n in all_needs]),
        ("PostgreSQL shards", [f"{n.postgres_shards:,}" for n in all_needs]),
        ("ClickHouse rows/s", [f"{n.warehouse_rows_per_second:,.0f}" for n in all_needs]),
        (
            "ClickHouse, GB a month",
            [f"{n.warehouse_octets_per_month / 1e9:,.0f}" for n in all_needs],
        ),
        ("ClickHouse shards", [f"{n.warehouse_shards:,}" for n in all_needs]),
        ("marks/s", [f"{n.marks_per_second:,.0f}" for n in all_needs]),
    ]
    lines = [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    return "\n".join([lines[0], "|---" + "|---:" * len(sizes) + "|", *lines[1:]])
