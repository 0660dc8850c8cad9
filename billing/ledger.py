"""The double-entry ledger: frozen transactions whose entries sum to zero per currency.

A debit is positive, a credit negative. A transaction is never changed: a mistake is answered by
another transaction. Its business key `(source, idempotency_key)` makes a repeat a duplicate, and
each branch's transactions form a hash chain, so a row changed behind our back is found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from billing.canonical import content_hash
from billing.taxes import PLAN_TAX

GENESIS_HASH = "0" * 64
"""What stands before the first transaction of a branch's chain."""


@dataclasses.dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of the chart: kind is asset, liability, income or expense.

    per_customer says that each customer has a sub-account of it.
    """

    code: str
    kind: str
    name: str
    per_customer: bool


RECEIVABLE = "receivable"
UNBILLED = "unbilled"
CASH = "cash"
PREPAID = "prepaid"
VOUCHERS = "vouchers"
TAX_PAYABLE = "tax_payable"
TAX_WITHHELD = "tax_withheld"
REVENUE_USAGE = "revenue_usage"
REVENUE_RECURRING = "revenue_recurring"
REVENUE_QUOTA = "revenue_quota"
REVENUE_ONE_OFF = "revenue_one_off"
REVENUE_FEES = "revenue_fees"
DISCOUNTS = "discounts"
ADJUSTMENTS = "adjustments"
BANK = "bank"
TILL = "till"
CUSTOMER_CREDIT = "customer_credit"
DEPOSITS = "deposits"
BAD_DEBT = "bad_debt"
CASH_DIFFERENCE = "cash_difference"
PETTY_EXPENSES = "petty_expenses"
EXCHANGE = "exchange"
EXCHANGE_DIFFERENCE = "exchange_difference"

CHART: Mapping[str, ChartLine] = {
    line.code: line
    for line in (
        ChartLine(RECEIVABLE, "asset", "Trade receivables", per_customer=True),
        ChartLine(UNBILLED, "asset", "Usage not yet invoiced", per_customer=True),
        ChartLine(CASH, "asset", "Cash and bank", per_customer=False),
        ChartLine(PREPAID, "liability", "Prepaid balances", per_customer=True),
        ChartLine(VOUCHERS, "liability", "Vouchers not redeemed", per_customer=False),
        ChartLine(TAX_PAYABLE, "liability", "Tax payable", per_customer=False),
        ChartLine(TAX_WITHHELD, "asset", "Tax withheld by customers", per_customer=True),
        ChartLine(REVENUE_USAGE, "income", "Usage revenue", per_customer=False),
        ChartLine(REVENUE_RECURRING, "income", "Recurring revenue", per_customer=False),
        ChartLine(REVENUE_QUOTA, "income", "Quota sold from balances", per_customer=False),
        ChartLine(REVENUE_ONE_OFF, "income", "Revenue of single sales", per_customer=False),
        ChartLine(REVENUE_FEES, "income", "Late fees", per_customer=False),
        ChartLine(DISCOUNTS, "income", "Discounts given", per_customer=False),
        ChartLine(ADJUSTMENTS, "income", "Adjustments", per_customer=False),
        ChartLine(BANK, "asset", "Bank accounts", per_customer=False),
        ChartLine(TILL, "asset", "Cash in tills", per_customer=False),
        ChartLine(CUSTOMER_CREDIT, "liability", "Customer credit", per_customer=True),
        ChartLine(DEPOSITS, "liability", "Customers' deposits", per_customer=True),
        ChartLine(BAD_DEBT, "expense", "Bad debt", per_customer=False),
        ChartLine(CASH_DIFFERENCE, "expense", "Cash over and short", per_customer=False),
        ChartLine(PETTY_EXPENSES, "expense", "Petty expenses", per_customer=False),
        ChartLine(EXCHANGE, "asset", "Currency exchange", per_customer=False),
        ChartLine(EXCHANGE_DIFFERENCE, "income", "Exchange differences", per_customer=False),
    )
}
"""The chart of accounts of every branch."""


def chart_line(code: str) -> ChartLine:
    """Return the chart's line of a code. KeyError: no such code.

    ``tax_payable.vat`` is the part of `TAX_PAYABLE` that is owed for the tax ``vat``.
    """
    head, _, part = code.partition(".")
    line = CHART[head]
    return dataclasses.replace(line, code=code, name=f"{line.name}: {part}") if part else line


def tax_payable(tax_id: str) -> str:
    """Return the code of what is owed for a tax; a plan's own rate has the chart's line itself."""
    return TAX_PAYABLE if tax_id == PLAN_TAX else f"{TAX_PAYABLE}.{tax_id}"


@dataclasses.dataclass(frozen=True, slots=True)
class LedgerAccount:
    """One account of one branch; account_id names the customer of a sub-account, else None."""

    branch_id: str
    code: str
    account_id: str | None

    @property
    def ledger_account_id(self) -> str:
        """Return the id: ``branch/code`` or ``branch/code/customer``."""
        return "/".join(part for part in (self.branch_id, self.code, self.account_id) if part)


def ledger_account(branch_id: str, code: str, account_id: str) -> LedgerAccount:
    """Return the account that a posting for a customer touches. KeyError: no such code."""
    return LedgerAccount(branch_id, code, account_id if chart_line(code).per_customer else None)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One leg: debit positive, credit negative, in minor units of the currency."""

    account: LedgerAccount
    amount_minor: int
    currency: str


@dataclasses.dataclass(frozen=True, slots=True)
class Transaction:
    """A posting, balanced by construction. ValueError where it is not, or where it says nothing.

    occurred_at is the business instant (ms), never the processing time.
    """

    branch_id: str
    source: str
    idempotency_key: str
    occurred_at: int
    description: str
    entries: tuple[Entry, ...]

    def __post_init__(self) -> None:
        if not self.entries:
            raise ValueError(f"{self.transaction_id} has no entries")
        sums: dict[str, int] = {}
        for entry in self.entries:
            if entry.amount_minor == 0:
                raise ValueError(f"{self.transaction_id} has an entry of zero")
            if entry.account.branch_id != self.branch_id:
                raise ValueError(f"{self.transaction_id} touches another branch")
            sums[entry.currency] = sums.get(entry.currency, 0) + entry.amount_minor
        if any(sums.values()):
            raise ValueError(f"{self.transaction_id} does not balance: {sums}")

    @property
    def transaction_id(self) -> str:
        """Return the id, made of the business key: ``source:idempotency_key``."""
        return f"{self.source}:{self.idempotency_key}"


@dataclasses.dataclass(frozen=True, slots=True)
class ChainLink:
    """A transaction's place in its branch's chain: a dense number from 1, and the hash so far."""

    number: int
    hash: str


def entries_of(
    branch_id: str, account_id: str, currency: str, amounts: Mapping[str, int]
) -> tuple[Entry, ...]:
    """Return entries from amounts per chart code, zeros left out, in the chart's order."""
    order = list(CHART)
    codes = sorted(amounts, key=lambda code: (order.index(code.partition(".")[0]), code))
    return tuple(
        Entry(ledger_account(branch_id, code, account_id), amounts[code], currency)
        for code in codes
        if amounts[code]
    )


def reversal_of(
    transaction: Transaction, source: str, occurred_at: int, description: str
) -> Transaction:
    """Return the posting that takes a transaction back: its entries with the opposite sign.

    It has the same idempotency key under another source, so a transaction is reversed once.
    """
    entries = tuple(
        dataclasses.replace(entry, amount_minor=-entry.amount_minor)
        for entry in transaction.entries
    )
    return Transaction(
        transaction.branch_id,
        source,
        transaction.idempotency_key,
        occurred_at,
        description,
        entries,
    )


def link(previous: ChainLink | None, transaction: Transaction) -> ChainLink:
    """Return the link that appends a transaction behind `previous` (None: the chain's first)."""
    number = previous.number + 1 if previous else 1
    body = [
        previous.hash if previous else GENESIS_HASH,
        number,
        transaction.branch_id,
        transaction.source,
        transaction.idempotency_key,
        transaction.occurred_at,
        transaction.description,
        [[e.account.ledger_account_id, e.amount_minor, e.currency] for e in transaction.entries],
    ]
    return ChainLink(number, content_hash(body))


def chain(
    previous: ChainLink | None, transactions: Iterable[Transaction]
) -> Iterator[tuple[Transaction, ChainLink]]:
    """Yield each transaction of one branch with its link, in order."""
    for transaction in transactions:
        previous = link(previous, transaction)
        yield transaction, previous


def trial_balance(entries: Iterable[Entry]) -> dict[tuple[str, str], int]:
    """Return the balance per (chart code, currency); each currency sums to zero."""
    balances: dict[tuple[str, str], int] = {}
    for entry in entries:
        key = (entry.account.code, entry.currency)
        balances[key] = balances.get(key, 0) + entry.amount_minor
    return balances
