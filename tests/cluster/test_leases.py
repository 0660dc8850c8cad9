"""Leases of collectors in a real PostgreSQL, and what a keeper tells a real Kafka."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from collectors.adapters.lease_keeper import LeaseKeeper
from collectors.adapters.lease_renewal import LeaseRenewal
from collectors.leases import EXPIRED_LEASE, LEFT_LEASE, LIVE_LEASE
from collectors.metrics import Counters
from rating.connections import KafkaConfig
from rating.envelopes import EXPIRED, Mark
from streams.adapters.postgres_tables import create_tables
from tests.cluster.conftest import require_postgres
from tests.cluster.raw_topics import Reader, create_topic
from tests.cluster.servers import Kafka, Postgres
from tests.collectors.adapters.running import eventually, now_ms

LOG = "flow.datagrams"
LEASE_SECONDS = 1.0


def open_engine(url: str) -> Engine:
    opened = create_engine(
        url.replace("postgresql://", "postgresql+psycopg://"),
        pool_pre_ping=True,
        connect_args={"connect_timeout": 2},
    )
    with opened.begin() as connection:
        create_tables(connection, partitions=3)
    return opened


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_engine(database_url)
    yield opened
    opened.dispose()


def states(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        rows = connection.execute(text("select collector_id, state from collector_lease"))
        return {row[0]: row[1] for row in rows}


def renewal(engine: Engine, collector_id: str, counters: Counters) -> LeaseRenewal:
    started = LeaseRenewal(engine, (collector_id, LOG), LEASE_SECONDS, now_ms, counters)
    started.start()
    return started


def run_in_thread(run: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def test_a_silent_collector_is_told_to_every_partition_again_after_each_lease(
    kafka: Kafka, engine: Engine
) -> None:
    create_topic(kafka, "leases.expired", 3)
    counters, stop = Counters(), threading.Event()
    alive, silent = (renewal(engine, name, counters) for name in ("alive", "silent"))
    assert eventually(lambda: states(engine) == {"alive": LIVE_LEASE, "silent": LIVE_LEASE})
    silent.finish(has_left=False)
    with engine.connect() as connection:
        renewed_at = connection.execute(
            text("select renewed_at from collector_lease where collector_id = 'silent'")
        ).scalar_one()
    keeper = LeaseKeeper(
        engine,
        lambda log: [("leases.expired", 3)],
        LEASE_SECONDS,
        KafkaConfig(bootstrap_servers=(kafka.bootstrap,)),
        counters,
    )
    thread = run_in_thread(lambda: keeper.run(now_ms, stop))
    try:
        expected = {"alive": LIVE_LEASE, "silent": EXPIRED_LEASE}
        assert eventually(lambda: states(engine) == expected)
        time.sleep(2 * LEASE_SECONDS)
        back = renewal(engine, "silent", counters)
        assert eventually(lambda: states(engine) == {"alive": LIVE_LEASE, "silent": LIVE_LEASE})
        back.finish(has_left=True)
        assert eventually(lambda: states(engine) == {"alive": LIVE_LEASE, "silent": LEFT_LEASE})
    finally:
        stop.set()
        thread.join()
        alive.finish(has_left=False)
    reader = Reader(kafka, "leases.expired", 3)
    mark = Mark("flows@silent", 0, renewed_at + int(1000 * LEASE_SECONDS), EXPIRED)
    assert reader.until(lambda: len(reader.marks()) >= 6)
    reader.read()
    for received in reader.partitions.values():
        first, second, *_ = received.marks
        assert first == mark
        assert second.watermark_at >= mark.watermark_at
        assert {(each.producer, each.state) for each in received.marks} == {
            (mark.producer, EXPIRED)
        }
    assert counters.get("leases_expired") == 1
    reader.close()


def test_without_the_database_renewals_fail_and_go_on_afterwards(tmp_path: Path) -> None:
    require_postgres()
    server, counters = Postgres(tmp_path), Counters()
    try:
        server.start()
        engine = open_engine(server.url)
        held = renewal(engine, "a", counters)
        assert eventually(lambda: counters.get("lease_renewals") > 0)
        server.kill()
        assert eventually(lambda: counters.get("lease_failures") > 0)
        server.start()
        renewed = counters.get("lease_renewals")
        assert eventually(lambda: counters.get("lease_renewals") > renewed)
        held.finish(has_left=True)
        assert states(engine) == {"a": LEFT_LEASE}
        engine.dispose()
    finally:
        server.kill()
