"""Taxes: rates from a day on, certificates of accounts, voids and notes."""

from __future__ import annotations

import datetime
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from api.instants import Instant
from api.models.values import Identity, Model, Text, example
from rating.money import parse_amount


def _is_percent(text: str) -> str:
    try:
        percent = parse_amount(text)
    except ValueError:
        percent = Fraction(-1)
    if not 0 <= percent <= 100:
        raise ValueError("a percentage from 0 to 100 as a plain decimal, such as 7.5")
    return text


Percent = Annotated[str, AfterValidator(_is_percent)]
"""A percentage in a request body."""

TaxId = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z0-9_-]+$")]
"""The id of a tax, which its ledger account bears."""

_RATE = {
    "branch_id": "dhanmondi",
    "tax_code": "internet",
    "tax_id": "vat",
    "place": "",
    "valid_from_on": "2026-07-01",
    "name": "VAT",
    "percent": "15",
    "position": 1,
    "is_compound": False,
}


class TaxRate(Model):
    """A tax that a code bears from a local day on, until the next row of the same tax and place.

    place is empty for everywhere in the branch. Taxes apply by position; a compound one stands on
    the price with the taxes before it. An empty percent ends the tax.
    """

    model_config = example(
        {**_RATE, "created_by": "Operator", "created_at": "2026-06-20T04:00:00Z"}
    )

    branch_id: str
    tax_code: str
    tax_id: str
    place: str
    valid_from_on: str
    name: str
    percent: str
    position: int
    is_compound: bool
    created_by: str
    created_at: Instant


class TaxRateCreate(Model):
    """A rate from a day on; percent left out ends the tax on that day."""

    model_config = example(_RATE)

    branch_id: Identity | None = None
    tax_code: Identity
    tax_id: TaxId
    place: str = Field(default="", max_length=64, pattern=r"^[A-Za-z0-9._:-]*$")
    valid_from_on: datetime.date
    name: Text
    percent: Percent | None = None
    position: int = Field(default=1, ge=0, le=99)
    is_compound: bool = False


_CERTIFICATE = {
    "kind": "withholding",
    "tax_id": "",
    "certificate": "AIT 2026/118",
    "percent": "10",
    "basis": "net",
    "valid_from_on": "2026-07-01",
    "valid_until_on": "2027-06-30",
}
_CERTIFICATE_OUT = {"status_id": "tax_01J9ZC", "account_id": "acc_01J9Z1", **_CERTIFICATE}


class TaxCertificate(Model):
    """What an account's certificate says, from a local day to another, both in it.

    exempt: no tax; reverse_charge: the customer owes it himself; withholding: the payer keeps
    percent of the net amount, the tax or both (gross) for the tax office. tax_id is empty for
    every tax, valid_until_on where it is open.
    """

    model_config = example(_CERTIFICATE_OUT)

    status_id: str
    account_id: str
    kind: str
    tax_id: str
    certificate: str
    percent: str
    basis: str
    valid_from_on: str
    valid_until_on: str


class TaxCertificateCreate(Model):
    """A certificate of an account. percent and basis belong to a withholding."""

    model_config = example(_CERTIFICATE)

    kind: Literal["exempt", "reverse_charge", "withholding"]
    tax_id: TaxId | Literal[""] = ""
    certificate: str = Field(default="", max_length=100)
    percent: Percent | None = None
    basis: Literal["net", "tax", "gross"] | None = None
    valid_from_on: datetime.date
    valid_until_on: datetime.date | None = None

    @model_validator(mode="after")
    def _fits(self) -> TaxCertificateCreate:
        is_withholding = self.kind == "withholding"
        if is_withholding != (self.percent is not None) or is_withholding != bool(self.basis):
            raise ValueError("percent and basis with a withholding, and with nothing else")
        if self.valid_until_on is not None and self.valid_until_on < self.valid_from_on:
            raise ValueError("valid_until_on not before valid_from_on")
        return self


class TaxCertificateEnd(Model):
    """The last day on which a certificate is valid."""

    model_config = example({"valid_until_on": "2027-03-31"})

    valid_until_on: datetime.date


_ACCOUNT = {"account_id": "acc_01J9Z1", "place": "gulshan", "tax_number": "BIN 000118-0203"}


class AccountTaxes(Model):
    """Where an account is for its taxes, its own tax number, and its certificates."""

    model_config = example({**_ACCOUNT, "certificates": [_CERTIFICATE_OUT]})

    account_id: str
    place: str
    tax_number: str
    certificates: list[TaxCertificate]


class AccountTaxesPatch(Model):
    """What may be changed; members left out stay as they are."""

    model_config = example({"place": "gulshan", "tax_number": "BIN 000118-0203"})

    place: str | None = Field(default=None, max_length=64, pattern=r"^[A-Za-z0-9._:-]*$")
    tax_number: str | None = Field(default=None, max_length=64)


class InvoiceVoid(Model):
    """Why an invoice is to be void."""

    model_config = example({"reason": "Issued to the wrong customer"})

    reason: Text


class NoteLine(Model):
    """How much of which line of the invoice a note corrects, before exclusive tax."""

    model_config = example({"line": 1, "amount_minor": 5_000})

    line: int = Field(ge=1)
    amount_minor: int = Field(gt=0, le=10**15)


_NOTE = {"reason": "Outage of 12 to 14 November", "lines": [{"line": 1, "amount_minor": 5_000}]}


class CreditNoteCreate(Model):
    """What is given back, and why; all that is left of the invoice where lines are left out."""

    model_config = example(_NOTE)

    reason: Text
    lines: list[NoteLine] | None = Field(default=None, min_length=1, max_length=1000)


class DebitNoteCreate(Model):
    """What is asked for beyond the invoice, and why."""

    model_config = example(_NOTE)

    reason: Text
    lines: list[NoteLine] = Field(min_length=1, max_length=1000)
