"""The doctor on PostgreSQL: state is read there as in the engine's file, and nothing written."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from collectors.netflow import state as flow_state
from infra.doctor.cluster_facts import cluster_findings
from infra.doctor.stored_facts import (
    exporter_offsets_ms,
    nases_of_subscribers,
    open_rows,
    subscriber_days,
)
from infra.settings import Settings, load_settings
from rating.rate_state import CellState, cell_key
from rating.split import Layer
from streams.adapters import postgres_tables
from streams.codec import encode_value
from tests.databases import created

CELL = CellState((Layer(0, 10, 100, {"cdn": (3, 30), "local": (6, 60)}),))
CLOCK = flow_state.Progress(clock=flow_state.Clock(5, 0, (7_000, 8_000, 9_000)))


def fill(url: str) -> None:
    """Write what the stages of two partitions would have."""
    exporter = flow_state.session_key(bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 9)), 9, 3, None)
    rows = [
        ("rate/0", "cells", cell_key("rk", 96 * 5, 0, "s-1"), encode_value(CELL)),
        ("rate/1", "cells", cell_key("rk", 96 * 5 + 1, 0, "s-2"), encode_value(CELL)),
        ("rate/1", "meters", "no cell", b"\0"),
        ("decode/0", flow_state.PROGRESS, exporter, encode_value(CLOCK)),
    ]
    engine = create_engine(url)
    with engine.begin() as transaction:
        postgres_tables.create_tables(transaction, partitions=2)
    engine.dispose()
    with psycopg.connect(plain(url), autocommit=True) as connection:
        connection.execute("create table live_session(subscriber_id text, nas_id text)")
        connection.execute("insert into live_session values('s-1', 'bng@10.0.0.1'), ('', 'x')")
        for task, collection, key, value in rows:
            connection.execute(
                "insert into state_space(task, collection) values(%s, %s) on conflict do nothing",
                (task, collection),
            )
            connection.execute(
                "insert into stage_state select space_id, %s, %s from state_space"
                " where task = %s and collection = %s",
                (key, value, task, collection),
            )


def plain(url: str) -> str:
    """Return a URL as the settings have it, without the driver."""
    return url.replace("+psycopg", "")


def settings_of(url: str, directory: Path) -> Settings:
    flags = (
        f"data_dir={directory}",
        "mode=cluster",
        f"cluster.database_url={plain(url)}",
        'cluster.kafka.bootstrap_servers=["127.0.0.1:1"]',
        "warehouse.endpoint.port=1",
    )
    return load_settings(flags=flags, environment={})


def test_state_of_all_partitions_is_read(tmp_path: Path) -> None:
    with created("") as url:
        fill(url)
        settings = settings_of(url, tmp_path)
        with open_rows(settings) as rows:
            assert [day[:2] for day in subscriber_days(rows)] == [("s-1", 5), ("s-2", 5)]
            assert subscriber_days(rows)[0][2:] == (10, 100, 9, 90)
            assert nases_of_subscribers(rows) == {"s-1": frozenset({"bng"})}
            assert exporter_offsets_ms(rows) == {"192.0.2.9 domain 3": 8_000}
            with pytest.raises(SQLAlchemyError, match="read-only"):
                rows("delete from live_session returning nas_id", ())
        found = {each.subject: each for each in cluster_findings(settings)}
    assert found["PostgreSQL"].level == "ok"
    assert found["Kafka"].seen.startswith("does not answer")
