"""Quotes: what the rate stage would charge, line by line, and why."""

from __future__ import annotations

import datetime
import tomllib
import zoneinfo
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from billing.quoted_usage import usage_of_document
from billing.quotes import Quote, quote, quote_document
from rating.document_errors import DocumentError
from rating.plan_documents import plan_of_document, plan_of_text

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
GB = 10**9


def quoted(plan: dict[str, Any], usage: dict[str, Any]) -> Quote:
    head = {"plan_id": "p", "name": "P", "currency": "BDT"}
    return quote(plan_of_document({**head, **plan}), usage_of_document(usage))


def meter(curve: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"meters": [{"meter_id": "data", "curve": curve, **fields}]}


PER_GB = {"model": "payg", "unit_price": "5", "unit": GB}


def test_the_documents_example() -> None:
    plan = plan_of_text((EXAMPLES / "plan.toml").read_text(encoding="utf-8"), "toml")
    usage = tomllib.loads((EXAMPLES / "usage.toml").read_text(encoding="utf-8"))
    answer = quote(plan, usage_of_document(usage))
    (period,) = answer.periods
    assert (period.start_on, period.end_on) == ("2026-11-01", "2026-12-01")
    fee, data = period.lines
    assert [(step.text, step.amount) for step in fee.steps] == [
        ("recurring fee, 20 of 30 days", Fraction(1400, 3))
    ]
    assert [step.text for step in data.steps] == [
        "50 GB used",
        "of which count: local half, everything else in full",
        "first 33.33 GB included, tier to 33.33 GB (20 of 30 days of 50 GB)",
        "next 16.66 GB × 5.00 per GB",
        "fair use: speed profile slow-1m from 33,333,333,334 octets",
    ]
    assert (fee.amount_minor, data.amount_minor) == (46_667, 8_333)
    assert (period.net_minor, period.tax_minor, period.total_minor) == (55_000, 2_750, 57_750)
    assert [one.text for one in answer.happenings][-3:] == [
        "100 % of Data used",
        "speed profile slow-1m: fair use threshold reached",
        "full speed: plan home-50 version 1",
    ]
    midnight = datetime.datetime(2026, 12, 1, tzinfo=zoneinfo.ZoneInfo("Asia/Dhaka"))
    assert answer.happenings[-1].at == midnight.timestamp() * 1000


def test_steps_add_up_to_each_line() -> None:
    curve = {"model": "package", "size": 60, "package_price": "0.01"}
    usage = [{"at": f"2026-11-0{day}T10:00", "seconds": 61 * day} for day in (1, 2, 3)]
    answer = quoted(meter(curve, unit="seconds", scope="session"), {"usage": usage})
    (line,) = answer.periods[0].lines
    assert sum(step.amount or 0 for step in line.steps) == line.amount == Fraction(9, 100)
    assert sum(step.text.startswith("session ") for step in line.steps) == 3


def test_usage_of_two_months_is_two_periods() -> None:
    usage = [
        {"at": "2026-11-30T23:30", "seconds": 3600, "octets_down": 2 * GB},
        {"at": "2027-01-05T00:00", "octets_up": GB},
    ]
    answer = quoted(meter(PER_GB), {"timezone": "Asia/Kathmandu", "usage": usage})
    assert [period.start_on for period in answer.periods] == [
        "2026-11-01",
        "2026-12-01",
        "2027-01-01",
    ]
    amounts = [period.lines[0].amount for period in answer.periods]
    assert [round(float(amount), 6) for amount in amounts] == [5, 5, 5]


def test_a_prepaid_plan_takes_it_from_the_balance_until_that_is_used_up() -> None:
    usage = {"balance": "7", "usage": [{"at": "2026-11-03T10:00", "octets_down": 2 * GB}]}
    answer = quoted(meter(PER_GB) | {"kind": "prepaid"}, usage)
    assert answer.periods[0].total_minor == 1_000
    assert [one.text for one in answer.happenings] == [
        "the balance is used up",
        "blocked: balance exhausted",
    ]
    assert quote_document(answer)["pays"] == "balance"


def test_an_adjustment_is_a_line_that_says_what_it_does() -> None:
    least = {"adjustment_id": "least", "name": "Commitment", "kind": "minimum", "amount": "30"}
    usage = {"starts_on": "2026-11-16", "usage": [{"octets_down": GB}]}
    answer = quoted(meter(PER_GB) | {"adjustments": [least]}, usage)
    _, line = answer.periods[0].lines
    assert line.description == "P: Commitment"
    assert [(step.text, step.amount) for step in line.steps] == [
        ("at least 30.00 for a whole period, of all of the above together", Fraction(10))
    ]
    assert answer.periods[0].total_minor == 1_500


def test_inclusive_tax_is_inside() -> None:
    plan = {"recurring_fee": "115", "tax_rate": "0.15", "tax_inclusive": True}
    answer = quoted(plan, {"starts_on": "2026-11-01"})
    period = answer.periods[0]
    assert (period.net_minor, period.tax_minor, period.total_minor) == (10_000, 1_500, 11_500)


@pytest.mark.parametrize(
    ("usage", "message"),
    [
        ({}, "starts_on: expected a day, as no use says when it was"),
        ({"starts_on": "soon"}, 'starts_on = "soon": expected a day'),
        ({"usage": [{"at": "noon"}]}, 'usage[0].at = "noon": expected an instant'),
        (
            {"starts_on": "2026-11-02", "usage": [{"at": "2026-11-01"}]},
            'usage[0].at = "2026-11-01": expected an instant at or after',
        ),
        ({"usage": [{"octets_down": -1}]}, "usage[0].octets_down = -1: must be 0 or more"),
        ({"usage": [{"octets": 1}]}, "usage[0].octets = 1: unknown; expected one of"),
        ({"timezone": "Mars/Base"}, 'timezone = "Mars/Base": unknown time zone'),
        ({"cycle": "hourly"}, 'cycle = "hourly": expected one of'),
        ({"usage": [{"at": "2026-11-01"}] * 1_001}, "usage = "),
    ],
)
def test_a_fault_in_the_usage_is_named(usage: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        quoted({"recurring_fee": "1"}, usage)
    assert str(caught.value).startswith(message)
