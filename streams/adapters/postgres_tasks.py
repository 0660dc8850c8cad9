"""Who owns a task and how far it is: `stage_task`, fenced by an epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

Begin = Callable[[], AbstractContextManager[Connection]]

_TRIES = 5
_TRY_AGAIN = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
"""A living owner's round locks the same rows in another order."""
_OWNER_WAIT_MILLISECONDS = 2_000
_END_OWNERS = (
    "select pg_terminate_backend(a.pid) from stage_task t"
    " join pg_stat_activity a on a.pid = t.owner"
    " where t.task = any(%s) and a.pid <> pg_backend_pid() and a.usename = current_user"
    " and a.datname = current_database() and a.state <> 'idle'"
)


class OwnershipLostError(RuntimeError):
    """Another worker took a task over: this one may write nothing more for it."""


def take_epochs(begin: Begin, tasks: Sequence[str]) -> dict[str, int]:
    """Become the owner of tasks; return the new epoch of each.

    Waits a little for a transaction of the former owner that is under way: what it commits stands.
    One that goes on for longer belongs to a worker that stands still, and is ended by the server.
    """
    for _ in range(_TRIES):
        try:
            with begin() as connection:
                return _take_epochs(connection, tasks)
        except OperationalError as error:
            if not isinstance(error.orig, _TRY_AGAIN):
                raise
        with begin() as connection:
            connection.exec_driver_sql(_END_OWNERS, (list(tasks),))
    raise OwnershipLostError(f"{', '.join(tasks)}: somebody else does not let go of them")


def _take_epochs(connection: Connection, tasks: Sequence[str]) -> dict[str, int]:
    connection.exec_driver_sql(f"set local lock_timeout = {_OWNER_WAIT_MILLISECONDS}")
    rows = connection.exec_driver_sql(
        "insert into stage_task(task, epoch, owner, watermark_at, standing)"
        " select name, 1, pg_backend_pid(), 0, ''"
        ' from unnest(%s::text[]) as name order by name collate "C"'
        " on conflict(task) do update set epoch = stage_task.epoch + 1,"
        " owner = excluded.owner returning task, epoch",
        (list(tasks),),
    )
    return {str(task): int(epoch) for task, epoch in rows}


def load_standing(connection: Connection, tasks: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    """Return each task's watermark (ms) and encoded standing, empty where it never ran."""
    rows = connection.exec_driver_sql(
        "select task, watermark_at, standing from stage_task where task = any(%s)", (list(tasks),)
    )
    return {str(task): (int(at), bytes(standing)) for task, at, standing in rows}


def save_standings(
    connection: Connection, standings: Sequence[tuple[str, int, int, bytes]]
) -> None:
    """Save (task, epoch, watermark in ms, encoded standing) of each task.

    OwnershipLostError where a task's epoch is another one: the caller must roll back.
    """
    tasks, epochs, watermarks, encoded = (list(column) for column in zip(*standings, strict=True))
    saved = connection.exec_driver_sql(
        "update stage_task as t set watermark_at = n.watermark_at, standing = n.standing,"
        " owner = pg_backend_pid()"
        " from unnest(%b::text[], %b::bigint[], %b::bigint[], %b::bytea[])"
        " as n(task, epoch, watermark_at, standing) where t.task = n.task and t.epoch = n.epoch",
        (tasks, epochs, watermarks, encoded),
    )
    if saved.rowcount != len(standings):
        raise OwnershipLostError(f"one of {', '.join(tasks)} was taken over by another worker")
