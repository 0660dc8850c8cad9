"""The test's own servers: they come back with their data after a kill, and stop while paused."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from tests.cluster.conftest import require_kafka, require_postgres
from tests.cluster.processes import children, is_alive
from tests.cluster.servers import Kafka, Postgres


def test_kafka_keeps_acknowledged_messages_over_a_kill(tmp_path: Path) -> None:
    require_kafka()
    broker = Kafka(tmp_path)
    try:
        broker.start()
        admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        admin.create_topics({"kept": {"num_partitions": 2, "replication_factor": 1}})
        admin.close()
        producer = KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
        for number in range(100):
            producer.send("kept", value=b"%d" % number, partition=number % 2).get(20)
        producer.close()
        pid, address = broker.pid, broker.bootstrap
        broker.kill()
        assert not is_alive(pid)
        broker.start()
        assert broker.bootstrap == address
        assert broker.pid != pid
        assert read_all(broker, "kept", 2) == [b"%d" % number for number in range(100)]
        broker.stop()
    finally:
        broker.kill()


def read_all(broker: Kafka, topic: str, partitions: int) -> list[bytes]:
    """Return every value of a topic, numbers ascending."""
    consumer = KafkaConsumer(
        bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=3_000
    )
    consumer.assign([TopicPartition(topic, partition) for partition in range(partitions)])
    values = sorted((message.value for message in consumer), key=int)
    consumer.close()
    return values


def test_postgres_keeps_committed_rows_over_a_kill_of_all_its_processes(tmp_path: Path) -> None:
    require_postgres()
    server = Postgres(tmp_path)
    try:
        server.start()
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept (number int)")
            connection.execute("INSERT INTO kept SELECT generate_series(1, 1000)")
        open_connection = psycopg.connect(server.url)
        open_connection.execute("INSERT INTO kept VALUES (-1)")
        family = [server.pid, *children(server.pid)]
        assert len(family) > 4
        url = server.url
        server.kill()
        assert not any(is_alive(pid) for pid in family)
        server.start()
        assert server.url == url
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT count(*), min(number) FROM kept").fetchone() == (
                1000,
                1,
            )
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
        server.stop()
    finally:
        server.kill()


def test_a_paused_postgres_answers_nobody_until_it_is_resumed(postgres: Postgres) -> None:
    connection = psycopg.connect(postgres.url)
    postgres.pause()
    try:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(postgres.url, connect_timeout=2)
    finally:
        postgres.resume()
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_paused_kafka_answers_nobody_until_it_is_resumed(kafka: Kafka) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    kafka.pause()
    try:
        with pytest.raises(Exception, match=r"(?i)time"):
            KafkaAdminClient(
                bootstrap_servers=kafka.bootstrap,
                request_timeout_ms=1_000,
                bootstrap_timeout_ms=1_000,
            )
    finally:
        kafka.resume()
    assert admin.describe_cluster()["brokers"]
    admin.close()


def test_each_test_has_an_empty_database_of_its_own(database_url: str) -> None:
    statement = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    with psycopg.connect(database_url) as connection:
        assert connection.execute(statement).fetchone() == (0,)


def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    require_postgres()
    program = (
        "import pathlib, sys, time\n"
        "from tests.cluster.servers import Postgres\n"
        "server = Postgres(pathlib.Path(sys.argv[1]))\n"
        "server.start()\n"
        "print(server.pid, server.data.parent, flush=True)\n"
        "time.sleep(600)\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert starter.stdout is not None
    pid_text, folder = starter.stdout.readline().decode().split()
    pid = int(pid_text)
    assert is_alive(pid)
    starter.kill()
    starter.wait()
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)
    shutil.rmtree(folder)


def test_kafkas_own_tools_run_against_the_broker(kafka: Kafka) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.create_topics({"tools": {"num_partitions": 1, "replication_factor": 1}})
    admin.close()
    told = kafka.run_tool(
        "org.apache.kafka.tools.ProducerPerformance",
        *("--topic", "tools", "--num-records", "1000", "--record-size", "100"),
        *("--throughput", "-1", "--producer-props", f"bootstrap.servers={kafka.bootstrap}"),
    )
    assert told.startswith("1000 records sent")
    consumer = KafkaConsumer("tools", bootstrap_servers=kafka.bootstrap, group_id="tools-read")
    consumer.poll(10_000)
    consumer.commit()
    consumer.close()
    groups = kafka.run_tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        *("--bootstrap-server", kafka.bootstrap, "--list"),
    )
    assert "tools-read" in groups.split()
