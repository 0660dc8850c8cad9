"""Plan documents into the database, through the API's own command."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from api.commanding import actor_of
from api.keys import OPERATOR
from api.ports import Services
from api.reads.parties import get_branch
from api.writes.plans import import_plan
from api.writes.transaction import CommandTransaction
from billing.adapters.audit import recorded, write_entry
from billing.adapters.databases import COMMANDS, take_turns, writing
from rating.plans import Plan


def import_plans(
    services: Services, branch_id: str, plans: Sequence[tuple[Path, Plan]]
) -> list[str]:
    """Import plans into a branch, all or none, and return a sentence for each.

    Problem says which plan cannot be taken, or that there is no such branch.
    """
    done = []
    with writing(services.engine) as connection:
        take_turns(connection, COMMANDS)
        get_branch(connection, branch_id, branch_id)
        transaction = CommandTransaction(services, OPERATOR, connection)
        with recorded(connection) as recorder:
            for path, plan in plans:
                kept, is_new = import_plan(transaction, branch_id, plan)
                words = "imported as" if is_new else "unchanged, it is"
                done.append(f"{path}: {words} {kept.plan_id} version {kept.version}")
        write_entry(connection, recorder, actor_of(OPERATOR), "import of plans", transaction.now_at)
    transaction.count()
    return done
