"""Whose money a bank entry is: by what its text names, by who paid before, or a clerk decides.

Nothing is guessed: an amount alone suggests, and only together with the payer's name decides.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from billing.bank_statements import BankEntry

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_GAP = r"[\s\-_/.]*"


@dataclasses.dataclass(frozen=True, slots=True)
class NamedInvoice:
    """An issued invoice: open_minor is what it still asks for."""

    invoice_id: str
    number: str
    account_id: str
    account_name: str
    currency: str
    open_minor: int


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What the database knows of an entry.

    named are invoices and accounts that its text names; same_amount open invoices of exactly its
    amount (two suffice to know that it is not one); payer_accounts the accounts that money from the
    payer's bank account was for before.
    """

    named: Sequence[NamedInvoice]
    named_accounts: Sequence[str]
    payer_accounts: Sequence[str]
    same_amount: Sequence[NamedInvoice]


@dataclasses.dataclass(frozen=True, slots=True)
class Match:
    """Whose the money is, which invoices it named, and why we think so."""

    account_id: str
    invoice_ids: tuple[str, ...]
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class NoMatch:
    """Why a clerk must decide; suggestion is an account that it might be, or empty."""

    reason: str
    suggestion: str = ""


def numbers_in(text: str, prefix: str) -> list[str]:
    """Return the invoice numbers that a text may name, as they are printed, in its order.

    People write ``dhk inv 42`` for DHK-INV-000042: case, gaps and leading zeros do not matter.
    """
    head = f"{re.escape(prefix)}{_GAP}" if prefix else ""
    pattern = re.compile(rf"(?<![A-Z0-9]){head}(INV|DBN){_GAP}(\d{{1,12}})(?!\d)", re.IGNORECASE)
    found = [
        "-".join(part for part in (prefix, series.upper(), f"{int(number):06d}") if part)
        for series, number in pattern.findall(text)
    ]
    return list(dict.fromkeys(found))


def words_in(text: str) -> list[str]:
    """Return the words of a text that could be an account's id."""
    return list(dict.fromkeys(word.rstrip(".:-") for word in _WORD.findall(text)))


def decide(entry: BankEntry, facts: Facts) -> Match | NoMatch:
    """Return whose money that came is, or why nobody but a clerk can say."""
    if entry.remark:
        return NoMatch(entry.remark)
    owners = sorted({invoice.account_id for invoice in facts.named})
    if len(owners) > 1:
        return NoMatch(f"names invoices of several accounts: {', '.join(owners)}")
    if owners:
        currencies = sorted({invoice.currency for invoice in facts.named} - {entry.currency})
        if currencies:
            numbers = ", ".join(invoice.number for invoice in facts.named)
            what = f"{numbers} asks for {', '.join(currencies)}, the money is {entry.currency}"
            return NoMatch(what, owners[0])
        ids = tuple(invoice.invoice_id for invoice in facts.named)
        return Match(owners[0], ids, "names its invoice")
    for accounts, why in (
        (facts.named_accounts, "names its account"),
        (facts.payer_accounts, "paid from the same bank account before"),
    ):
        if len(accounts) > 1:
            return NoMatch(f"{why}, but there are several: {', '.join(accounts)}")
        if accounts:
            return Match(accounts[0], (), why)
    if len(facts.same_amount) != 1:
        return NoMatch("names no invoice and no account, and its amount fits not one open invoice")
    [invoice] = facts.same_amount
    if invoice.account_name.casefold().split() == entry.payer.casefold().split():
        return Match(invoice.account_id, (invoice.invoice_id,), "has an invoice's amount and name")
    return NoMatch(f"names nothing; its amount is that of {invoice.number}", invoice.account_id)
