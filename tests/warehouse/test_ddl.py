"""The tables for a ClickHouse cluster, as text; chDB's parser reads every statement of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from warehouse.config import RetentionConfig, WarehouseConfig
from warehouse.connect import WarehouseClient
from warehouse.ddl import ClusterShape, cluster_statements
from warehouse.tables import ROLLUPS, TABLES

GOLDEN = Path(__file__).with_name("cluster.sql")
CONFIG = WarehouseConfig(retention=RetentionConfig(subscriber_minute_days=62))


def _text(shards: int) -> str:
    statements = cluster_statements(CONFIG, ClusterShape("isp", shards))
    return "".join(f"{statement};\n\n" for statement in statements)


def test_the_statements_are_the_ones_written_down() -> None:
    """Rewrite the file with: python -m tests.warehouse.test_ddl."""
    assert _text(2) == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize("shards", [1, 3])
def test_the_engine_understands_every_statement(reading: WarehouseClient, shards: int) -> None:
    """It parses them; whether a server runs them is another matter (docs/decisions/0512)."""
    for statement in cluster_statements(CONFIG, ClusterShape("isp", shards)):
        found = reading.query(
            "SELECT formatQuery({statement:String})", parameters={"statement": statement}
        )
        assert len(found.result_rows[0][0]) > 10


def test_every_table_is_replicated_and_remembers_tokens() -> None:
    creates = [s for s in cluster_statements(CONFIG, ClusterShape("isp")) if "ENGINE" in s]
    assert len(creates) == len(TABLES) + 1
    for statement in creates[:-1]:
        assert "ENGINE = Replicated" in statement
        assert "replicated_deduplication_window = 10000" in statement
        assert "'{replica}'" in statement


def test_one_shard_needs_no_distributed_tables() -> None:
    assert "Distributed" not in _text(1)
    assert "_local" not in _text(1)


def test_rows_go_to_their_subscribers_shard_and_rollups_are_filled_there() -> None:
    text = _text(2)
    assert text.count("ENGINE = Distributed(`isp`") == len(TABLES)
    assert "usage_rated_1_local, cityHash64(subscriber_id))" in text
    for table in ROLLUPS:
        assert f"TO {table.physical(1)}_local AS" in text
    assert text.count("FROM usage_rated_1_local AS rated") == len(ROLLUPS)


def test_a_cluster_needs_a_name_that_is_a_word() -> None:
    with pytest.raises(ValueError, match="expected letters"):
        ClusterShape("x` DROP TABLE y")
    with pytest.raises(ValueError, match="1 or more"):
        ClusterShape("isp", 0)


if __name__ == "__main__":
    GOLDEN.write_text(_text(2), encoding="utf-8")
