"""MRR and its movements, as a table of subscriptions: (fee, from, until) in months."""

from __future__ import annotations

import datetime
from fractions import Fraction

import polars as pl
import pytest

from billing.reports.recurring import MRR, Month, churn_details, monthly_fee_minor, mrr_details
from rating.plans import plan_from

MONTH = Month("b", datetime.date(2026, 5, 1), 500, 600)
MOVEMENTS = tuple(value.name.removesuffix("_minor") for value in MRR.values)

# Subscriptions of one account as (fee, starts, ends), and what moved in [500, 600).
STORIES: dict[str, tuple[list[tuple[int, int, int | None]], dict[str, int]]] = {
    "comes": ([(100, 550, None)], {"new": 100, "closing": 100}),
    "stays": ([(100, 0, None)], {"opening": 100, "closing": 100}),
    "leaves": ([(100, 0, 560)], {"opening": 100, "churn": -100}),
    "leaves at the end": ([(100, 0, 600)], {"opening": 100, "churn": -100}),
    "left before": ([(100, 0, 500)], {}),
    "comes back": ([(100, 0, 400), (80, 599, None)], {"reactivation": 80, "closing": 80}),
    "moves up": (
        [(100, 0, 550), (150, 550, None)],
        {"opening": 100, "expansion": 50, "closing": 150},
    ),
    "moves down": (
        [(150, 0, 550), (100, 550, None)],
        {"opening": 150, "contraction": -50, "closing": 100},
    ),
    "adds one and ends one": (
        [(150, 0, 550), (100, 0, None), (60, 510, None)],
        {"opening": 250, "contraction": -90, "closing": 160},
    ),
    "comes and goes within": ([(100, 510, 590)], {}),
    "pays nothing": ([(0, 0, None)], {}),
}


def moved(subscriptions: list[tuple[int, int, int | None]]) -> pl.DataFrame:
    frame = pl.DataFrame(
        [("b", "a", "A", "BDT", *one) for one in subscriptions],
        schema={
            **dict.fromkeys(("branch_id", "account_id", "account_name", "currency"), pl.String),
            **dict.fromkeys(("fee_minor", "starts_at", "ends_at"), pl.Int64),
        },
        orient="row",
    )
    return mrr_details(frame, [MONTH])


@pytest.mark.parametrize("story", STORIES)
def test_an_account_that(story: str) -> None:
    subscriptions, expected = STORIES[story]
    found = moved(subscriptions).to_dicts()
    assert len(found) == bool(expected)
    for row in found:
        movements = {name: row[f"{name}_minor"] for name in MOVEMENTS if row[f"{name}_minor"]}
        assert movements == expected
        parts = ("opening", "new", "reactivation", "expansion", "contraction", "churn")
        assert sum(row[f"{name}_minor"] for name in parts) == row["closing_minor"]


def test_churn_counts_who_is_lost() -> None:
    [row] = churn_details(moved(STORIES["leaves"][0])).to_dicts()
    assert (row["accounts_opening"], row["accounts_lost"], row["lost_minor"]) == (1, 1, -100)
    [row] = churn_details(moved(STORIES["moves down"][0])).to_dicts()
    assert (row["accounts_lost"], row["reduced_minor"]) == (0, -50)


@pytest.mark.parametrize(
    ("cycle", "fee", "flat", "minor"),
    [
        ("monthly", "1000", None, 100000),
        ("yearly", "1000", None, 8333),
        ("quarterly", "100", "50", 5000),
        ("weekly", "100", None, 43333),
        ("daily", "10", None, 30417),
        ("monthly", "0", "300", 30000),
    ],
)
def test_a_fee_per_month(cycle: str, fee: str, flat: str | None, minor: int) -> None:
    meters = [{"meter_id": "m", "curve": {"model": "flat", "amount": flat}}] if flat else []
    plan = plan_from(
        {"plan_id": "p", "version": 1, "name": "P", "currency": "BDT", "recurring_fee": fee,
         "meters": meters}
    )  # fmt: skip
    assert monthly_fee_minor(plan, cycle) == minor
    assert Fraction(minor, 100) >= 0
