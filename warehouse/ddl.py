"""The tables for a cluster of ClickHouse servers, as text for an operator to look at and run.

Every table is replicated; with more than one shard each has a local table and a Distributed one
over it, under the name that the sink and the queries use. A row's shard is the hash of its
subscriber, so the rollups' views, which run where the row is, meet all of a subscriber's rows.
No server could be had to run this on: docs/decisions/0512 says what that leaves open.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from warehouse.config import WarehouseConfig
from warehouse.migrations import MIGRATIONS
from warehouse.raw_flows import RAW_FLOW, UNNUMBERED
from warehouse.retention import days_kept, ttl_of
from warehouse.tables import DEDUPLICATION_WINDOW, IN_TIME, TABLES, USAGE_RATED, Table

WINDOW_SECONDS = 604_800
"""How long a replicated table remembers tokens: a week, as long as a sink may be away."""

_LOCAL = "/clickhouse/tables/{shard}/{database}/{table}"
_EVERYWHERE = "/clickhouse/tables/all/{database}/{table}"
_SHARD_KEYS = ("subscriber_id", "invoice_id", "session_id", "command_id", "alert_id", "exporter")


@dataclasses.dataclass(frozen=True, slots=True)
class ClusterShape:
    """The cluster's name in `remote_servers`, and into how many shards the rows are split."""

    name: str
    shards: int = 1

    def __post_init__(self) -> None:
        """Refuse a name that is no word, and no shards. ValueError."""
        if not self.name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"cluster {self.name!r}: expected letters, digits, - and _")
        if self.shards < 1:
            raise ValueError(f"shards = {self.shards}: expected 1 or more")

    @property
    def on_cluster(self) -> str:
        """Return the clause that runs a statement on every server."""
        return f"ON CLUSTER `{self.name}`"


def cluster_statements(config: WarehouseConfig, shape: ClusterShape) -> list[str]:
    """Return every statement in order: tables, views, plain names, migrations, roles."""
    return [
        *(s for table in TABLES for s in _table(config, shape, table)),
        *(_table(config, shape, RAW_FLOW) if config.raw_flows.is_enabled else ()),
        *_migration_records(config.generation, shape),
        *_roles(config, shape),
    ]


def _local(shape: ClusterShape, name: str) -> str:
    return f"{name}_local" if shape.shards > 1 else name


def _replicated(engine: str, path: str) -> str:
    kind, _, rest = engine.partition("(")
    more = f", {rest.rstrip(')')}" if rest else ""
    return f"Replicated{kind}('{path}', '{{replica}}'{more})"


def _table(config: WarehouseConfig, shape: ClusterShape, table: Table) -> Iterator[str]:
    generation = UNNUMBERED if table is RAW_FLOW else config.generation
    name = table.physical(generation)
    kept_days = {**days_kept(config.retention), RAW_FLOW.name: config.retention.raw_flow_days}
    days = kept_days[table.name]
    lines = [column.declaration() for column in table.columns]
    lines += [f"INDEX {index}" for index in table.indexes]
    constraints = (IN_TIME,) if table is USAGE_RATED else table.constraints
    lines += [f"CONSTRAINT {constraint}" for constraint in constraints]
    body = ",\n  ".join(lines)
    partition = f"PARTITION BY {table.partition_by}\n" if table.partition_by else ""
    kept = f"TTL {ttl_of(table, days)}\n" if days else ""
    yield (
        f"CREATE TABLE IF NOT EXISTS {_local(shape, name)} {shape.on_cluster} (\n  {body}\n)\n"
        f"ENGINE = {_replicated(table.engine, _LOCAL)}\n{partition}"
        f"ORDER BY ({', '.join(table.order_by)})\n{kept}"
        f"SETTINGS replicated_deduplication_window = {DEDUPLICATION_WINDOW},"
        f" replicated_deduplication_window_seconds = {WINDOW_SECONDS}"
    )
    if table.select:
        base = USAGE_RATED.physical(generation)
        source = table.select.format(base=_local(shape, base), more="")
        yield (
            f"CREATE MATERIALIZED VIEW IF NOT EXISTS {name}_fill {shape.on_cluster}\n"
            f"TO {_local(shape, name)} AS\n{source}"
        )
    if shape.shards > 1:
        names = [column.name for column in table.columns]
        key = next((key for key in _SHARD_KEYS if key in names), table.order_by[0])
        key = "subscriber_id" if table is USAGE_RATED else key
        yield (
            f"CREATE TABLE IF NOT EXISTS {name} {shape.on_cluster} AS {_local(shape, name)}\n"
            f"ENGINE = Distributed(`{shape.name}`, currentDatabase(), {_local(shape, name)},"
            f" cityHash64({key}))"
        )
    yield table.point(generation).replace(
        f"CREATE OR REPLACE VIEW {table.name} AS",
        f"CREATE OR REPLACE VIEW {table.name} {shape.on_cluster} AS",
    )


def _migration_records(generation: int, shape: ClusterShape) -> Iterator[str]:
    """Tell the sinks that these tables need no migration."""
    yield (
        f"CREATE TABLE IF NOT EXISTS schema_migration {shape.on_cluster} (\n"
        "  generation UInt16, number UInt32, name String, applied_at Int64\n)\n"
        f"ENGINE = {_replicated('MergeTree', _EVERYWHERE)}\nORDER BY (generation, number)"
    )
    for migration in MIGRATIONS:
        yield (
            "INSERT INTO schema_migration SELECT"
            f" {generation}, {migration.number}, '{migration.name}',"
            " toUnixTimestamp64Milli(now64(3))\n"
            "WHERE NOT EXISTS (SELECT 1 FROM schema_migration"
            f" WHERE generation = {generation} AND number = {migration.number})"
        )


def _roles(config: WarehouseConfig, shape: ClusterShape) -> Iterator[str]:
    """Who may do what; the two passwords are the operator's to set."""
    on, limits, database = shape.on_cluster, config.endpoint, config.database
    yield (
        f"CREATE SETTINGS PROFILE IF NOT EXISTS flowrate_reader {on} SETTINGS\n"
        f"  max_execution_time = {limits.execution_seconds} CONST,\n"
        f"  max_result_rows = {limits.result_rows} CONST,\n"
        f"  max_result_bytes = {limits.result_octets} CONST,\n"
        "  result_overflow_mode = 'throw' CONST,\n"
        f"  max_memory_usage = {limits.memory_octets} CONST,\n"
        f"  max_threads = {limits.threads_per_query} CONST,\n"
        "  readonly = 2"
    )
    yield f"CREATE ROLE IF NOT EXISTS flowrate_reader {on} SETTINGS PROFILE 'flowrate_reader'"
    yield f"GRANT {on} SELECT ON `{database}`.* TO flowrate_reader"
    yield f"CREATE ROLE IF NOT EXISTS flowrate_sink {on}"
    yield (
        f"GRANT {on} SELECT, INSERT, TRUNCATE, ALTER TABLE, CREATE TABLE, CREATE VIEW, DROP TABLE,"
        f" DROP VIEW ON `{database}`.* TO flowrate_sink"
    )
    yield f"GRANT {on} SELECT ON system.tables TO flowrate_sink"
    for user, role in (
        (config.reader_user, "flowrate_reader"),
        (config.sink_user, "flowrate_sink"),
    ):
        yield (
            f"CREATE USER IF NOT EXISTS `{user}` {on} IDENTIFIED WITH sha256_password BY"
            f" 'CHANGE ME' DEFAULT ROLE {role}"
        )
        yield f"GRANT {on} {role} TO `{user}`"
