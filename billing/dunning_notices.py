"""What a reminder says: a schedule's text, filled in from what is owed."""

from __future__ import annotations

import dataclasses

from billing.acting.notices import Notice
from billing.dunning import DueStep
from billing.dunning_schedule import Schedule, wording_of
from billing.printing import format_day, format_money


@dataclasses.dataclass(frozen=True, slots=True)
class Party:
    """Who is dunned, and by whom: an account with its branch, as far as texts need them."""

    account_id: str
    name: str
    email: str
    branch_id: str
    branch_name: str
    branch_phone: str
    language: str
    timezone: str


def reminder_notice(schedule: Schedule, due: DueStep, party: Party) -> Notice:
    """Return the notice of a reminder; its key makes it once per item and step.

    language is the step's, else the branch's.
    """
    item, step = due.item, due.step
    language = step.language or party.language
    wording = wording_of(schedule, step.template, language)
    values = {
        "name": party.name,
        "number": item.number,
        "amount": f"{format_money(item.open_minor, item.currency)} {item.currency}",
        "due_on": format_day(item.due_on.isoformat(), language),
        "days_overdue": max(due.days_overdue, 0),
        "branch": party.branch_name,
        "phone": party.branch_phone,
    }
    return Notice(
        "dunning",
        f"{item.item_id}:{step.step_id}",
        party.branch_id,
        party.email,
        wording.subject.format(**values),
        wording.body.format(**values).rstrip(),
    )
