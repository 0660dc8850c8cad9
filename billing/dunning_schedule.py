"""A dunning schedule: what happens to an invoice that is not paid, as one frozen document.

It is JSON at every border (API, table `dunning_schedule`) and this record inside. Amounts are exact
decimal strings in major units per currency, such as ``{"BDT": "50.00"}``. Versions never change:
an invoice is dunned by the version that stood when it was issued.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal

import msgspec

from rating.money import minor_decimals
from rating.plans import decode_hook, encode_hook

REMIND = "remind"
LATE_FEE = "late_fee"
SLOW_DOWN = "slow_down"
WALLED_GARDEN = "walled_garden"
BLOCK = "block"
TERMINATE = "terminate"

SEVERITY: Mapping[str, int] = {SLOW_DOWN: 1, WALLED_GARDEN: 2, BLOCK: 3, TERMINATE: 4}
"""The actions that restrict service, mildest first; the others do not stand in it."""

Action = Literal["remind", "late_fee", "slow_down", "walled_garden", "block", "terminate"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

PLACEHOLDERS = ("name", "number", "amount", "due_on", "days_overdue", "branch", "phone")
"""What a text of a reminder may name, as ``{amount}``."""

DAYS_EARLIEST, DAYS_LATEST = -60, 730
STEPS_MAX = 30
TEXT_CHARACTERS_MAX = 4_000

Amounts = dict[str, Fraction]
"""Exact amounts in major units by currency."""


class DunningError(ValueError):
    """A schedule that makes no sense; the message names the member, its value, and what fits."""


class Wording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A reminder in one language; subject and body may name `PLACEHOLDERS`."""

    subject: str
    body: str


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One step. days count from the due day: negative before it, 0 on it.

    minimum is how much must be overdue for the step to be taken. A reminder has a template, and
    perhaps a language (empty: the branch's) and channels (empty: all that the settings have). A
    late fee has amounts, or a percent of what is open with perhaps a maximum. Slowing down and the
    walled garden have a speed profile of the settings.
    """

    step_id: str
    days: int
    action: Action
    minimum: Amounts = {}
    template: str = ""
    language: str = ""
    channels: tuple[Literal["log", "smtp", "webhook"], ...] = ()
    amount: Amounts = {}
    percent: Fraction = Fraction(0)
    maximum: Amounts = {}
    profile: str = ""


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The steps in order, and how they are taken.

    minimum stands behind every step's own. grace_days are added to the days of steps after the due
    day. No step is taken before acts_from_hour (local), on rest_days or on the branch's holidays.
    A promise may reach promise_days_max ahead, and is refused once broken_promises_max were broken
    on what is still open. templates are further texts: template → language → wording.
    """

    schedule_id: str
    name: str
    steps: tuple[Step, ...]
    version: int = 1
    minimum: Amounts = {}
    grace_days: int = 0
    acts_from_hour: int = 9
    rest_days: tuple[Weekday, ...] = ()
    promise_days_max: int = 14
    broken_promises_max: int = 1
    templates: dict[str, dict[str, Wording]] = {}


def schedule_from(document: Any) -> Schedule:
    """Return the schedule of a document. DunningError says what is wrong with which member."""
    try:
        schedule = msgspec.convert(document, Schedule, dec_hook=decode_hook)
    except (msgspec.ValidationError, ValueError) as error:
        raise DunningError(str(error)) from None
    _check_ranges(schedule)
    _check_order(schedule.steps)
    for number, step in enumerate(schedule.steps):
        _check_step(schedule, step, f"steps[{number}]")
    _check_texts(schedule.templates)
    return schedule


def encode_schedule(schedule: Schedule) -> str:
    """Return the document as JSON text."""
    return msgspec.json.encode(schedule, enc_hook=encode_hook).decode()


def decode_schedule(text: str) -> Schedule:
    """Return the schedule that `encode_schedule` wrote."""
    return msgspec.json.decode(text, type=Schedule, dec_hook=decode_hook)


def _check_ranges(schedule: Schedule) -> None:
    """Raise DunningError where a number of the schedule is out of range."""
    for name, low, high in (
        ("version", 1, 10**9),
        ("grace_days", 0, 90),
        ("acts_from_hour", 0, 23),
        ("promise_days_max", 0, 365),
        ("broken_promises_max", 1, 100),
    ):
        value = getattr(schedule, name)
        if not low <= value <= high:
            raise DunningError(f"{name}: expected {low} to {high}, got {value}")
    if not 1 <= len(schedule.steps) <= STEPS_MAX:
        raise DunningError(f"steps: expected 1 to {STEPS_MAX}, got {len(schedule.steps)}")
    if len(set(schedule.rest_days)) == len(WEEKDAYS):
        raise DunningError("rest_days: expected a day on which something can be done, got all")
    _check_amounts("minimum", schedule.minimum)


def _check_order(steps: Sequence[Step]) -> None:
    """Raise DunningError where steps have one id, go back in time, or become milder."""
    seen: set[str] = set()
    days, severity = DAYS_EARLIEST, 0
    for number, step in enumerate(steps):
        place = f"steps[{number}]"
        if not step.step_id or step.step_id in seen:
            raise DunningError(f"{place}.step_id: expected an id of its own, got {step.step_id!r}")
        seen.add(step.step_id)
        if not days <= step.days <= DAYS_LATEST:
            expected = f"{days} (the step before) to {DAYS_LATEST}"
            raise DunningError(f"{place}.days: expected {expected}, got {step.days}")
        days = step.days
        if step.action in SEVERITY:
            if step.days < 1:
                raise DunningError(f"{place}.days: expected 1 or more to {step.action}")
            if SEVERITY[step.action] < severity:
                expected = "an action no milder than the ones before"
                raise DunningError(f"{place}.action: expected {expected}, got {step.action!r}")
            severity = SEVERITY[step.action]


_MEMBERS: Mapping[str, frozenset[str]] = {
    REMIND: frozenset({"template", "language", "channels"}),
    LATE_FEE: frozenset({"amount", "percent", "maximum"}),
    SLOW_DOWN: frozenset({"profile"}),
    WALLED_GARDEN: frozenset({"profile"}),
    BLOCK: frozenset(),
    TERMINATE: frozenset(),
}
"""What each action has besides step_id, days, action and minimum."""


def _check_step(schedule: Schedule, step: Step, place: str) -> None:
    """Raise DunningError where a step lacks what its action needs, or has what it does not take."""
    for name in sorted(frozenset().union(*_MEMBERS.values()) - _MEMBERS[step.action]):
        if getattr(step, name):
            raise DunningError(f"{place}.{name}: expected none with action {step.action!r}")
    for name in ("minimum", "amount", "maximum"):
        _check_amounts(f"{place}.{name}", getattr(step, name))
    if step.action == REMIND and step.template not in {*BUILT_IN, *schedule.templates}:
        known = ", ".join(sorted({*BUILT_IN, *schedule.templates}))
        raise DunningError(f"{place}.template: expected one of {known}, got {step.template!r}")
    if step.action == LATE_FEE:
        if step.days < 1:
            raise DunningError(f"{place}.days: expected 1 or more to charge a late fee")
        if bool(step.amount) == bool(step.percent):
            raise DunningError(f"{place}: expected either an amount or a percent")
        if not 0 <= step.percent <= 100:
            raise DunningError(f"{place}.percent: expected 0 to 100, got {step.percent}")
        if step.maximum and not step.percent:
            raise DunningError(f"{place}.maximum: expected none with an amount")
    if step.action in (SLOW_DOWN, WALLED_GARDEN) and not step.profile:
        raise DunningError(f"{place}.profile: expected a speed profile of the settings")


def _check_amounts(place: str, amounts: Amounts) -> None:
    """Raise DunningError for an unknown currency, or an amount below zero."""
    for currency, amount in amounts.items():
        try:
            minor_decimals(currency)
        except ValueError as error:
            raise DunningError(f"{place}: {error}") from None
        if amount < 0:
            raise DunningError(f"{place}.{currency}: expected zero or more, got {amount}")


def _check_texts(templates: Mapping[str, Mapping[str, Wording]]) -> None:
    """Raise DunningError where a text names what nobody can fill in."""
    for template, languages in templates.items():
        if not languages:
            raise DunningError(f"templates.{template}: expected a wording in one language at least")
        for language, wording in languages.items():
            for member in ("subject", "body"):
                _check_text(f"templates.{template}.{language}.{member}", getattr(wording, member))


def _check_text(place: str, text: str) -> None:
    """Raise DunningError where a text is empty, too long, or has another placeholder."""
    if not 1 <= len(text) <= TEXT_CHARACTERS_MAX:
        expected = f"1 to {TEXT_CHARACTERS_MAX} characters"
        raise DunningError(f"{place}: expected {expected}, got {len(text)}")
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise DunningError(f"{place}: {error}") from None
    for _, name, specification, conversion in parts:
        if name is not None and (name not in PLACEHOLDERS or specification or conversion):
            known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
            raise DunningError(f"{place}: expected of {known} only, got {{{name}}}")


BUILT_IN: Mapping[str, Mapping[str, Wording]] = {
    "due_soon": {
        "en": Wording(
            "Invoice {number} is due on {due_on}",
            "Dear {name},\n\n{amount} of invoice {number} is due on {due_on}."
            " Thank you for paying in time.\n\n{branch} {phone}",
        ),
        "bn": Wording(
            "ইনভয়েস {number} পরিশোধের শেষ তারিখ {due_on}",
            "প্রিয় {name},\n\nইনভয়েস {number}-এর {amount} পরিশোধের শেষ তারিখ {due_on}।"
            " সময়মতো পরিশোধের জন্য ধন্যবাদ।\n\n{branch} {phone}",
        ),
    },
    "overdue": {
        "en": Wording(
            "Invoice {number} is overdue",
            "Dear {name},\n\n{amount} of invoice {number} was due on {due_on}, {days_overdue} days"
            " ago. Please pay, or call us where something is wrong.\n\n{branch} {phone}",
        ),
        "bn": Wording(
            "ইনভয়েস {number} বকেয়া",
            "প্রিয় {name},\n\nইনভয়েস {number}-এর {amount} পরিশোধের শেষ তারিখ ছিল {due_on},"
            " {days_overdue} দিন আগে। অনুগ্রহ করে পরিশোধ করুন, অথবা কোনো ভুল থাকলে আমাদের ফোন"
            " করুন।\n\n{branch} {phone}",
        ),
    },
    "final_notice": {
        "en": Wording(
            "Last reminder of invoice {number}",
            "Dear {name},\n\n{amount} of invoice {number} is {days_overdue} days overdue. Without"
            " your payment your service will be restricted.\n\n{branch} {phone}",
        ),
        "bn": Wording(
            "ইনভয়েস {number}-এর শেষ তাগাদা",
            "প্রিয় {name},\n\nইনভয়েস {number}-এর {amount} {days_overdue} দিন ধরে বকেয়া।"
            " পরিশোধ না করলে আপনার সংযোগ সীমিত করা হবে।\n\n{branch} {phone}",
        ),
    },
}
"""Texts that every schedule may use: template → language → wording; English stands behind all."""


def wording_of(schedule: Schedule, template: str, language: str) -> Wording:
    """Return a template's text in a language, else in English, else in the first it has."""
    languages = schedule.templates.get(template) or BUILT_IN[template]
    found = languages.get(language) or languages.get("en")
    return found or next(iter(languages.values()))
