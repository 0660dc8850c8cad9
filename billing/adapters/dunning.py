"""Takes the steps that dunning decides, each once, and lifts what a payment has settled.

What is decided for an account is read again, carried out and recorded in one transaction that holds
the account's turn, so a process may die anywhere, two may run at once, and a payment that comes in
between is seen by whoever is second.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import Connection, Engine, delete, insert, select, update

from billing.adapters import notifications
from billing.adapters.charges import add_charges
from billing.adapters.databases import COMMANDS, reading, take_turns, upsert, writing
from billing.adapters.dossiers import Case, accounts_to_look_at, read_cases
from billing.adapters.dunning_tables import (
    dunning_pause,
    dunning_restriction,
    dunning_step,
)
from billing.adapters.tables import branch
from billing.charges import LATE_FEE as CHARGED_LATE
from billing.charges import Charge
from billing.config import DunningConfig
from billing.dunning import PROMISE, Decision, DueStep, decide, standing
from billing.dunning_notices import reminder_notice
from billing.dunning_schedule import LATE_FEE, REMIND, TERMINATE
from rating.money import format_minor

STEPS = "dunning_steps_taken"
RESTRICTED = "dunning_accounts_restricted"
RESTORED = "dunning_accounts_restored"
LOOKED_AT = "dunning_accounts_looked_at"
PROMISES = {"kept": "dunning_promises_kept", "broken": "dunning_promises_broken"}


class EndAccount(Protocol):
    """Ends all running subscriptions of an account inside the caller's transaction.

    It does as an API command does: the rows, and the events that tell rate. A repeat finds nothing
    to end. A failure raises, and nothing of the caller's transaction stands.
    """

    def __call__(self, connection: Connection, account_id: str, now_ms: int, /) -> int:
        """Return how many were ended."""
        ...


class DunningLoop:
    """Looks at every account that owes something, once an hour of its branch, a part at a time.

    It remembers where it is; a restart begins the hour again, which finds done what was done.
    """

    def __init__(
        self,
        engine: Engine,
        config: DunningConfig,
        channels: Sequence[str],
        end_account: EndAccount,
    ) -> None:
        """Remember the parts; channels are the names of those that the settings have."""
        self._engine = engine
        self._config = config
        self._channels = list(channels)
        self._end_account = end_account
        self._hour: dict[str, int] = {}
        self._after: dict[str, str] = {}

    def run_once(self, now_ms: int) -> Counter[str]:
        """Look at the next accounts of branches whose hour is not done; return counts by metric."""
        counts: Counter[str] = Counter()
        left = self._config.accounts_per_run
        with reading(self._engine) as connection:
            branch_ids = list(connection.scalars(select(branch.c.branch_id)))
        for branch_id in branch_ids:
            if self._is_done(branch_id, now_ms) or left <= 0:
                continue
            with reading(self._engine) as connection:
                after = self._after.get(branch_id, "")
                account_ids = accounts_to_look_at(connection, branch_id, after, left)
                cases = read_cases(connection, account_ids, now_ms)
                restricted = standing_restrictions(connection, account_ids)
            for case in cases:
                counts[LOOKED_AT] += 1
                if self._is_due(case, restricted):
                    counts += self._carry_out(case.party.account_id, now_ms)
            if len(account_ids) < left:
                self._finish(branch_id, now_ms)
            else:
                self._after[branch_id] = account_ids[-1]
            left -= len(account_ids)
        return counts

    def has_more(self) -> bool:
        """Return whether the last call left accounts for the next."""
        return bool(self._after)

    def _is_done(self, branch_id: str, now_ms: int) -> bool:
        """Return whether everybody of a branch was looked at in this hour."""
        interval_ms = self._config.look_interval_seconds * 1000
        return self._hour.get(branch_id) == now_ms // interval_ms

    def _finish(self, branch_id: str, now_ms: int) -> None:
        """Remember that everybody of a branch was looked at."""
        self._hour[branch_id] = now_ms // (self._config.look_interval_seconds * 1000)
        self._after.pop(branch_id, None)

    def _is_due(self, case: Case, restricted: dict[str, tuple[str, str, str, str]]) -> bool:
        """Return whether anything has to be written about an account."""
        decision = decide(case.schedules, case.dossier, case.moment)
        standing = restricted.get(case.party.account_id)
        return bool(decision.steps or decision.promises or _restriction_key(decision) != standing)

    def _carry_out(self, account_id: str, now_ms: int) -> Counter[str]:
        """Decide again in a transaction of its own, and do it."""
        with writing(self._engine) as connection:
            take_turns(connection, COMMANDS, turn_of(account_id))
            (case,) = read_cases(connection, [account_id], now_ms)
            decision = decide(case.schedules, case.dossier, case.moment)
            for due in decision.steps:
                effect = self._effect(connection, case, due, now_ms)
                _record(connection, case, due, effect, now_ms)
            counts = write_decision(connection, case, decision, now_ms)
        return counts + Counter({STEPS: len(decision.steps)})

    def _effect(self, connection: Connection, case: Case, due: DueStep, now_ms: int) -> str:
        """Do what a step does beside restricting, and return it in words."""
        step = due.step
        if step.action == REMIND:
            named = [c for c in self._channels if not step.channels or c in step.channels]
            notice = reminder_notice(case.schedules[due.item.item_id], due, case.party)
            if not notice.recipient and notifications.SMTP in named:
                named.remove(notifications.SMTP)
            notifications.enqueue(connection, [notice], named, now_ms)
            return f"told by {', '.join(named)}" if named else "no channel reaches the account"
        if step.action == LATE_FEE:
            return charge_late_fee(connection, case, due, now_ms)
        if step.action == TERMINATE:
            ended = self._end_account(connection, case.party.account_id, now_ms)
            return f"{ended} subscriptions ended"
        return ""


def turn_of(account_id: str) -> str:
    """Return the name of the turn that changes of an account's dunning take."""
    return f"dunning/{account_id}"


def charge_late_fee(connection: Connection, case: Case, due: DueStep, now_ms: int) -> str:
    """Put a late fee on the account's next invoice and return it in words.

    The charge's id is the item's and the step's, so the fee is there once.
    """
    item = due.item
    if not due.fee_minor:
        return f"no fee in {item.currency}"
    fee = Charge(
        charge_id=f"late_fee:{item.item_id}:{due.step.step_id}",
        branch_id=case.party.branch_id,
        account_id=case.party.account_id,
        kind=CHARGED_LATE,
        description=f"Late fee, invoice {item.number}",
        amount_minor=due.fee_minor,
        currency=item.currency,
        due_at=now_ms,
    )
    add_charges(connection, [fee])
    return f"{format_minor(due.fee_minor, item.currency)} {item.currency}"


def restore_settled(connection: Connection, account_id: str, now_ms: int) -> Counter[str]:
    """Bring what stands in line with what is owed now, in the transaction that changed it.

    For whatever lowers what an account owes or holds dunning up: payments, notes, voids, promises,
    disputes. It takes no step. Call it behind the change; it takes the account's turn.
    """
    take_turns(connection, turn_of(account_id))
    if not standing_restrictions(connection, [account_id]) and not _has_promised(
        connection, account_id
    ):
        return Counter()
    return bring_in_line(connection, account_id, now_ms)


def bring_in_line(connection: Connection, account_id: str, now_ms: int) -> Counter[str]:
    """Do as `restore_settled`, also where nothing is restricted yet: a hold that was released."""
    take_turns(connection, turn_of(account_id))
    (case,) = read_cases(connection, [account_id], now_ms)
    decision = standing(case.schedules, case.dossier, case.moment)
    return write_decision(connection, case, decision, now_ms)


def _has_promised(connection: Connection, account_id: str) -> bool:
    """Return whether a promise of the account is not judged yet."""
    row = dunning_pause.c
    query = select(row.pause_id).where(
        row.account_id == account_id, row.kind == PROMISE, row.outcome == ""
    )
    return connection.execute(query.limit(1)).first() is not None


def write_decision(
    connection: Connection, case: Case, decision: Decision, now_ms: int
) -> Counter[str]:
    """Write the restriction and the promises' outcomes of a decision; return counts by metric.

    A restriction that stands already keeps the instant since when it does.
    """
    table, account_id = dunning_restriction, case.party.account_id
    before = standing_restrictions(connection, [account_id]).get(account_id)
    counts: Counter[str] = Counter()
    wanted = decision.restriction
    if wanted is None and before is not None:
        connection.execute(delete(table).where(table.c.account_id == account_id))
        counts[RESTORED] += 1
    elif wanted is not None and _restriction_key(decision) != before:
        row = dataclasses.asdict(wanted) | {"decided_at": now_ms}
        insertion = upsert(connection, table).values(
            account_id=account_id, branch_id=case.party.branch_id, **row
        )
        connection.execute(insertion.on_conflict_do_update(index_elements=["account_id"], set_=row))
        counts[RESTRICTED] += before is None
    for pause_id, outcome in decision.promises.items():
        connection.execute(
            update(dunning_pause)
            .where(dunning_pause.c.pause_id == pause_id, dunning_pause.c.outcome == "")
            .values(outcome=outcome)
        )
        counts[PROMISES[outcome]] += 1
    return counts


def _restriction_key(decision: Decision) -> tuple[str, str, str, str] | None:
    """Return what tells a restriction from another."""
    one = decision.restriction
    return (one.action, one.profile, one.item_id, one.step_id) if one else None


def _record(
    connection: Connection,
    case: Case,
    due: DueStep,
    effect: str,
    now_ms: int,
) -> None:
    """Write that a step was taken; the key refuses a second time."""
    item, step = due.item, due.step
    schedule = case.schedules[item.item_id]
    row = {
        "account_id": case.party.account_id,
        "item_id": item.item_id,
        "step_id": step.step_id,
        "branch_id": case.party.branch_id,
        "invoice_id": item.invoice_id,
        "schedule_id": schedule.schedule_id,
        "version": schedule.version,
        "action": step.action,
        "profile": step.profile,
        "taken_on": case.moment.today.isoformat(),
        "taken_at": now_ms,
        "open_minor": item.open_minor,
        "currency": item.currency,
        "effect": effect,
    }
    connection.execute(insert(dunning_step), [row])


def standing_restrictions(
    connection: Connection, account_ids: Sequence[str]
) -> dict[str, tuple[str, str, str, str]]:
    """Return (action, profile, item, step) of what accounts are held to, by account."""
    row = dunning_restriction.c
    query = select(row.account_id, row.action, row.profile, row.item_id, row.step_id)
    found = connection.execute(query.where(row.account_id.in_(account_ids)))
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in found}
