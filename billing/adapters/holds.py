"""Reads the times in which an account's services and plans rest."""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection, or_, select

from billing.adapters import service_tables
from billing.services import Hold

_HOLD = [service_tables.hold.c[field.name] for field in dataclasses.fields(Hold)]


def read_holds(connection: Connection, account_id: str, since_at: int) -> list[Hold]:
    """Return an account's holds that end after an instant (ms)."""
    table = service_tables.hold.c
    query = select(*_HOLD).where(
        table.account_id == account_id, or_(table.ends_at.is_(None), table.ends_at > since_at)
    )
    return [Hold(*row) for row in connection.execute(query.order_by(table.hold_id))]
