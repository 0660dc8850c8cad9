"""Unpaid invoices day by day, as a billing clerk reads them, in every time zone.

Each story is lived hour by hour of UTC, so clock changes, month ends and leap days are passed as
they come. A day's steps are taken in the schedule's hour, wherever the branch is.
"""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from billing.adapters.dossiers import moment_at
from billing.dunning import (
    Dossier,
    InFlight,
    Moment,
    OpenItem,
    Pause,
    Received,
    TakenStep,
    decide,
)
from billing.dunning_schedule import Schedule, schedule_from
from billing.terms import due_on
from rating.periods import day_start_at

HOUR_MS = 3_600_000
ZONES = (
    "Asia/Dhaka",
    "Asia/Kathmandu",  # 5:45 h from UTC
    "Europe/Berlin",  # clocks change on 29 March 2026
    "America/New_York",  # on 8 March 2026
    "Pacific/Auckland",  # on 5 April 2026, and 13 h from UTC
)
HOMES = schedule_from(
    {
        "schedule_id": "homes",
        "name": "Homes",
        "acts_from_hour": 9,
        "minimum": {"BDT": "50"},
        "steps": [
            {"step_id": "due soon", "days": -3, "action": "remind", "template": "due_soon"},
            {"step_id": "reminder", "days": 1, "action": "remind", "template": "overdue"},
            {"step_id": "late fee", "days": 5, "action": "late_fee", "amount": {"BDT": "50"}},
            {"step_id": "slow", "days": 10, "action": "slow_down", "profile": "slow"},
            {"step_id": "garden", "days": 20, "action": "walled_garden", "profile": "garden"},
            {"step_id": "block", "days": 30, "action": "block"},
        ],
    }
)
WORDS = {"": "active", "slow_down": "slowed", "walled_garden": "walled", "block": "blocked"}

NOBODY_PAYS = """
    issued on 2026-01-31, 28 days to pay, 1000 BDT
    2026-02-25 | due soon | active
    2026-03-01 | reminder | active
    2026-03-05 | late fee | active
    2026-03-10 | slow     | slowed
    2026-03-20 | garden   | walled
    2026-03-30 | block    | blocked
"""
A_LEAP_DAY = """
    issued on 2028-01-31, 28 days to pay, 1000 BDT
    2028-02-25 | due soon | active
    2028-02-29 | reminder | active
    2028-03-04 | late fee | active
    2028-03-09 | slow     | slowed
    2028-03-19 | garden   | walled
    2028-03-29 | block    | blocked
"""
PAID_IN_THE_GARDEN = """
    issued on 2026-01-31, 28 days to pay, 1000 BDT
    pays 1000 on 2026-03-22
    2026-02-25 | due soon | active
    2026-03-01 | reminder | active
    2026-03-05 | late fee | active
    2026-03-10 | slow     | slowed
    2026-03-20 | garden   | walled
    2026-03-22 |          | active
"""
PAID_ALL_BUT_A_LITTLE = """
    issued on 2026-01-31, 28 days to pay, 1000 BDT
    pays 951 on 2026-03-12
    2026-02-25 | due soon | active
    2026-03-01 | reminder | active
    2026-03-05 | late fee | active
    2026-03-10 | slow     | slowed
    2026-03-12 |          | active
"""
A_BROKEN_PROMISE = """
    issued on 2026-01-31, 28 days to pay, 1000 BDT
    promises 1000 on 2026-03-12 until 2026-03-16
    2026-02-25 | due soon | active
    2026-03-01 | reminder | active
    2026-03-05 | late fee | active
    2026-03-10 | slow     | slowed
    2026-03-12 |          | active
    2026-03-17 |          | slowed
    2026-03-25 | garden   | walled
    2026-04-04 | block    | blocked
"""
A_KEPT_PROMISE = """
    issued on 2026-01-31, 28 days to pay, 1000 BDT
    promises 1000 on 2026-03-12 until 2026-03-16
    pays 1000 on 2026-03-16
    2026-02-25 | due soon | active
    2026-03-01 | reminder | active
    2026-03-05 | late fee | active
    2026-03-10 | slow     | slowed
    2026-03-12 |          | active
"""
A_PAYMENT_ON_ITS_WAY = """
    issued on 2026-01-31, 28 days to pay, 1000 BDT
    1000 in flight from 2026-03-19 to 2026-03-24
    2026-02-25 | due soon | active
    2026-03-01 | reminder | active
    2026-03-05 | late fee | active
    2026-03-10 | slow     | slowed
    2026-03-24 | garden   | walled
    2026-03-30 | block    | blocked
"""
STORIES = {
    "nobody pays": NOBODY_PAYS,
    "a leap day": A_LEAP_DAY,
    "paid in the garden": PAID_IN_THE_GARDEN,
    "paid all but a little": PAID_ALL_BUT_A_LITTLE,
    "a broken promise": A_BROKEN_PROMISE,
    "a kept promise": A_KEPT_PROMISE,
    "a payment on its way": A_PAYMENT_ON_ITS_WAY,
}


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("name", STORIES)
def test_a_story(name: str, zone: str) -> None:
    lines = [line.strip() for line in STORIES[name].strip().splitlines()]
    expected = [
        tuple(part.strip() for part in line.split("|")) for line in lines if line.count("|") == 2
    ]
    story = Story(zone, [line for line in lines if "|" not in line])
    assert story.live(HOMES) == expected


class Story:
    """What happens to one invoice, as the lines above a story's table say."""

    def __init__(self, zone: str, facts: list[str]) -> None:
        self.zone = zone
        self.paid: list[tuple[datetime.date, int]] = []
        self.flights: list[tuple[datetime.date, datetime.date, int]] = []
        self.pauses: list[Pause] = []
        for fact in facts:
            words = fact.replace(",", "").split()
            days = [day(word) for word in words if word.count("-") == 2]
            numbers = [int(word) * 100 for word in words if word.isdigit()]
            if words[0] == "issued":
                self.issued = days[0]
                self.due = due_on(days[0], numbers[0] // 100)
                self.total = numbers[1]
            elif words[0] == "pays":
                self.paid.append((days[0], numbers[0]))
            elif words[0] == "promises":
                made_at = day_start_at(zone, days[0])
                promise = Pause(
                    "p", "promise", "", days[0], days[1], True, made_at, None, numbers[0], "BDT"
                )
                self.pauses.append(promise)
            else:
                self.flights.append((days[0], days[1], numbers[0]))

    def live(self, schedule: Schedule) -> list[tuple[str, ...]]:
        """Live through 110 days hour by hour; return what changed, and when."""
        at = day_start_at(self.zone, self.issued)
        end_at = at + 110 * 24 * HOUR_MS
        taken: list[TakenStep] = []
        seen: list[tuple[str, ...]] = []
        before = ""
        while at < end_at:
            moment = moment_at(self.zone, at)
            decision = decide({"inv": schedule}, self.dossier(moment, taken), moment)
            names = [due.step.step_id for due in decision.steps]
            assert not names or moment.hour == schedule.acts_from_hour
            taken += [
                TakenStep("inv", due.step.step_id, due.step.action, due.step.profile, moment.today)
                for due in decision.steps
            ]
            service = decision.restriction.action if decision.restriction else ""
            if names or service != before:
                seen.append((moment.today.isoformat(), " + ".join(names), WORDS[service]))
            before = service
            at += HOUR_MS
        return seen

    def dossier(self, moment: Moment, taken: list[TakenStep]) -> Dossier:
        """Return what is known at a moment."""
        came = [(on, amount) for on, amount in self.paid if on <= moment.today]
        open_minor = self.total - sum(amount for _, amount in came)
        item = OpenItem("inv", "inv", "DHK-1", self.due, open_minor, "BDT")
        return Dossier(
            [item] if open_minor else [],
            taken,
            [pause for pause in self.pauses if pause.from_on <= moment.today],
            [Received(amount, "BDT", day_start_at(self.zone, on), on) for on, amount in came],
            [InFlight(a, "BDT") for first, end, a in self.flights if first <= moment.today < end],
        )


def day(text: str) -> datetime.date:
    """Return a day such as 2026-03-12."""
    return datetime.date.fromisoformat(text)


def test_a_branch_that_rests_on_fridays_and_holidays() -> None:
    document: dict[str, Any] = {
        "schedule_id": "homes",
        "name": "Homes",
        "acts_from_hour": 9,
        "rest_days": ["friday"],
        "steps": [{"step_id": "reminder", "days": 1, "action": "remind", "template": "overdue"}],
    }
    item = OpenItem("inv", "inv", "DHK-1", day("2026-12-10"), 100_000, "BDT")
    dossier = Dossier([item], holidays={day("2026-12-12")})
    asked = {
        text: decide({"inv": schedule_from(document)}, dossier, Moment(day(text), 9)).steps
        for text in ("2026-12-11", "2026-12-12", "2026-12-13")
    }
    assert [text for text, steps in asked.items() if steps] == ["2026-12-13"]
