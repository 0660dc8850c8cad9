"""The streams' own tables in PostgreSQL, and what the other roles read of them.

One row of `stage_task` is all that a task has beside its keyed state: who owns it, how far it read
of each producer, which numbers it gave out. The rows of `stage_output` are the outbox: committed
outputs that the relay has not yet seen acknowledged by Kafka.
"""

from __future__ import annotations

from sqlalchemy import Connection

_SCHEMA_LOCK = 0x466C6F77_53747265
"""Advisory lock under which tables are made: "FlowStre"."""

_DDL = (
    "create table if not exists topic_generation("
    " generation integer primary key, partitions integer not null, state text not null)",
    "create table if not exists stage_task("
    ' task text collate "C" primary key, epoch bigint not null, owner integer not null,'
    " watermark_at bigint not null, standing bytea not null)",
    "create table if not exists state_space("
    " space_id integer generated always as identity primary key,"
    ' task text collate "C" not null, collection text collate "C" not null,'
    " unique(task, collection))",
    "create table if not exists stage_state("
    ' space_id integer not null, key text collate "C" not null, value bytea not null,'
    " primary key(space_id, key))",
    "alter table stage_state alter column value set compression lz4",
    "create table if not exists stage_output("
    ' task text collate "C" not null, topic text collate "C" not null,'
    " partition integer not null, number bigint not null, received_at bigint not null,"
    " trace bytea not null, body bytea not null, primary key(task, topic, partition, number))",
    # What is inserted and deleted again within a second must not wait for the daily vacuum.
    "alter table stage_output set (autovacuum_vacuum_scale_factor = 0,"
    " autovacuum_vacuum_threshold = 10000)",
    "alter table stage_task set (fillfactor = 30, autovacuum_vacuum_threshold = 1000)",
    "create table if not exists topic_counter("
    ' topic text collate "C" not null, partition integer not null, number bigint not null,'
    " primary key(topic, partition))",
    "create table if not exists topic_record("
    ' topic text collate "C" not null, partition integer not null, number bigint not null,'
    " producer text not null, row_count integer not null, body bytea not null,"
    " primary key(topic, partition, number))",
    "create table if not exists collector_lease("
    ' collector_id text collate "C" not null, log text collate "C" not null,'
    " renewed_at bigint not null, state text not null, primary key(collector_id, log))",
)
"""stage_task.owner is the process id of the owner's server connection.
topic_generation.state is ``running``, ``draining`` (its workers stop at the marker) or ``done``.
In topic_record the partition of a topic that every partition gets is -1: it is kept once."""


def create_tables(connection: Connection, *, partitions: int) -> None:
    """Make the tables where absent, and generation 1 of the topics with so many partitions.

    Two processes at once are safe: the second waits for the first one's commit.
    """
    connection.exec_driver_sql("select pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
    for statement in _DDL:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql(
        "insert into topic_generation select 1, %s, 'running'"
        " where not exists (select from topic_generation)",
        (partitions,),
    )


def current_generation(connection: Connection) -> tuple[int, int]:
    """Return number and partitions of the newest generation of topics that is in use.

    LookupError where the tables are not there: `flowrate migrate` has not run.
    """
    made = connection.exec_driver_sql("select to_regclass('topic_generation')").scalar()
    row = (
        made
        and connection.exec_driver_sql(
            "select generation, partitions from topic_generation where state = 'running'"
            " order by generation desc limit 1"
        ).first()
    )
    if not row:
        raise LookupError("the database has no topics' generation: run `flowrate migrate`")
    return int(row[0]), int(row[1])


def read_watermarks(connection: Connection) -> dict[str, int]:
    """Return each task's watermark in ms, as last committed."""
    rows = connection.exec_driver_sql("select task, watermark_at from stage_task")
    return {str(task): int(at) for task, at in rows}
