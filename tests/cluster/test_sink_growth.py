"""Rated usage of two generations of topics reaches the warehouse, each record once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import polars as pl
import pytest
from sqlalchemy import Engine

from billing.adapters.databases import open_database, reading, writing
from streams.adapters import postgres_growth
from streams.adapters.postgres_tables import create_tables
from tests.cluster.servers import Kafka
from tests.cluster.test_intents import prepare
from tests.cluster.test_sink import (
    Cluster,
    Log,
    audited,
    cluster_of,
    frame_of_record,
    positions,
    sums_of,
    wait_until,
)
from warehouse.connect import client
from warehouse.intent_tables import PostgresIntentStore

__all__ = ["cluster_of"]

TOPIC = "grown.usage.rated"


@pytest.fixture
def database(database_url: str) -> Iterator[Engine]:
    prepare(database_url)
    engine = open_database(database_url.replace("postgresql://", "postgresql+psycopg://"))
    with writing(engine) as connection:
        create_tables(connection, partitions=2)
    yield engine
    engine.dispose()


def rows_of(log: Log) -> list[pl.DataFrame]:
    return [
        frame_of_record(partition, number)
        for partition, last in enumerate(log.numbers)
        for number in range(1, last + 1)
    ]


@pytest.mark.timeout(600)
def test_sums_are_exact_over_a_growth(
    kafka: Kafka, database: Engine, database_url: str, cluster_of: Callable[..., Cluster]
) -> None:
    former = Log(kafka.bootstrap, f"{TOPIC}.g1")
    cluster = cluster_of(kafka.bootstrap, database_url, topic=f'"{TOPIC}"')
    cluster.start_endpoint()
    sinks = [cluster.start_sink(), cluster.start_sink()]
    intents = PostgresIntentStore(database_url)
    former.write(6)
    with writing(database) as connection:
        postgres_growth.plan(connection, 4)
    wait_until(lambda: min(positions(intents, former.topic)) >= 3, 120, cluster)
    after = Log(kafka.bootstrap, f"{TOPIC}.g2", seed=2)
    with writing(database) as connection:
        postgres_growth.switch(connection)
    former.write(5)
    after.write(7)
    time.sleep(1.0)
    cluster.kill_sink(sinks[0])
    cluster.start_sink()
    after.write(4)
    wait_until(lambda: positions(intents, former.topic) == former.numbers, 240, cluster)
    wait_until(lambda: positions(intents, after.topic) == after.numbers, 240, cluster)
    warehouse = client(cluster.config)
    assert audited(warehouse) == sums_of(pl.concat([*rows_of(former), *rows_of(after)]))
    kept = warehouse.query(
        "SELECT log_generation, count() FROM usage_rated_1 GROUP BY 1 ORDER BY 1"
    ).result_rows
    heights = [sum(frame.height for frame in rows_of(log)) for log in (former, after)]
    assert [tuple(map(int, row)) for row in kept] == list(enumerate(heights, start=1))
    warehouse.close()
    with writing(database) as connection:
        for partition, number in enumerate(former.numbers):
            connection.exec_driver_sql(
                "insert into drained_log values(1, 'usage.rated', %s, %s, %s)",
                (f"rate/{partition}", partition, number + (partition == 2)),
            )
    with reading(database) as connection:
        [left] = postgres_growth.unsunk(connection, 1, former.topic)
    assert "of grown.usage.rated.g1 partition 2 into tables of generation 1" in left
    intents.close()
    former.close()
    after.close()
