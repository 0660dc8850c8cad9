"""The streams' own tables in PostgreSQL, and what the other roles read of them.

One row of `stage_task` is all that a task has beside its keyed state: who owns it, how far it read
of each producer, which numbers it gave out. The rows of `stage_output` are the outbox: committed
outputs that the relay has not yet seen acknowledged by Kafka.
"""

from __future__ import annotations

from sqlalchemy import Connection

_SCHEMA_LOCK = 0x466C6F77_53747265
"""Advisory lock under which tables are made: "FlowStre"."""
GENERATION_LOCK = 0x466C6F77_47656E65
"""Advisory lock of whoever relies on which generation is current: "FlowGene"."""

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
    "alter table collector_lease add column if not exists generation integer not null default 1",
    "create table if not exists drained_log("
    ' generation integer not null, log text collate "C" not null,'
    ' producer text collate "C" not null, partition integer not null, number bigint not null,'
    " primary key(generation, log, producer, partition))",
)
"""stage_task.owner is the process id of the owner's server connection.
topic_generation.state is, in this order, ``planned`` (its topics are being made), ``preparing``
(collectors append to it, nobody reads yet), ``running``, ``draining`` (collectors have turned to
the next one, workers take what is left), ``done``, ``dropped`` (its topics are deleted).
collector_lease.generation is the oldest one that the collector may still append to.
drained_log is of generations that are done: number is the last one of a collector's data that was
taken (what it has beyond was never taken, and goes to the next generation), or that rate sent to
``usage.rated``.
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
    """Return number and partitions of the generation of topics that the workers take.

    LookupError where the tables are not there: `flowrate migrate` has not run.
    """
    return _newest(connection, ("running", "draining"))


def collecting_generation(connection: Connection) -> tuple[int, int]:
    """Return number and partitions of the generation of topics that collectors append to.

    LookupError as `current_generation`.
    """
    return _newest(connection, ("preparing", "running", "draining"))


def hold_generation(connection: Connection) -> tuple[int, int]:
    """Return `current_generation`, which then stays so until the transaction ends.

    For whoever chooses partitions inside a transaction; growth waits for it, and it for growth.
    """
    connection.exec_driver_sql("select pg_advisory_xact_lock_shared(%s)", (GENERATION_LOCK,))
    return current_generation(connection)


def _newest(connection: Connection, states: tuple[str, ...]) -> tuple[int, int]:
    made = connection.exec_driver_sql("select to_regclass('topic_generation')").scalar()
    row = (
        made
        and connection.exec_driver_sql(
            "select generation, partitions from topic_generation where state = any(%s)"
            " order by generation desc limit 1",
            (list(states),),
        ).first()
    )
    if not row:
        raise LookupError("the database has no topics' generation: run `flowrate migrate`")
    return int(row[0]), int(row[1])


def read_generations(connection: Connection) -> list[tuple[int, int, str]]:
    """Return (number, partitions, state) of every generation whose topics are there."""
    rows = connection.exec_driver_sql(
        "select generation, partitions, state from topic_generation where state <> 'planned'"
        " order by generation"
    )
    return [(int(row[0]), int(row[1]), str(row[2])) for row in rows]


def read_taken(connection: Connection, generation: int, log: str, producer: str) -> dict[int, int]:
    """Return what was taken of a collector in a generation that is done: partition -> number."""
    rows = connection.exec_driver_sql(
        "select partition, number from drained_log"
        " where generation = %s and log = %s and producer = %s",
        (generation, log, producer),
    )
    return {int(row[0]): int(row[1]) for row in rows}


def read_watermarks(connection: Connection) -> dict[str, int]:
    """Return each task's watermark in ms, as last committed."""
    rows = connection.exec_driver_sql("select task, watermark_at from stage_task")
    return {str(task): int(at) for task, at in rows}
