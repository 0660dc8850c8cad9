"""What a cluster's servers say of themselves, each asked for a few seconds and no longer."""

from __future__ import annotations

from collections.abc import Callable

from kafka.admin import OffsetSpec
from kafka.structs import TopicPartition

from infra.doctor import machine
from infra.doctor.findings import Finding
from infra.doctor.state import LagFact, check_lag
from infra.doctor.stored_facts import open_rows
from infra.secrets import Secrets
from infra.settings import Settings
from infra.wiring.store import warehouse_config
from streams.adapters.kafka_lag import group_positions, open_admin
from streams.topics import consumer_group
from warehouse.connect import client


def cluster_findings(settings: Settings) -> list[Finding]:
    """Return versions of PostgreSQL, ClickHouse and Kafka, and how far the workers are behind."""
    findings: list[Finding] = []
    asked: tuple[tuple[str, Callable[[Settings], list[Finding]]], ...] = (
        ("PostgreSQL", _postgres),
        ("ClickHouse", _clickhouse),
        ("Kafka", _kafka),
    )
    for name, ask in asked:
        try:
            findings += ask(settings)
        except Exception as error:
            said = str(error).strip().splitlines()
            seen = f"does not answer: {said[0] if said else type(error).__name__}"
            advice = "see its address and login under [cluster] and [warehouse]"
            findings.append(Finding("cluster", name, "fail", seen, advice))
    return findings


def _postgres(settings: Settings) -> list[Finding]:
    with open_rows(settings) as rows:
        ((version,),) = rows("show server_version", ())
    return [machine.check_version("PostgreSQL", str(version), machine.POSTGRES_LEAST)]


def _clickhouse(settings: Settings) -> list[Finding]:
    warehouse = settings.warehouse
    plain = Secrets(warehouse.sink_password, warehouse.reader_password, "", "")
    asked = client(warehouse_config(settings, plain))
    try:
        ((version,),) = asked.query("select version()").result_rows
    finally:
        asked.close()
    return [machine.check_version("ClickHouse", str(version), machine.CLICKHOUSE_LEAST)]


def _kafka(settings: Settings) -> list[Finding]:
    with open_rows(settings) as rows:
        found = rows("select max(generation) from topic_generation where state = ?", ("running",))
    generation = int(found[0][0] or 1) if found else 1
    admin = open_admin(settings.cluster.kafka)
    try:
        group = consumer_group(settings.cluster.worker.application_id, generation)
        positions = group_positions(admin, group)
        at = [TopicPartition(topic, partition) for topic, partition in positions]
        ends = admin.list_partition_offsets(dict.fromkeys(at, OffsetSpec.LATEST)) if at else {}
    finally:
        admin.close()
    findings = [Finding("cluster", "Kafka", "ok", "answers")]
    behind: dict[str, int] = {}
    for place, end in ends.items():
        position = positions[place.topic, place.partition]
        behind[place.topic] = behind.get(place.topic, 0) + max(0, int(end.offset) - position)
    return findings + [
        check_lag(LagFact(f"workers in {topic}", count), is_running=True)
        for topic, count in sorted(behind.items())
    ]
