"""The statement of account: what stood, every invoice, note and payment, and what stands.

It is made of the ledger's own postings to a customer's receivable and credit, so its closing
balance is the ledger's by construction. What moves money between those two (an invoice takes
credit) changes nothing that a customer owes and is left out.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping

from billing.numbering import CREDIT_NOTE_SERIES, DEBIT_NOTE_SERIES

INVOICE = "invoice"

WORDS: Mapping[str, str] = {
    "invoice": "Invoice",
    "invoice_void": "Void",
    "payment": "Payment",
    "payment_reversed": "Payment reversed",
    "refund": "Refund",
    "write_off": "Written off",
    "deposit_taken": "Deposit set aside",
    "deposit_released": "Deposit released",
    CREDIT_NOTE_SERIES: "Credit note",
    DEBIT_NOTE_SERIES: "Debit note",
}
"""How a source of postings, or a series of papers, reads; another one reads as it is called."""


@dataclasses.dataclass(frozen=True, slots=True)
class Movement:
    """What one ledger transaction changed of what a customer owes; a debit is positive.

    day is the local ISO day: of an invoice that of its issue, else of the posting. paper and
    series are the number and series of the paper that it is about, empty where it is about none.
    """

    transaction_id: str
    source: str
    day: str
    chain_number: int
    currency: str
    amount_minor: int
    paper: str = ""
    series: str = ""
    description: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class StatementLine:
    """One movement as printed, with what is owed after it (below zero: credit)."""

    day: str
    kind: str
    reference: str
    amount_minor: int
    balance_minor: int
    transaction_id: str


@dataclasses.dataclass(frozen=True, slots=True)
class Statement:
    """A customer's account in one currency over local days [first_on, last_on], both included."""

    currency: str
    first_on: str
    last_on: str
    opening_minor: int
    lines: tuple[StatementLine, ...]
    debits_minor: int
    credits_minor: int
    closing_minor: int


def statements_of(movements: Iterable[Movement], first_on: str, last_on: str) -> list[Statement]:
    """Return one statement per currency, by currency; their order does not matter."""
    ordered = sorted(movements, key=lambda m: (m.currency, m.day, m.chain_number))
    groups = itertools.groupby(ordered, key=lambda m: m.currency)
    return [_statement(currency, list(some), first_on, last_on) for currency, some in groups]


def _statement(currency: str, movements: list[Movement], first_on: str, last_on: str) -> Statement:
    """Return the statement of movements of one currency in the order of their days."""
    opening = sum(m.amount_minor for m in movements if m.day < first_on)
    within = [m for m in movements if m.amount_minor and first_on <= m.day <= last_on]
    balance = opening
    lines: list[StatementLine] = []
    for movement in within:
        balance += movement.amount_minor
        lines.append(
            StatementLine(
                movement.day,
                _kind(movement),
                movement.paper or _reference(movement),
                movement.amount_minor,
                balance,
                movement.transaction_id,
            )
        )
    debits = sum(m.amount_minor for m in within if m.amount_minor > 0)
    credits = sum(m.amount_minor for m in within if m.amount_minor < 0)
    return Statement(currency, first_on, last_on, opening, tuple(lines), debits, credits, balance)


def _kind(movement: Movement) -> str:
    """Return how a movement reads: a note by its series, else by its source."""
    if movement.source == INVOICE and movement.series in WORDS:
        return WORDS[movement.series]
    return WORDS.get(movement.source, movement.source.replace("_", " ").capitalize())


def _reference(movement: Movement) -> str:
    """Return what the ledger says of a movement, without the word that its kind says already."""
    kind = _kind(movement)
    return movement.description.removeprefix(kind).strip(" :") or movement.description
