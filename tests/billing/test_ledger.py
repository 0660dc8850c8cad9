"""The ledger balances, posts once, and shows when somebody altered it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from billing.accounts import Account
from billing.adapters.databases import reading, writing
from billing.adapters.ledger import broken_link, customer_balance, post, trial_balance
from billing.adapters.repositories import create
from billing.audit import StoredLink, first_break
from billing.ledger import (
    CASH,
    CHART,
    PREPAID,
    RECEIVABLE,
    REVENUE_USAGE,
    ChainLink,
    Entry,
    Transaction,
    chain,
    entries_of,
    ledger_account,
    link,
)
from billing.ledger import trial_balance as sum_entries
from tests.billing import world
from tests.billing.conftest import NewDatabase


def sale(key: str, amount: int, currency: str = "BDT") -> Transaction:
    amounts = {RECEIVABLE: amount, REVENUE_USAGE: -amount}
    return Transaction("dhk", "test", key, 0, "sale", entries_of("dhk", "karim", currency, amounts))


def entry(code: str, amount: int, currency: str = "BDT", branch: str = "dhk") -> Entry:
    return Entry(ledger_account(branch, code, "karim"), amount, currency)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ((), "has no entries"),
        ((entry(CASH, 5),), "does not balance"),
        ((entry(CASH, 5), entry(PREPAID, -4)), "does not balance"),
        ((entry(CASH, 5), entry(PREPAID, -5, "USD")), "does not balance"),
        ((entry(CASH, 0), entry(PREPAID, 0)), "entry of zero"),
        ((entry(CASH, 5), entry(PREPAID, -5, branch="ctg")), "another branch"),
    ],
)
def test_a_transaction_that_does_not_balance_cannot_be_made(
    entries: tuple[Entry, ...], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        Transaction("dhk", "test", "k", 0, "", entries)


@given(st.lists(st.tuples(st.sampled_from(sorted(CHART)), st.integers(-(10**12), 10**12))))
def test_whatever_can_be_made_balances(legs: list[tuple[str, int]]) -> None:
    entries = tuple(entry(code, amount) for code, amount in legs if amount)
    try:
        made = Transaction("dhk", "test", "k", 0, "", entries)
    except ValueError:
        return
    assert sum(sum_entries(made.entries).values()) == 0


def test_customers_have_their_own_receivable_and_share_the_cash() -> None:
    assert ledger_account("dhk", RECEIVABLE, "karim").ledger_account_id == "dhk/receivable/karim"
    assert ledger_account("dhk", CASH, "karim").ledger_account_id == "dhk/cash"


def stored(transaction: Transaction, found: ChainLink) -> StoredLink:
    return StoredLink(transaction.transaction_id, found, lambda before: link(before, transaction))


def first_broken_link(linked: list[tuple[Transaction, ChainLink]]) -> int | None:
    rows = [stored(transaction, found) for transaction, found in linked]
    broken = first_break("ledger/dhk", rows, linked[-1][1] if linked else None)
    return broken.number if broken else None


@given(st.integers(0, 4), st.integers(1, 99))
def test_an_altered_transaction_breaks_the_chain_where_it_stands(index: int, by: int) -> None:
    linked = list(chain(None, [sale(f"k{n}", 100) for n in range(5)]))
    assert first_broken_link(linked) is None
    linked[index] = (sale(f"k{index}", 100 + by), linked[index][1])
    assert first_broken_link(linked) == index + 1
    del linked[index]
    if index < 4:
        assert first_broken_link(linked) == index + 1


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, Account("karim", "dhk", "Karim", "person", "", "", 0))
    return engine


def test_a_business_key_posts_once(engine: Engine) -> None:
    with writing(engine) as connection:
        assert post(connection, [sale("a", 100), sale("a", 999), sale("b", 1)], 5) == 2
    with writing(engine) as connection:
        assert post(connection, [sale("a", 100), sale("c", 10)], 6) == 1
    with reading(engine) as connection:
        assert trial_balance(connection, "dhk") == {
            ("receivable", "BDT"): 111,
            ("revenue_usage", "BDT"): -111,
        }
        assert customer_balance(connection, "karim", "receivable") == {"BDT": 111}
        assert broken_link(connection, "dhk") is None


def test_many_postings_at_once(engine: Engine) -> None:
    many = [sale(f"k{n:04}", n + 1, "USD" if n % 2 else "BDT") for n in range(1000)]
    with writing(engine) as connection:
        assert post(connection, many, 5) == 1000
    with writing(engine) as connection:
        assert post(connection, many, 5) == 0
    with reading(engine) as connection:
        assert broken_link(connection, "dhk") is None
        assert sum(trial_balance(connection, "dhk").values()) == 0


@pytest.mark.parametrize(
    "tampering",
    [
        "update ledger_entry set amount_minor = amount_minor + 1 where transaction_id = 'test:b'",
        "update ledger_entry set amount_minor = amount_minor * 2 where transaction_id = 'test:b'",
        "delete from ledger_entry where transaction_id = 'test:b'",
        "update ledger_transaction set description = 'gift' where idempotency_key = 'b'",
        "update ledger_transaction set occurred_at = 1 where idempotency_key = 'b'",
    ],
)
def test_a_row_altered_behind_our_back_is_found(engine: Engine, tampering: str) -> None:
    with writing(engine) as connection:
        post(connection, [sale("a", 1), sale("b", 2), sale("c", 3)], 5)
        connection.execute(text(tampering))
    with reading(engine) as connection:
        assert broken_link(connection, "dhk") == 2
