"""Versions of what is sold or applied by id: the next one never changes those before."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, func, select

from api.problems import Problem
from api.writes.transaction import CommandTransaction


def next_version(
    transaction: CommandTransaction, key: Column[Any], wanted: str, branch_id: str, what: str
) -> int:
    """Return the number of an id's next version; a 409 Problem where another branch has the id.

    key is the id's column, in a table with `version` and `branch_id`; what names it in the Problem.
    """
    columns = key.table.c
    newest, owner = transaction.connection.execute(
        select(func.max(columns.version), func.min(columns.branch_id)).where(key == wanted)
    ).one()
    if newest is not None and owner != branch_id:
        raise Problem("conflict", f"The {what} id {wanted!r} is taken.")
    return (newest or 0) + 1
