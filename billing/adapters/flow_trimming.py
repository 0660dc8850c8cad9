"""Lets go of hours of flows that the warehouse has had for long.

Stages only add to `flow_hour` and `loss_hour`; nothing is added to an hour that lies further behind
than the lateness bound, a day at most. How old a row is goes by the newest row, not by the clock:
an engine that is far behind loses nothing that nobody copied yet.
"""

from __future__ import annotations

from sqlalchemy import Engine, Table, delete, func, select

from billing.adapters import tables
from billing.adapters.databases import reading, writing

HOURS_PER_RUN = 24
"""Most hours of a table that one run deletes, each in a transaction of its own."""


def trim_flow_hours(engine: Engine, days: int) -> int:
    """Delete rows of hours more than `days` behind the newest; return how many."""
    return sum(_trim(engine, table, days * 24) for table in (tables.flow_hour, tables.loss_hour))


def _trim(engine: Engine, table: Table, hours: int) -> int:
    with reading(engine) as connection:
        span = select(func.min(table.c.hour), func.max(table.c.hour))
        oldest, newest = connection.execute(span).one()
        if oldest is None or oldest >= newest - hours:
            return 0
        due = select(table.c.hour).where(table.c.hour < newest - hours).distinct()
        found = list(connection.scalars(due.order_by(table.c.hour).limit(HOURS_PER_RUN)))
    deleted = 0
    for hour in found:
        with writing(engine) as connection:
            deleted += connection.execute(delete(table).where(table.c.hour == hour)).rowcount
    return deleted
