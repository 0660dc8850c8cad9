"""What dunning decides, day by day: tables that a billing clerk can read."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from billing.dunning import (
    DISPUTE,
    EXEMPTION,
    HOLD,
    PROMISE,
    Dossier,
    InFlight,
    Moment,
    OpenItem,
    Pause,
    Received,
    TakenStep,
    age_days,
    decide,
    late_fee_minor,
    next_step,
    promise_outcomes,
    restriction_of,
    uncovered,
    version_for,
)
from billing.dunning_schedule import Schedule, schedule_from

DAY_MS = 86_400_000


def day(text: str) -> datetime.date:
    """``12-15`` is 15 December 2026; ``2027-01-02`` is itself."""
    return datetime.date.fromisoformat(text if len(text) > 5 else f"2026-{text}")


def homes(**changes: Any) -> Schedule:
    """Return the schedule of most tests."""
    document = {
        "schedule_id": "homes",
        "name": "Homes",
        "acts_from_hour": 9,
        "steps": [
            {"step_id": "soon", "days": -3, "action": "remind", "template": "due_soon"},
            {"step_id": "reminder", "days": 3, "action": "remind", "template": "overdue"},
            {"step_id": "fee", "days": 3, "action": "late_fee", "amount": {"BDT": "50.00"}},
            {"step_id": "slow", "days": 7, "action": "slow_down", "profile": "slow"},
            {"step_id": "garden", "days": 10, "action": "walled_garden", "profile": "garden"},
            {"step_id": "block", "days": 14, "action": "block"},
            {"step_id": "end", "days": 60, "action": "terminate"},
        ],
    } | changes
    return schedule_from(document)


def item(due: str = "12-15", **changes: Any) -> OpenItem:
    """Return an open invoice of 1,000.00."""
    whole = OpenItem("inv-1", "inv-1", "DHK-1", day(due), 100_000, "BDT")
    return dataclasses.replace(whole, **changes)


def pause(kind: str, first: str, last: str | None, **changes: Any) -> Pause:
    """Return a pause of the account, both days counting."""
    whole = Pause("p1", kind, "", day(first), day(last) if last else None, False, 0)
    return dataclasses.replace(whole, **changes)


def days_of(
    dossier: Dossier, schedule: Schedule, first: str, last: str, hour: int = 10
) -> list[tuple[str, str, str]]:
    """Live through days; return (day, steps taken, what is restricted) of those with a change."""
    schedules = {one.item_id: schedule for one in dossier.items}
    today, seen, before = day(first), [], ""
    while today <= day(last):
        decision = decide(schedules, dossier, Moment(today, hour))
        steps = [due.step.step_id for due in decision.steps]
        done = [
            TakenStep(d.item.item_id, d.step.step_id, d.step.action, d.step.profile, today)
            for d in decision.steps
        ]
        dossier = dataclasses.replace(dossier, taken=[*dossier.taken, *done])
        again = decide(schedules, dossier, Moment(today, hour))
        assert again.steps == (), "a second look on the same day takes no step"
        assert again.restriction == decision.restriction
        now = decision.restriction.action if decision.restriction else ""
        if steps or now != before:
            seen.append((today.isoformat()[5:], " + ".join(steps), now))
        before = now
        today += datetime.timedelta(days=1)
    return seen


WHOLE_WAY = [
    ("12-12", "soon", ""),
    ("12-18", "reminder + fee", ""),
    ("12-22", "slow", "slow_down"),
    ("12-25", "garden", "walled_garden"),
    ("12-29", "block", "block"),
    ("02-13", "end", "block"),
]


def test_an_invoice_that_nobody_pays() -> None:
    assert days_of(Dossier([item()]), homes(), "12-01", "2027-03-01") == WHOLE_WAY


def test_before_its_hour_nothing_is_done() -> None:
    assert days_of(Dossier([item()]), homes(), "12-01", "12-31", hour=8) == []


def test_rest_days_and_holidays_wait_for_the_next_day() -> None:
    fridays = homes(rest_days=["friday"])
    dossier = Dossier([item()], holidays={day("12-22"), day("12-23")})
    assert days_of(dossier, fridays, "12-01", "12-31") == [
        ("12-12", "soon", ""),
        ("12-19", "reminder + fee", ""),  # the 18th is a Friday
        ("12-24", "slow", "slow_down"),  # after two holidays
        ("12-26", "garden", "walled_garden"),  # the 25th is a Friday
        ("12-29", "block", "block"),
    ]


def test_grace_days_shift_what_comes_after_the_due_day() -> None:
    dossier = Dossier([item()], grace_days=2)
    assert [seen[0] for seen in days_of(dossier, homes(), "12-01", "12-31")] == [
        "12-12",
        "12-20",
        "12-24",
        "12-27",
        "12-31",
    ]


def test_an_office_that_stood_still_goes_on_a_day_at_a_time() -> None:
    assert days_of(Dossier([item()]), homes(), "2027-01-10", "2027-01-20") == [
        ("01-10", "reminder + fee", ""),
        ("01-11", "slow", "slow_down"),
        ("01-12", "garden", "walled_garden"),
        ("01-13", "block", "block"),
    ]


@pytest.mark.parametrize("kind", [PROMISE, HOLD, DISPUTE, EXEMPTION])
def test_a_pause_stops_the_clock_and_it_goes_on_where_it_stood(kind: str) -> None:
    """Slowed down on the 22nd; paused from the 23rd to the 27th; five days later everything."""
    dossier = Dossier(
        [item()], pauses=[pause(kind, "12-23", "12-27", amount_minor=1, currency="BDT")]
    )
    expected = [*WHOLE_WAY[:3], ("12-30", "garden", "walled_garden")]
    if kind == DISPUTE:
        expected[3:] = [("12-23", "", ""), ("12-28", "", "slow_down"), *expected[3:]]
    assert days_of(dossier, homes(), "12-01", "2027-01-01") == expected


def test_a_promise_that_restores_lifts_the_restriction_until_it_is_broken() -> None:
    promise = pause(PROMISE, "12-24", "12-26", restores=True, amount_minor=1, currency="BDT")
    assert days_of(Dossier([item()], pauses=[promise]), homes(), "12-22", "12-30") == [
        ("12-22", "reminder + fee", ""),
        ("12-23", "slow", "slow_down"),
        ("12-24", "", ""),
        ("12-27", "", "slow_down"),
        ("12-28", "garden", "walled_garden"),
    ]


def test_days_of_two_pauses_count_once() -> None:
    pauses = [pause(HOLD, "12-18", "12-20"), pause(PROMISE, "12-20", "12-21")]
    ages = [
        age_days(item(), pauses, day(on)) for on in ("12-14", "12-15", "12-17", "12-21", "12-24")
    ]
    assert ages == [-1, 0, 2, 2, 5]


@pytest.mark.parametrize(
    ("paused", "age"),
    [
        (pause(HOLD, "12-01", "12-17"), 3),  # what lies before the due day does not count
        (pause(HOLD, "12-17", None), 1),  # without end
        (pause(HOLD, "12-17", None, ended_on=day("12-19")), 3),  # released on the 19th
        (pause(DISPUTE, "12-17", None, invoice_id="inv-1"), 1),
        (pause(DISPUTE, "12-17", None, invoice_id="inv-9"), 5),  # another invoice's
    ],
)
def test_the_age_on_the_20th_of_an_invoice_due_on_the_15th(paused: Pause, age: int) -> None:
    assert age_days(item(), [paused], day("12-20")) == age


def test_a_hold_without_end_plans_nothing() -> None:
    dossier = Dossier([item()], pauses=[pause(HOLD, "12-17", None)])
    planned = next_step(homes(), item(), dossier, Moment(day("12-20"), 10))
    assert planned is not None
    assert (planned.step.step_id, planned.on) == ("reminder", None)


@pytest.mark.parametrize(
    ("in_flight", "steps"),
    [
        ([], ["reminder", "fee"]),
        ([InFlight(100_000, "BDT")], []),
        ([InFlight(100_000, "BDT", "inv-1")], []),
        ([InFlight(60_000, "BDT"), InFlight(40_000, "BDT")], []),
        ([InFlight(99_999, "BDT")], ["reminder", "fee"]),  # one poisha is not on its way
        ([InFlight(100_000, "USD")], ["reminder", "fee"]),
    ],
)
def test_no_step_is_taken_on_a_payment_in_flight(
    in_flight: list[InFlight], steps: list[str]
) -> None:
    dossier = Dossier([item()], in_flight=in_flight)
    decision = decide({"inv-1": homes()}, dossier, Moment(day("12-18"), 10))
    assert [due.step.step_id for due in decision.steps] == steps


def test_a_payment_in_flight_lifts_nothing() -> None:
    taken = TakenStep("inv-1", "slow", "slow_down", "slow", day("12-22"))
    dossier = Dossier([item()], [taken], in_flight=[InFlight(100_000, "BDT")])
    restriction = restriction_of({"inv-1": homes()}, dossier, day("12-26"))
    assert restriction is not None
    assert restriction.action == "slow_down"
    assert restriction.reason == "invoice DHK-1, due on 2026-12-15, is not paid"


def test_a_payment_in_flight_covers_the_invoice_that_it_names_then_the_oldest() -> None:
    items = [
        item(item_id=f"inv-{n}", invoice_id=f"inv-{n}", due_on=day(f"12-1{n}")) for n in (1, 2, 3)
    ]
    dossier = Dossier(items, in_flight=[InFlight(120_000, "BDT", "inv-2"), InFlight(30_000, "BDT")])
    assert uncovered(dossier) == {"inv-1": 50_000, "inv-2": 0, "inv-3": 100_000}


@pytest.mark.parametrize(
    ("open_minor", "restricted"),
    [(100_000, True), (20_000, True), (19_999, False), (0, False)],
)
def test_the_restriction_is_lifted_when_less_than_the_minimum_is_overdue(
    open_minor: int, restricted: bool
) -> None:
    schedule = homes(minimum={"BDT": "200.00"})
    taken = TakenStep("inv-1", "block", "block", "", day("12-29"))
    dossier = Dossier([item(open_minor=open_minor)], [taken])
    found = restriction_of({"inv-1": schedule}, dossier, day("2027-01-02"))
    assert (found is not None) is restricted


def test_a_step_whose_minimum_is_not_reached_is_passed_by_and_the_next_is_taken() -> None:
    document = [
        {"step_id": "fee", "days": 3, "action": "late_fee", "amount": {"BDT": "50"},
         "minimum": {"BDT": "2000"}},
        {"step_id": "slow", "days": 7, "action": "slow_down", "profile": "slow"},
    ]  # fmt: skip
    assert days_of(Dossier([item()]), homes(steps=document), "12-15", "12-31") == [
        ("12-22", "slow", "slow_down")
    ]


def test_the_minimum_is_held_against_everything_overdue() -> None:
    schedule = homes(minimum={"BDT": "1500"})
    second = item("12-16", item_id="inv-2", invoice_id="inv-2", number="DHK-2")
    seen = days_of(Dossier([item(), second]), schedule, "12-01", "12-19")
    assert seen == [
        ("12-16", "soon", ""),  # of the second: 1,000 is overdue and as much due today
        ("12-18", "reminder + fee", ""),
        ("12-19", "reminder + fee", ""),
    ]


def test_the_gravest_of_several_invoices_restricts() -> None:
    second = item("12-01", item_id="inv-0", invoice_id="inv-0", number="DHK-0")
    taken = [
        TakenStep("inv-1", "slow", "slow_down", "slow", day("12-22")),
        TakenStep("inv-0", "block", "block", "", day("12-15")),
    ]
    schedules = {"inv-0": homes(), "inv-1": homes()}
    both = restriction_of(schedules, Dossier([item(), second], taken), day("12-23"))
    assert both is not None
    assert (both.action, both.item_id) == ("block", "inv-0")
    paid = dataclasses.replace(second, open_minor=0)
    one = restriction_of(schedules, Dossier([item(), paid], taken), day("12-23"))
    assert one is not None
    assert (one.action, one.profile, one.item_id) == ("slow_down", "slow", "inv-1")


@pytest.mark.parametrize(
    ("came", "today", "outcome"),
    [
        ([], "12-20", None),
        ([], "12-21", "broken"),
        ([(50_000, "12-20")], "12-20", "kept"),
        ([(50_000, "12-21")], "12-21", "broken"),  # a day too late
        ([(49_999, "12-19")], "12-21", "broken"),
        ([(25_000, "12-19"), (25_000, "12-20")], "12-21", "kept"),
        ([(90_000, "12-17")], "12-21", "broken"),  # before it was made
    ],
)
def test_a_promise_of_500_made_on_the_18th_until_the_20th(
    came: list[tuple[int, str]], today: str, outcome: str | None
) -> None:
    def at(text: str) -> int:
        return day(text).toordinal() * DAY_MS

    promise = pause(
        PROMISE, "12-18", "12-20", amount_minor=50_000, currency="BDT", made_at=at("12-18")
    )
    received = [Received(amount, "BDT", at(on), day(on)) for amount, on in came]
    dossier = Dossier([item()], pauses=[promise], received=received)
    found = promise_outcomes(dossier, Moment(day(today), 10))
    assert found == ({} if outcome is None else {"p1": outcome})


def test_a_promise_is_kept_when_nothing_is_owed_any_more() -> None:
    promise = pause(PROMISE, "12-18", "12-20", amount_minor=50_000, currency="BDT")
    assert promise_outcomes(Dossier([], pauses=[promise]), Moment(day("12-25"), 10)) == {
        "p1": "kept"
    }


@pytest.mark.parametrize(
    ("fee", "open_minor", "expected"),
    [
        ({"amount": {"BDT": "50.00"}}, 100_000, 5_000),
        ({"amount": {"USD": "5.00"}}, 100_000, 0),  # none in this currency
        ({"percent": "2"}, 100_025, 2_001),  # 20.005 is rounded half up
        ({"percent": "2", "maximum": {"BDT": "15"}}, 100_000, 1_500),
        ({"percent": "2", "maximum": {"USD": "1"}}, 100_000, 2_000),
    ],
)
def test_late_fees(fee: dict[str, Any], open_minor: int, expected: int) -> None:
    schedule = homes(steps=[{"step_id": "fee", "days": 3, "action": "late_fee", **fee}])
    assert late_fee_minor(schedule.steps[0], open_minor, "BDT") == expected


def test_a_new_version_takes_nothing_again_that_has_passed() -> None:
    """A reminder that a later version puts before the block is not sent behind it."""
    taken = [TakenStep("inv-1", "block", "block", "", day("12-29"))]
    decision = decide({"inv-1": homes()}, Dossier([item()], taken), Moment(day("2027-01-02"), 10))
    assert decision.steps == ()


@pytest.mark.parametrize(("issued_at", "version"), [(5, 1), (10, 1), (19, 1), (20, 2), (99, 2)])
def test_the_version_that_stood_when_the_invoice_was_issued(issued_at: int, version: int) -> None:
    versions = [(20, homes(version=2)), (10, homes(version=1))]
    assert version_for(versions, issued_at).version == version


@pytest.mark.parametrize(
    ("today", "step", "on"),
    [
        ("12-01", "soon", "12-12"),
        ("12-13", "soon", "12-13"),
        ("12-16", "reminder", "12-18"),
        ("12-30", "reminder", "12-30"),
    ],
)
def test_what_is_planned_next(today: str, step: str, on: str) -> None:
    planned = next_step(homes(), item(), Dossier([item()]), Moment(day(today), 10))
    assert planned is not None
    assert (planned.step.step_id, planned.on) == (step, day(on))


def test_after_todays_step_the_next_is_planned_for_another_day() -> None:
    taken = [TakenStep("inv-1", "reminder", "remind", "", day("12-30"))]
    planned = next_step(homes(), item(), Dossier([item()], taken), Moment(day("12-30"), 10))
    assert planned is not None
    assert (planned.step.step_id, planned.on) == ("slow", day("12-31"))
