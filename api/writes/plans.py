"""Plans from a file: the next version of each, unless the newest one says the same already."""

from __future__ import annotations

import json

import msgspec
from sqlalchemy import select

from api.models.parties import PlanCreate
from api.writes.parties import create_plan
from api.writes.transaction import CommandTransaction
from billing.adapters import tables
from rating.plans import Plan, decode_plan, encode_plan


def import_plan(transaction: CommandTransaction, branch_id: str, plan: Plan) -> tuple[Plan, bool]:
    """Return the plan as it is kept, and whether that took a new version.

    The version is the database's: what the document says of it is not looked at. A plan that the
    newest version equals is left as it is, so that a file may be imported again.
    """
    newest = _newest(transaction, plan.plan_id, branch_id)
    if newest is not None:
        version, text = newest
        same = msgspec.structs.replace(plan, version=version)
        if decode_plan(text) == same:
            return same, False
    members = json.loads(encode_plan(plan))
    document = {
        name: value for name, value in members.items() if name not in ("plan_id", "version", "name")
    }
    body = PlanCreate(plan_id=plan.plan_id, branch_id=branch_id, name=plan.name, document=document)
    created = create_plan(transaction, body)
    return msgspec.structs.replace(plan, version=created.version), True


def _newest(
    transaction: CommandTransaction, plan_id: str, branch_id: str
) -> tuple[int, str] | None:
    plan = tables.plan.c
    statement = (
        select(plan.version, plan.document)
        .where(plan.plan_id == plan_id, plan.branch_id == branch_id)
        .order_by(plan.version.desc())
        .limit(1)
    )
    row = transaction.connection.execute(statement).one_or_none()
    return (int(row.version), str(row.document)) if row else None
