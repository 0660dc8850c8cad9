"""Quotes: what a plan would charge for some usage, with every step."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from api.instants import Instant
from api.models.values import Identity, Model, Money, example

_USAGE = {
    "starts_on": "2026-11-01",
    "usage": [{"at": "2026-11-03T20:15", "seconds": 3600, "octets_down": 120_000_000_000}],
}


class QuoteCreate(Model):
    """A plan, by id or as a document, and the usage to price; nothing is kept.

    usage is a document as `flowrate quote --usage` takes it: `timezone`, `cycle`, `anchor_day`,
    `starts_on`, `balance` and `usage` with `at`, `seconds`, `octets_up`, `octets_down`,
    `traffic_class`, `session`. Time zone and start are the branch's and today where left out.
    """

    model_config = example({"plan_id": "home-40", "usage": _USAGE})

    plan_id: Identity | None = None
    plan_version: int | None = Field(default=None, ge=1)
    document: dict[str, Any] | None = None
    usage: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_one_plan(self) -> QuoteCreate:
        if (self.plan_id is None) == (self.document is None):
            raise ValueError("either plan_id or document")
        return self


class QuoteStep(Model):
    """One step of the reasoning, and what it adds as text; null where it adds nothing."""

    text: str
    amount: str | None


class QuoteLine(Model):
    """A fee (meter_id empty) or what a meter counted, priced."""

    description: str
    meter_id: str
    unit: str
    quantity: int
    steps: list[QuoteStep]
    amount_exact: str
    amount: Money


class QuoteTax(Model):
    """Tax at one rate on a period's lines; inclusive where the lines hold it already."""

    percent: str
    is_inclusive: bool
    net: Money
    tax: Money


class QuotePeriod(Model):
    """One billing period, [start_on, end_on)."""

    start_on: str
    end_on: str
    lines: list[QuoteLine]
    taxes: list[QuoteTax]
    net: Money
    tax: Money
    total: Money


class QuoteHappening(Model):
    """What the usage brings about on its way: an alert, a throttle, an empty balance."""

    at: Instant
    text: str


_MONEY = {"amount_minor": 90000, "currency": "BDT", "text": "900.00"}
_TAX = {"amount_minor": 4500, "currency": "BDT", "text": "45.00"}
_TOTAL = {"amount_minor": 94500, "currency": "BDT", "text": "945.00"}


class Quote(Model):
    """What the plan would charge; pays says who: an invoice, or the prepaid balance."""

    model_config = example(
        {
            "plan_id": "home-40",
            "plan_name": "Home 40",
            "currency": "BDT",
            "timezone": "Asia/Dhaka",
            "pays": "invoice",
            "periods": [
                {
                    "start_on": "2026-11-01",
                    "end_on": "2026-12-01",
                    "lines": [
                        {
                            "description": "Home 40: data",
                            "meter_id": "data",
                            "unit": "octets",
                            "quantity": 190_000_000_000,
                            "steps": [
                                {"text": "190 GB used", "amount": None},
                                {"text": "100 GB included", "amount": None},
                                {"text": "90 GB × 10.00 per GB", "amount": "900.00"},
                            ],
                            "amount_exact": "900",
                            "amount": _MONEY,
                        }
                    ],
                    "taxes": [{"percent": "5", "is_inclusive": False, "net": _MONEY, "tax": _TAX}],
                    "net": _MONEY,
                    "tax": _TAX,
                    "total": _TOTAL,
                }
            ],
            "happenings": [{"at": "2026-11-03T14:58:00Z", "text": "100 % of data used"}],
            "total": _TOTAL,
        }
    )

    plan_id: str
    plan_name: str
    currency: str
    timezone: str
    pays: Literal["invoice", "balance"]
    periods: list[QuotePeriod]
    happenings: list[QuoteHappening]
    total: Money
