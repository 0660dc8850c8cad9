"""The statement of account."""

from __future__ import annotations

from api.models.values import MONEY_EXAMPLE, Model, Money, example

_LINE = {
    "day": "2026-12-01",
    "kind": "Invoice",
    "reference": "DHM-INV-000412",
    "amount": MONEY_EXAMPLE,
    "balance": MONEY_EXAMPLE,
    "transaction_id": "invoice:inv_acc_01J9Z1_2026-11-01_BDT",
}


class StatementLine(Model):
    """What one posting changed of what the customer owes, and what is owed after it.

    A debit is positive; a balance below zero is the customer's credit.
    """

    model_config = example(_LINE)

    day: str
    kind: str
    reference: str
    amount: Money
    balance: Money
    transaction_id: str


_STATEMENT = {
    "currency": "BDT",
    "opening": {"amount_minor": 0, "currency": "BDT", "text": "0.00"},
    "lines": [_LINE],
    "debits": MONEY_EXAMPLE,
    "credits": {"amount_minor": 0, "currency": "BDT", "text": "0.00"},
    "closing": MONEY_EXAMPLE,
}


class Statement(Model):
    """An account in one currency, from the opening to the closing balance."""

    model_config = example(_STATEMENT)

    currency: str
    opening: Money
    lines: list[StatementLine]
    debits: Money
    credits: Money
    closing: Money


class AccountStatement(Model):
    """An account over local days, both included: one statement per currency that it ever had."""

    model_config = example(
        {
            "account_id": "acc_01J9Z1",
            "first_on": "2026-12-01",
            "last_on": "2026-12-31",
            "statements": [_STATEMENT],
        }
    )

    account_id: str
    first_on: str
    last_on: str
    statements: list[Statement]
