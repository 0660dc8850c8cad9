"""A generation of topics gives way to one with more partitions: every step is one transaction.

    planned ─▶ preparing ─▶ running          (the new generation)
    running ─▶ draining  ─▶ done             (the former one)

`plan` notes what is wanted, `switch` turns the collectors to the new topics, `grow` moves state and
marks once the former generation is drained. Each may be called again after a death: what is done
already is left alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from rating import flow_hours
from streams import growth, rekeying
from streams.adapters.postgres_state import copy_rows
from streams.adapters.postgres_tables import GENERATION_LOCK, current_generation
from streams.adapters.postgres_topics import append_rows, newest_numbers, stored_partition
from streams.codec import decode_frame
from streams.growth import Drain, Ends
from streams.progress import Standing
from streams.stage import Stage
from streams.topics import STORED, TOPICS

_READ_ROWS = 2_000
_WRITTEN_OCTETS = 8_388_608
"""State is read and written in pieces of about this size."""
_BY_KEY = frozenset(
    {"plans", "events", "markers", "minutes", "pages", "bindings", flow_hours.FLOW_HOURS}
)
"""Collections of which the values of one key, of all tasks, must be read behind one another."""
_LOCK_WAIT = "20s"


class GrowthError(Exception):
    """Why the topics cannot grow, as a sentence for the operator."""


class NotDrainedError(Exception):
    """The former generation has work left: sentences say what."""

    def __init__(self, obstacles: Sequence[str]) -> None:
        """Take the sentences."""
        super().__init__("; ".join(obstacles))
        self.obstacles = tuple(obstacles)


@dataclasses.dataclass(frozen=True, slots=True)
class Growing:
    """A growth under way: the former generation, the new one, and the new one's state."""

    former: int
    partitions_before: int
    generation: int
    partitions: int
    state: str


def find(connection: Connection) -> Growing | None:
    """Return the growth that is under way, if one is; LookupError without `flowrate migrate`."""
    former, before = current_generation(connection)
    row = connection.exec_driver_sql(
        "select generation, partitions, state from topic_generation"
        " where state in ('planned', 'preparing') order by generation desc limit 1"
    ).first()
    return Growing(former, before, int(row[0]), int(row[1]), str(row[2])) if row else None


def plan(connection: Connection, partitions: int) -> Growing:
    """Note that the topics shall have so many partitions; GrowthError where they cannot."""
    _take_turn(connection)
    found = find(connection)
    if found is None:
        former, before = current_generation(connection)
        if partitions <= before:
            raise GrowthError(
                f"generation {former} has {before} partitions: {partitions} is not more"
            )
        connection.exec_driver_sql(
            "insert into topic_generation select max(generation) + 1, %s, 'planned'"
            " from topic_generation",
            (partitions,),
        )
        found = find(connection)
        assert found is not None
    if found.partitions != partitions:
        raise GrowthError(
            f"generation {found.generation} with {found.partitions} partitions is under way:"
            f" finish it first (--partitions {found.partitions})"
        )
    return found


def switch(connection: Connection) -> None:
    """Let collectors append to the new generation, whose topics are there."""
    _take_turn(connection)
    connection.exec_driver_sql(
        "update topic_generation set state = 'draining' where state = 'running'"
        " and exists(select from topic_generation where state = 'planned')"
    )
    connection.exec_driver_sql(
        "update topic_generation set state = 'preparing' where state = 'planned'"
    )


def read_drain(connection: Connection) -> Drain:
    """Return how far everybody is with the generation that drains. One snapshot, or locks."""
    standings = {task: standing for task, (_, standing) in _standings(connection).items()}
    waiting = connection.exec_driver_sql("select task, count(*) from stage_output group by task")
    leases = connection.exec_driver_sql(
        "select collector_id, log, generation from collector_lease where state = 'live'"
    )
    return Drain(
        standings,
        {str(task): int(count) for task, count in waiting},
        {(str(name), str(log)): int(oldest) for name, log, oldest in leases},
    )


def grow(
    connection: Connection,
    stages: Sequence[Stage],
    ends: Callable[[], Ends],
    producer_of: Callable[[str, str], str],
) -> None:
    """Move all state and marks to the new generation, which then runs.

    Nobody commits for a task, and nobody appends for the API, from here to the commit: whoever
    tries waits, and then finds itself outgrown. NotDrainedError where anything is left to do, and
    nothing is changed. ends asks Kafka about the former generation; producer_of names a collector.
    """
    _take_turn(connection)
    connection.exec_driver_sql("set local statement_timeout = 0")
    connection.exec_driver_sql("set local idle_in_transaction_session_timeout = 0")
    growing = find(connection)
    if growing is None or growing.state != "preparing":
        raise GrowthError("no growth is under way whose collectors have turned")
    connection.exec_driver_sql(f"set local lock_timeout = '{_LOCK_WAIT}'")
    connection.exec_driver_sql("select from stage_task order by task for update")
    connection.exec_driver_sql("update stage_task set epoch = epoch + 1")
    drain = read_drain(connection)
    before = growing.partitions_before
    left = list(growth.obstacles(drain, stages, ends(), growing.former, before))
    if left:
        raise NotDrainedError(left)
    standings = _standings(connection)
    live = frozenset(producer_of(log, collector_id) for collector_id, log in drain.leases)
    stored = {
        topic: _move_stored(connection, topic, growing, standings, stages)
        for topic in sorted(STORED)
        if TOPICS[topic].route != "every"
    }
    for stage in stages:
        _grow_stage(connection, stage, growing, standings, (stored, live))
    connection.exec_driver_sql(
        "update topic_generation set state = case when generation = %s then 'done'"
        " when generation = %s then 'running' else state end",
        (growing.former, growing.generation),
    )


def mark_dropped(connection: Connection, generation: int) -> None:
    """Note that a generation's topics are gone."""
    connection.exec_driver_sql(
        "update topic_generation set state = 'dropped' where generation = %s and state = 'done'",
        (generation,),
    )


def unsunk(connection: Connection, generation: int, topic: str) -> list[str]:
    """Return in sentences what of a generation's rated usage a sink has not taken; none: nothing.

    topic is the physical one. Where no sink has ever run, nobody takes anything.
    """
    made = connection.exec_driver_sql("select to_regclass('sink_position')").scalar()
    if made is None:
        return []
    rows = connection.exec_driver_sql(
        # Positions of generation 0 are of raw flows, which follow another topic.
        "with followed as (select distinct generation from sink_position where generation > 0"
        " and generation not in"
        " (select generation from warehouse_generation where state = 'former'))"
        " select f.generation, d.partition, d.number, coalesce(p.last_position, 0)"
        " from drained_log as d cross join followed as f left join sink_position as p"
        " on p.generation = f.generation and p.topic = %s and p.partition = d.partition"
        " where d.generation = %s and d.log = 'usage.rated'"
        " and d.number > coalesce(p.last_position, 0) order by 1, 2",
        (topic, generation),
    )
    return [
        f"the sink has taken {taken} of {number} records of {topic} partition {partition}"
        f" into tables of generation {tables}"
        for tables, partition, number, taken in rows
    ]


def _take_turn(connection: Connection) -> None:
    connection.exec_driver_sql("select pg_advisory_xact_lock(%s)", (GENERATION_LOCK,))


def _standings(connection: Connection) -> dict[str, tuple[int, Standing]]:
    """Return (watermark in ms, standing) of every task."""
    rows = connection.exec_driver_sql("select task, watermark_at, standing from stage_task")
    return {
        str(task): (
            int(at),
            msgspec.msgpack.decode(bytes(body), type=Standing) if body else Standing(),
        )
        for task, at, body in rows
    }


def _move_stored(
    connection: Connection,
    topic: str,
    growing: Growing,
    standings: Mapping[str, tuple[int, Standing]],
    stages: Sequence[Stage],
) -> dict[int, int]:
    """Append again, to the new partitions, what nobody has taken yet of a topic in PostgreSQL.

    Numbers go on where they stood: what was taken stays below. Returns each new partition's
    position. The rows of one key were in one partition, and stay in their order.
    """
    (reader,) = [stage.name for stage in stages if topic in stage.topics]
    newest = newest_numbers(connection)
    left: list[tuple[str, bytes]] = []
    for partition in range(growing.partitions_before):
        _, standing = standings.get(f"{reader}/{partition}", (0, Standing()))
        rows = connection.exec_driver_sql(
            "delete from topic_record where topic = %s and partition = %s and number > %s"
            " returning number, producer, body",
            (topic, partition, standing.stored.get(topic, 0)),
        )
        left += [(row[1], bytes(row[2])) for row in sorted(rows, key=lambda row: int(row[0]))]
    record = TOPICS[topic].record
    for producer, body in left:
        frame = decode_frame(body, record)
        append_rows(connection, topic, producer, frame, partitions=growing.partitions)
    return {
        partition: newest.get((topic, stored_partition(topic, partition)), 0)
        for partition in range(growing.partitions)
    }


def _grow_stage(
    connection: Connection,
    stage: Stage,
    growing: Growing,
    standings: Mapping[str, tuple[int, Standing]],
    beside: tuple[Mapping[str, Mapping[int, int]], frozenset[str]],
) -> None:
    stored, live = beside
    tasks = {p: standings.get(f"{stage.name}/{p}") for p in range(growing.partitions_before)}
    former = {partition: task[1] if task else Standing() for partition, task in tasks.items()}
    informed = growth.informed_of(stage, former)
    _rekey(
        connection,
        stage,
        rekeying.Growth(growing.partitions_before, growing.partitions, informed),
    )
    connection.exec_driver_sql(
        "insert into drained_log select * from"
        " unnest(%s::int[], %s::text[], %s::text[], %s::int[], %s::bigint[])",
        _columns(
            [(growing.former, *taken) for taken in growth.taken_numbers(stage, former)], width=5
        ),
    )
    positions = {
        partition: {
            **former[informed].stored,
            **{topic: numbers[partition] for topic, numbers in stored.items()},
        }
        for partition in range(growing.partitions)
    }
    begins = growth.first_standings(stage, former, growing.partitions, positions, live)
    watermark_at = min(task[0] if task else 0 for task in tasks.values())
    connection.exec_driver_sql(
        "insert into stage_task(task, epoch, owner, watermark_at, standing)"
        " select name, 1, 0, %s, body from unnest(%s::text[], %s::bytea[]) as n(name, body)"
        " on conflict(task) do update"
        " set watermark_at = excluded.watermark_at, standing = excluded.standing",
        (
            watermark_at,
            [f"{stage.name}/{partition}" for partition in begins],
            [msgspec.msgpack.encode(standing) for standing in begins.values()],
        ),
    )


def _columns(rows: Sequence[Sequence[Any]], *, width: int) -> tuple[list[Any], ...]:
    return tuple([row[column] for row in rows] for column in range(width))


def _rekey(connection: Connection, stage: Stage, change: rekeying.Growth) -> None:
    """Write the stage's state under its new tasks and delete what the old ones had."""
    assert rekeying.collections_of(stage.name) == set(stage.collections), stage.name
    tasks = [f"{stage.name}/{partition}" for partition in range(change.before)]
    rows = connection.exec_driver_sql(
        "delete from state_space where task = any(%s) returning task, collection, space_id",
        (tasks,),
    )
    old: dict[str, dict[int, int]] = {}
    for task, collection, space_id in rows:
        partition = int(str(task).rpartition("/")[2])
        old.setdefault(str(collection), {})[int(space_id)] = partition
    new = {
        (int(str(task).rpartition("/")[2]), str(collection)): int(space_id)
        for task, collection, space_id in connection.exec_driver_sql(
            "insert into state_space(task, collection) select %s || '/' || p, c"
            " from generate_series(0, %s - 1) as p, unnest(%s::text[]) as c"
            " returning task, collection, space_id",
            (stage.name, change.after, sorted(stage.collections)),
        )
    }
    placed = rekeying.rekeyed(
        stage.name, change, lambda name: _read(connection, name, old.get(name, {}))
    )
    for piece in _pieces(
        (new[partition, collection], key, value) for partition, collection, key, value in placed
    ):
        copy_rows(connection, "stage_state", ("int4", "text", "bytea"), piece)
    connection.exec_driver_sql(
        "delete from stage_state where space_id = any(%s)",
        ([space_id for spaces in old.values() for space_id in spaces],),
    )


def _read(
    connection: Connection, collection: str, spaces: Mapping[int, int]
) -> Iterator[rekeying.Row]:
    """Yield the rows of a collection of all old tasks, through a cursor on the server."""
    driver: Any = connection.connection.driver_connection
    order = " order by key" if collection in _BY_KEY else ""
    with driver.cursor(name=f"growing_{collection}") as cursor:
        cursor.itersize = _READ_ROWS
        cursor.execute(
            f"select space_id, key, value from stage_state where space_id = any(%s){order}",
            (list(spaces),),
        )
        for space_id, key, value in cursor:
            yield spaces[space_id], key, bytes(value)


def _pieces(
    rows: Iterable[tuple[int, str, bytes]],
) -> Iterator[list[tuple[int, str, bytes]]]:
    piece: list[tuple[int, str, bytes]] = []
    octets = 0
    for row in rows:
        piece.append(row)
        octets += len(row[1]) + len(row[2])
        if octets >= _WRITTEN_OCTETS:
            yield piece
            piece, octets = [], 0
    if piece:
        yield piece
