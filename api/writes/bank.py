"""Commands on bank entries that nobody could match."""

from __future__ import annotations

from api.models.bank import BankEntry, BankEntryIgnore, BankEntryMatch
from api.reads import bank as reads
from api.reads.parties import get_account
from api.writes.payments import refusals
from api.writes.transaction import CommandTransaction
from billing.adapters import bank
from billing.matching import Match


def match_entry(transaction: CommandTransaction, entry_id: str, body: BankEntryMatch) -> BankEntry:
    """Say whose money an unmatched entry is: its payment is recorded; 409 where it is not."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    entry = reads.get_entry(connection, branch_id, entry_id)
    get_account(connection, entry.branch_id, body.account_id)
    by, now = transaction.principal.name, transaction.now_at
    match = Match(body.account_id, tuple(body.invoice_ids), f"a clerk says so: {by}")
    with refusals():
        bank.resolve_entry(connection, entry_id, match, by, now)
    transaction.counted["api_payments_recorded_total"] = 1
    return reads.get_entry(connection, branch_id, entry_id)


def ignore_entry(
    transaction: CommandTransaction, entry_id: str, body: BankEntryIgnore
) -> BankEntry:
    """Take an entry out of the queue that is no customer's money."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    reads.get_entry(connection, branch_id, entry_id)
    by, now = transaction.principal.name, transaction.now_at
    with refusals():
        bank.ignore_entry(connection, entry_id, body.reason, by, now)
    return reads.get_entry(connection, branch_id, entry_id)
