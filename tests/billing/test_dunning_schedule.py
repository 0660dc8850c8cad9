"""A schedule is data: what is wrong with it is said by member, value and what was expected."""

from __future__ import annotations

from typing import Any

import pytest

from billing.dunning_schedule import (
    DunningError,
    decode_schedule,
    encode_schedule,
    schedule_from,
    wording_of,
)

REMIND = {"step_id": "r", "days": 3, "action": "remind", "template": "overdue"}
BLOCK = {"step_id": "b", "days": 14, "action": "block"}


def document(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {"schedule_id": "homes", "name": "Homes", "steps": list(steps or (REMIND,))} | changes


def test_a_schedule_is_what_it_was_after_text() -> None:
    fee = {"step_id": "f", "days": 5, "action": "late_fee", "percent": "1.5"}
    schedule = schedule_from(document(REMIND, fee, BLOCK, minimum={"BDT": "99.50"}))
    assert decode_schedule(encode_schedule(schedule)) == schedule


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (document({**REMIND, "action": "shout"}), "Invalid enum value 'shout'"),
        (document({**REMIND, "colour": "red"}), "unknown field `colour`"),
        (document({**REMIND, "minimum": {"BDT": 5}}), "expected an exact decimal as a string"),
        (document({**REMIND, "minimum": {"XXX": "5"}}), r"steps\[0\].minimum: unknown currency"),
        (document({**REMIND, "minimum": {"BDT": "-5"}}), "minimum.BDT: expected zero or more"),
        (document({**REMIND, "template": "poem"}), "template: expected one of due_soon, .*'poem'"),
        (document(REMIND, REMIND), r"steps\[1\].step_id: expected an id of its own, got 'r'"),
        (document(BLOCK, REMIND), r"steps\[1\].days: expected 14 .* to 730, got 3"),
        (document({**BLOCK, "days": 0}), "days: expected 1 or more to block"),
        (
            document(BLOCK, {"step_id": "s", "days": 20, "action": "slow_down", "profile": "slow"}),
            "action: expected an action no milder than the ones before, got 'slow_down'",
        ),
        (
            document({"step_id": "s", "days": 20, "action": "slow_down"}),
            "profile: expected a speed profile",
        ),
        (document({**BLOCK, "profile": "slow"}), "profile: expected none with action 'block'"),
        (
            document({"step_id": "f", "days": 2, "action": "late_fee"}),
            "expected either an amount or a percent",
        ),
        (
            document({"step_id": "f", "days": 2, "action": "late_fee", "percent": "101"}),
            "percent: expected 0 to 100, got 101",
        ),
        (
            document({"step_id": "f", "days": 0, "action": "late_fee", "percent": "1"}),
            "days: expected 1 or more to charge a late fee",
        ),
        (document(acts_from_hour=24), "acts_from_hour: expected 0 to 23, got 24"),
        (document(steps=[]), "steps: expected 1 to 30, got 0"),
        (
            document(
                rest_days=[
                    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
                ]
            ),
            "rest_days: expected a day on which something can be done",
        ),
        (
            document(templates={"t": {"en": {"subject": "Hi {name.upper}", "body": "x"}}}),
            "templates.t.en.subject: expected of {name}",
        ),
        (
            document(templates={"t": {"en": {"subject": "Hi", "body": "{"}}}),
            "templates.t.en.body: ",
        ),
        (document(templates={"t": {}}), "templates.t: expected a wording"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(DunningError, match=message):
        schedule_from(wrong)


@pytest.mark.parametrize(
    ("language", "subject"),
    [
        ("bn", "ইনভয়েস {number} বকেয়া"),
        ("en", "Invoice {number} is overdue"),
        ("fr", "Invoice {number} is overdue"),
    ],
)
def test_a_reminder_speaks_the_language_or_english(language: str, subject: str) -> None:
    assert wording_of(schedule_from(document()), "overdue", language).subject == subject


def test_an_own_text_stands_before_the_built_in_one() -> None:
    own = {"overdue": {"bn": {"subject": "{number}!", "body": "{amount}"}}}
    schedule = schedule_from(document(templates=own))
    assert wording_of(schedule, "overdue", "en").subject == "{number}!"
