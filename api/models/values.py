"""Parts that many models share: money, pages of a list, account events, problems."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from api.instants import Instant
from api.problems import invalid_field
from rating.money import minor_decimals, parse_amount

T = TypeVar("T")

Identity = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:-]+$")]
"""An id in a request body."""

Text = Annotated[str, Field(min_length=1, max_length=200)]
"""A short text in a request body."""


def amount_text(amount_minor: int, currency: str) -> str:
    """Return an exact decimal such as ``-812.50``, without separators or currency."""
    digits = minor_decimals(currency)
    whole, part = divmod(abs(amount_minor), 10**digits)
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{whole}.{part:0{digits}d}" if digits else f"{sign}{whole}"


def minor_units(text: str, currency: str) -> int:
    """Return an amount that a person typed (``500``, ``1,250.50``) in minor units.

    Raises a 422 Problem where it is no amount of the currency.
    """
    digits = minor_decimals(currency)
    plain = text.strip().replace(",", "")
    try:
        amount = parse_amount(plain) * 10**digits
    except ValueError:
        raise invalid_field("/amount", text, f"an amount of {currency} such as 500") from None
    if amount.denominator != 1 or amount <= 0:
        expected = f"an amount above zero with at most {digits} decimals"
        raise invalid_field("/amount", text, expected)
    return int(amount)


class Model(BaseModel):
    """A record of the API: unknown members of a request are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def example(value: dict[str, Any]) -> ConfigDict:
    """Return the model configuration that carries an example into OpenAPI."""
    return ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [value]})


MONEY_EXAMPLE = {"amount_minor": 81200, "currency": "BDT", "text": "812.00"}


class Money(Model):
    """An exact amount: integer minor units, and the same as decimal text."""

    model_config = example(MONEY_EXAMPLE)

    amount_minor: int
    currency: str
    text: str

    @classmethod
    def of(cls, amount_minor: int, currency: str) -> Money:
        """Return the amount with its decimal text."""
        text = amount_text(amount_minor, currency)
        return cls(amount_minor=amount_minor, currency=currency, text=text)


class Page(Model, Generic[T]):
    """A part of a list. Ask again with `cursor=next_cursor` until it is null."""

    items: list[T]
    next_cursor: str | None = Field(default=None, examples=["WyJzdWJfMDAxMiJd"])


EVENT_EXAMPLE = {
    "event_id": "evt_01J9Z4",
    "outcome": "applied",
    "reason": "",
    "decided_at": "2026-11-21T10:15:02Z",
    "status_url": "/v1/account-events/evt_01J9Z4",
}


class EventStatus(Model):
    """What became of an account event; `pending` until rating has answered."""

    model_config = example(EVENT_EXAMPLE)

    event_id: str
    outcome: Literal["pending", "applied", "duplicate", "refused"]
    reason: str = ""
    decided_at: Instant | None = None
    status_url: str

    @classmethod
    def pending(cls, event_id: str) -> EventStatus:
        """Return the status of an event that rate has not answered yet."""
        return cls(event_id=event_id, outcome="pending", status_url=status_url(event_id))


def status_url(event_id: str) -> str:
    """Return where an account event's fate can be read."""
    return f"/v1/account-events/{event_id}"


class ProblemError(Model):
    """What is wrong with one member of the body (pointer) or one parameter."""

    pointer: str | None = Field(default=None, examples=["#/user_name"])
    parameter: str | None = None
    value: Any = None
    expected: str


class ProblemDocument(BaseModel):
    """An error, as RFC 9457 problem details."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:flowrate:problem:invalid-request",
                    "title": "The request is not valid",
                    "status": 422,
                    "detail": "#/user_name: String should have at least 1 character",
                    "instance": "/v1/subscribers",
                    "errors": [
                        {
                            "pointer": "#/user_name",
                            "value": "",
                            "expected": "String should have at least 1 character",
                        }
                    ],
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[ProblemError] = []
