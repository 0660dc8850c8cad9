"""What is to be done about unpaid invoices: a pure function of what is owed and what was done.

Days are local days of the branch. The age of an item is the days since it was due, less those on
which dunning paused (a promise, a hold, a dispute): when a pause ends, it goes on where it stood.
Steps of one day are taken together and each once; whoever was not looked at for long, because the
office stood still or a schedule is new, still sees them a day apart and in order.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction

from billing.dunning_schedule import (
    BLOCK,
    LATE_FEE,
    SEVERITY,
    TERMINATE,
    WEEKDAYS,
    Amounts,
    Schedule,
    Step,
)
from rating.money import from_minor, to_minor

PROMISE = "promise"
HOLD = "hold"
DISPUTE = "dispute"
EXEMPTION = "exemption"

_PLANNED_DAYS = 800
_DAY = datetime.timedelta(days=1)


@dataclasses.dataclass(frozen=True, slots=True)
class OpenItem:
    """What is owed by a day: an invoice, or one instalment of it. number is what is printed."""

    item_id: str
    invoice_id: str
    number: str
    due_on: datetime.date
    open_minor: int
    currency: str


@dataclasses.dataclass(frozen=True, slots=True)
class TakenStep:
    """A step that was taken, with the action and speed profile that it had then."""

    item_id: str
    step_id: str
    action: str
    profile: str
    taken_on: datetime.date


@dataclasses.dataclass(frozen=True, slots=True)
class Pause:
    """A time in which nothing new happens: to the account, or to one invoice of it.

    kind is promise, hold, dispute or exemption. Both days count; until_on None has no end yet,
    ended_on is the first day on which it no longer stood, where it was ended early. restores lifts
    meanwhile what was restricted, as a dispute always does. amount_minor is what is promised,
    outcome what became of it, once it is judged.
    """

    pause_id: str
    kind: str
    invoice_id: str
    from_on: datetime.date
    until_on: datetime.date | None
    restores: bool
    made_at: int
    ended_on: datetime.date | None = None
    amount_minor: int = 0
    currency: str = ""
    outcome: str = ""

    def covers(self, item: OpenItem) -> bool:
        """Return whether it concerns an item."""
        return self.invoice_id in ("", item.invoice_id)

    @property
    def last_on(self) -> datetime.date:
        """Return the last day on which it stands."""
        last = self.until_on or datetime.date.max
        return last if self.ended_on is None else min(last, self.ended_on - _DAY)


@dataclasses.dataclass(frozen=True, slots=True)
class Received:
    """Money that came in: when, and on which local day."""

    amount_minor: int
    currency: str
    received_at: int
    received_on: datetime.date


@dataclasses.dataclass(frozen=True, slots=True)
class InFlight:
    """A payment that was begun and has neither come nor failed; invoice_id "" names none."""

    amount_minor: int
    currency: str
    invoice_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Dossier:
    """All that an account's dunning follows from; grace_days None leaves them to the schedule."""

    items: Sequence[OpenItem]
    taken: Sequence[TakenStep] = ()
    pauses: Sequence[Pause] = ()
    received: Sequence[Received] = ()
    in_flight: Sequence[InFlight] = ()
    holidays: Collection[datetime.date] = frozenset()
    grace_days: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """When it is at the branch: the local day and hour."""

    today: datetime.date
    hour: int


@dataclasses.dataclass(frozen=True, slots=True)
class DueStep:
    """A step to be taken now. fee_minor is a late fee's amount; days_overdue as the text says."""

    item: OpenItem
    step: Step
    days_overdue: int
    fee_minor: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Restriction:
    """What an account's lines are held to, and which step did it; profile is that of a CoA."""

    action: str
    profile: str
    item_id: str
    step_id: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedStep:
    """What happens next to an item; on is None while a pause has no end."""

    item: OpenItem
    step: Step
    on: datetime.date | None


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """What to do now, and what should stand afterwards.

    promises are those whose outcome is known: pause_id → ``kept`` or ``broken``.
    """

    steps: tuple[DueStep, ...]
    restriction: Restriction | None
    promises: Mapping[str, str]


Schedules = Mapping[str, Schedule]
"""The schedule of each item: the version that stood when its invoice was issued."""


def decide(schedules: Schedules, dossier: Dossier, moment: Moment) -> Decision:
    """Return what to do about an account now; doing it and asking again returns no step."""
    steps = tuple(
        due
        for item in sorted(dossier.items, key=lambda item: (item.due_on, item.item_id))
        if item.item_id in schedules
        for due in _due_steps(schedules[item.item_id], item, dossier, moment)
    )
    taken = [*dossier.taken, *(_taken(due, moment.today) for due in steps)]
    after = standing(schedules, dataclasses.replace(dossier, taken=taken), moment)
    return dataclasses.replace(after, steps=steps)


def standing(schedules: Schedules, dossier: Dossier, moment: Moment) -> Decision:
    """Return what should stand now without any further step: for a payment's own transaction."""
    restriction = restriction_of(schedules, dossier, moment.today)
    return Decision((), restriction, promise_outcomes(dossier, moment))


def _taken(due: DueStep, today: datetime.date) -> TakenStep:
    """Return the record of a step that is taken today."""
    step = due.step
    return TakenStep(due.item.item_id, step.step_id, step.action, step.profile, today)


def age_days(item: OpenItem, pauses: Iterable[Pause], on: datetime.date) -> int:
    """Return how many days an item is overdue on a day, pauses left out; negative before it is due.

    Days that two pauses share count once.
    """
    if on <= item.due_on:
        return (on - item.due_on).days
    spans = sorted(
        (max(pause.from_on, item.due_on + _DAY), min(pause.last_on, on))
        for pause in pauses
        if pause.covers(item)
    )
    paused, reached = 0, item.due_on
    for first, last in spans:
        begin = max(first, reached + _DAY)
        if begin <= last:
            paused += (last - begin).days + 1
            reached = last
    return (on - item.due_on).days - paused


def is_paused(item: OpenItem, pauses: Iterable[Pause], on: datetime.date) -> bool:
    """Return whether anything stops an item's steps on a day."""
    return any(p.covers(item) and p.from_on <= on <= p.last_on for p in pauses)


def uncovered(dossier: Dossier) -> dict[str, int]:
    """Return what is open of each item beside payments in flight, in minor units, by item id.

    Those that name an invoice cover it first; the rest goes to the oldest.
    """
    left = {item.item_id: item.open_minor for item in dossier.items}
    ordered = sorted(dossier.items, key=lambda item: (item.due_on, item.item_id))
    for payment in sorted(dossier.in_flight, key=lambda payment: not payment.invoice_id):
        amount = payment.amount_minor
        named = [item for item in ordered if item.invoice_id == payment.invoice_id]
        for item in [*named, *ordered]:
            if item.currency == payment.currency:
                covered = min(amount, left[item.item_id])
                left[item.item_id] -= covered
                amount -= covered
    return left


def _overdue(dossier: Dossier, open_minor: Mapping[str, int], today: datetime.date) -> Amounts:
    """Return what is overdue per currency, disputed invoices left out, in major units."""
    disputes = [pause for pause in dossier.pauses if pause.kind == DISPUTE]
    sums: Amounts = {}
    for item in dossier.items:
        if item.due_on < today and not is_paused(item, disputes, today):
            amount = from_minor(open_minor[item.item_id], item.currency)
            sums[item.currency] = sums.get(item.currency, Fraction(0)) + amount
    return sums


def _minimum(schedule: Schedule, step: Step | None, currency: str) -> Fraction:
    """Return how much must be overdue for a step (None: one that the schedule has no longer)."""
    floor = schedule.minimum.get(currency, Fraction(0))
    return max(floor, step.minimum.get(currency, Fraction(0))) if step else floor


def _groups(schedule: Schedule, grace_days: int | None) -> list[tuple[int, tuple[Step, ...]]]:
    """Return (days, steps) of each day of a schedule, grace added behind the due day."""
    grace = schedule.grace_days if grace_days is None else grace_days
    return [
        (days + grace if days > 0 else days, tuple(steps))
        for days, steps in itertools.groupby(schedule.steps, key=lambda step: step.days)
    ]


def _coming(
    schedule: Schedule, item: OpenItem, dossier: Dossier, age: int
) -> list[tuple[int, tuple[Step, ...]]]:
    """Return the days of a schedule that are still to come for an item of an age, due ones first.

    What lies before the last step taken has passed, and so have notices of an invoice that is soon
    due, once it is overdue.
    """
    groups = _groups(schedule, dossier.grace_days)
    done = {step.step_id for step in dossier.taken if step.item_id == item.item_id}
    passed = max(
        (n for n, (_, steps) in enumerate(groups) if any(s.step_id in done for s in steps)),
        default=-1,
    )
    return [(days, steps) for days, steps in groups[passed + 1 :] if days > 0 or age <= 0]


def _is_rest(schedule: Schedule, holidays: Collection[datetime.date], day: datetime.date) -> bool:
    """Return whether nothing is done on a day."""
    return day in holidays or WEEKDAYS[day.weekday()] in schedule.rest_days


def _due_steps(
    schedule: Schedule, item: OpenItem, dossier: Dossier, moment: Moment
) -> list[DueStep]:
    """Return the steps of one item that are to be taken now."""
    today = moment.today
    if moment.hour < schedule.acts_from_hour or _is_rest(schedule, dossier.holidays, today):
        return []
    if is_paused(item, dossier.pauses, today):
        return []
    if any(t.item_id == item.item_id and t.taken_on >= today for t in dossier.taken):
        return []
    left = uncovered(dossier)
    open_minor = left[item.item_id]
    if open_minor <= 0:
        return []
    age = age_days(item, dossier.pauses, today)
    due = [group for group in _coming(schedule, item, dossier, age) if group[0] <= age]
    while len(due) > 1 and due[0][0] <= 0:
        del due[0]  # one notice that an invoice is soon due is enough
    basis = _basis(dossier, left, item, today)
    since = (today - item.due_on).days
    for _, steps in due:
        owing = _owing_enough(schedule, steps, item, basis)
        if owing:
            fees = [late_fee_minor(step, item.open_minor, item.currency) for step in owing]
            pairs = zip(owing, fees, strict=True)
            return [DueStep(item, step, since, fee) for step, fee in pairs]
    return []


def _basis(
    dossier: Dossier, open_minor: Mapping[str, int], item: OpenItem, today: datetime.date
) -> Fraction:
    """Return what a step's minimum is held against: what is overdue, and the item itself."""
    basis = _overdue(dossier, open_minor, today).get(item.currency, Fraction(0))
    if item.due_on >= today:
        basis += from_minor(open_minor[item.item_id], item.currency)
    return basis


def _owing_enough(
    schedule: Schedule, steps: Iterable[Step], item: OpenItem, basis: Fraction
) -> list[Step]:
    """Return the steps for which enough is owed."""
    return [step for step in steps if basis >= _minimum(schedule, step, item.currency)]


def late_fee_minor(step: Step, open_minor: int, currency: str) -> int:
    """Return a step's late fee on what is open, rounded once; 0 where it has none in a currency."""
    if step.action != LATE_FEE:
        return 0
    if not step.percent:
        return to_minor(step.amount.get(currency, Fraction(0)), currency)
    fee = from_minor(open_minor, currency) * step.percent / 100
    ceiling = step.maximum.get(currency)
    return to_minor(fee if ceiling is None else min(fee, ceiling), currency)


def restriction_of(
    schedules: Schedules, dossier: Dossier, today: datetime.date
) -> Restriction | None:
    """Return the gravest restriction that steps taken still justify, or None.

    It stands while its item is open and as much is overdue as the step asks for. A payment in
    flight lifts nothing; a pause that restores lifts it while it lasts.
    """
    items = {item.item_id: item for item in dossier.items if item.open_minor > 0}
    restoring = [p for p in dossier.pauses if p.restores or p.kind == DISPUTE]
    overdue = _overdue(dossier, {one.item_id: one.open_minor for one in dossier.items}, today)
    gravest: tuple[int, datetime.date, str, TakenStep] | None = None
    for taken in dossier.taken:
        item = items.get(taken.item_id)
        if item is None or taken.action not in SEVERITY or taken.item_id not in schedules:
            continue
        schedule = schedules[taken.item_id]
        step = next((s for s in schedule.steps if s.step_id == taken.step_id), None)
        basis = overdue.get(item.currency, Fraction(0))
        if basis < _minimum(schedule, step, item.currency):
            continue
        if is_paused(item, restoring, today):
            continue
        rank = (-SEVERITY[taken.action], item.due_on, item.item_id, taken)
        if gravest is None or rank[:3] <= gravest[:3]:
            gravest = rank
    if gravest is None:
        return None
    taken = gravest[3]
    item = items[taken.item_id]
    reason = f"invoice {item.number}, due on {item.due_on}, is not paid"
    action = BLOCK if taken.action == TERMINATE else taken.action
    return Restriction(action, taken.profile, item.item_id, taken.step_id, reason)


def promise_outcomes(dossier: Dossier, moment: Moment) -> dict[str, str]:
    """Return which promises are found kept or broken now; the others stand, or were judged.

    A promise is kept by what came in since it was made and until its day, or by owing nothing.
    """
    owed = {item.currency for item in dossier.items if item.open_minor > 0}
    outcomes: dict[str, str] = {}
    for pause in dossier.pauses:
        if pause.kind != PROMISE or pause.outcome:
            continue
        came = sum(
            received.amount_minor
            for received in dossier.received
            if received.currency == pause.currency
            and received.received_at >= pause.made_at
            and received.received_on <= pause.last_on
        )
        if came >= pause.amount_minor or pause.currency not in owed:
            outcomes[pause.pause_id] = "kept"
        elif moment.today > pause.last_on:
            outcomes[pause.pause_id] = "broken"
    return outcomes


def promise_refusal(
    schedule: Schedule | None, dossier: Dossier, promise: Pause, today: datetime.date
) -> str | None:
    """Return why a promise cannot be taken, as ``member: what was expected``, or None.

    schedule is the account's newest (None: it has none, and nothing to wait for).
    """
    owed = sum(i.open_minor for i in dossier.items if i.currency == promise.currency)
    until_on = promise.until_on or today
    if schedule is None:
        return "until_on: expected an account that is dunned"
    if not promise.amount_minor <= owed:
        return f"amount_minor: expected at most what is owed, {owed} {promise.currency}"
    latest = today + datetime.timedelta(days=schedule.promise_days_max)
    if not today <= until_on <= latest:
        return f"until_on: expected {today} to {latest}"
    promises = [pause for pause in dossier.pauses if pause.kind == PROMISE]
    if any(p.from_on <= today <= p.last_on and not p.outcome for p in promises):
        return "until_on: expected no promise that stands already"
    first = min(item.due_on for item in dossier.items)
    broken = sum(p.outcome == "broken" and p.from_on > first for p in promises)
    if broken >= schedule.broken_promises_max:
        return f"until_on: expected fewer than {broken} broken promises on what is open"
    return None


def next_step(
    schedule: Schedule, item: OpenItem, dossier: Dossier, moment: Moment
) -> PlannedStep | None:
    """Return what happens to an item next, and on which day if nothing changes; None: nothing."""
    today = moment.today
    acted = any(t.item_id == item.item_id and t.taken_on >= today for t in dossier.taken)
    left = {one.item_id: one.open_minor for one in dossier.items}
    basis = _basis(dossier, left, item, today)
    coming = [
        (days, owing)
        for days, steps in _coming(schedule, item, dossier, age_days(item, dossier.pauses, today))
        if (owing := _owing_enough(schedule, steps, item, basis))
    ]
    if not coming or item.open_minor <= 0:
        return None
    days, steps = coming[0]
    day = today + _DAY if acted else today
    for _ in range(_PLANNED_DAYS):
        pauses = dossier.pauses
        is_free = not is_paused(item, pauses, day) and not _is_rest(schedule, dossier.holidays, day)
        if is_free and age_days(item, pauses, day) >= days:
            return PlannedStep(item, steps[0], day)
        day += _DAY
    return PlannedStep(item, steps[0], None)


def version_for(versions: Sequence[tuple[int, Schedule]], issued_at: int) -> Schedule:
    """Return the version that stood at an instant (ms), of (valid from, version), in any order.

    An invoice older than all of them takes the first: it has to be dunned by something.
    """
    ordered = sorted(versions, key=lambda pair: (pair[0], pair[1].version))
    standing = [schedule for valid_from_at, schedule in ordered if valid_from_at <= issued_at]
    return standing[-1] if standing else ordered[0][1]
