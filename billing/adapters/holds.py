"""Reads the times in which an account's services and plans rest."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from sqlalchemy import Connection, Select, bindparam, or_, select

from billing.adapters import service_tables
from billing.services import Hold

_HOLD = [service_tables.hold.c[field.name] for field in dataclasses.fields(Hold)]


def read_holds(connection: Connection, account_id: str, since_at: int) -> list[Hold]:
    """Return an account's holds that end after an instant (ms)."""
    bounds = {"account_id": account_id, "since_at": since_at}
    return [Hold(*row) for row in connection.execute(_holds_query(), bounds)]


@functools.cache
def _holds_query() -> Select[Any]:
    """Return the query of `read_holds`, built once."""
    table = service_tables.hold.c
    return (
        select(*_HOLD)
        .where(
            table.account_id == bindparam("account_id"),
            or_(table.ends_at.is_(None), table.ends_at > bindparam("since_at")),
        )
        .order_by(table.hold_id)
    )
