"""`flowrate warehouse rebuild`, `check` and `drop` on a cluster: Kafka, PostgreSQL, chDB's HTTP."""

from __future__ import annotations

import datetime
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.cluster.servers import Kafka
from tests.cluster.test_intents import prepare
from tests.cluster.test_sink import (
    ROOT,
    Cluster,
    Log,
    assert_exact,
    cluster_of,
    positions,
    wait_until,
)
from warehouse.connect import client
from warehouse.intent_tables import PostgresIntentStore
from warehouse.intents import CURRENT, FORMER

__all__ = ["cluster_of"]


def run(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one `flowrate warehouse` command."""
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", "warehouse", *words, "--config", str(cluster.file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.timeout(600)
def test_a_rebuild_from_kafka_gives_the_same_sums_and_the_sinks_follow(
    kafka: Kafka, database_url: str, cluster_of: Callable[..., Cluster]
) -> None:
    prepare(database_url)
    topic = "rebuilt.g1"
    log = Log(kafka.bootstrap, topic)
    cluster = cluster_of(kafka.bootstrap, database_url, topic='"rebuilt"')
    cluster.start_endpoint()
    cluster.start_sink()
    intents = PostgresIntentStore(database_url)
    log.write(12)
    wait_until(lambda: positions(intents, topic) == log.numbers, 120, cluster)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()

    dry = run(cluster, "rebuild", "--from", today, "--dry-run")
    assert dry.returncode == 0, dry.stderr[-2_000:]
    assert "0 differences" in dry.stdout
    assert intents.generations() == {}

    done = run(cluster, "rebuild", "--from", today)
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    assert "generation 2 is in force" in done.stdout
    assert intents.generations() == {1: FORMER, 2: CURRENT}
    log.write(3)
    wait_until(lambda: positions(intents, topic, 2) == log.numbers, 120, cluster)
    # Until its next look the sink may still have written to the former generation; not after it.
    former = positions(intents, topic, 1)
    log.write(3)
    wait_until(lambda: positions(intents, topic, 2) == log.numbers, 120, cluster)
    assert_exact(cluster, log.numbers, 2)
    assert positions(intents, topic, 1) == former

    writing = client(cluster.config, may_write=True)
    assert writing.command("SELECT count() FROM usage_rated") == writing.command(
        "SELECT count() FROM usage_rated_2"
    )
    writing.command("TRUNCATE TABLE subscriber_day_2")
    checked = run(cluster, "check")
    assert checked.returncode == 0, checked.stderr[-2_000:]
    assert "subscriber_day 202502" in checked.stdout
    assert "rebuilt from the base" in checked.stdout
    assert "0 differed" in run(cluster, "check").stdout
    assert run(cluster, "drop", "--generation", "2").returncode == 1
    assert run(cluster, "drop", "--generation", "1").returncode == 0
    assert_exact(cluster, log.numbers, 2)
    writing.close()
    intents.close()
    log.close()
