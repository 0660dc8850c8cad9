"""Writers of business data at once on PostgreSQL: what one writer gave SQLite, locks give here.

Each race is run by threads with connections of their own, started together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from billing.accounts import Account
from billing.adapters import ledger, tables
from billing.adapters.billing_run import move_cursor, plan_period, read_cursor, run_billing
from billing.adapters.databases import open_database, reading, take_turns, writing
from billing.adapters.invoice_inputs import DuePeriod
from billing.adapters.invoices import finalize, release_draft, save_draft
from billing.adapters.payments import record_payment
from billing.adapters.repositories import create
from billing.adapters.rows import write_rows
from billing.config import BillingConfig
from billing.ledger import Entry, LedgerAccount, Transaction
from billing.payments import Payment
from infra.migrate import migrate
from rating.rows import LossMinute, UnattributedMinute, UsageDay
from tests.billing.world import BRANCH, add_customer, at, close_month, home_plan
from tests.databases import sqlalchemy_url

NOON = at("2026-12-01", 12)
WRITERS = 8


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    url = sqlalchemy_url(database_url)
    migrate(url)
    engine = open_database(url)
    with writing(engine) as connection:
        create(connection, BRANCH)
        create(connection, home_plan())
        for number in range(WRITERS):
            add_customer(connection, f"customer-{number}")
            close_month(connection, f"customer-{number}", "2026-11", gigabytes=620, minor=60000)
    yield engine
    engine.dispose()


def at_once(actions: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each action in a thread, all let go together; return results or exceptions, in order."""
    barrier = threading.Barrier(len(actions))
    results: list[Any] = [None] * len(actions)

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = actions[number]()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def posting(number: int, key: str = "") -> Transaction:
    """Return a posting of one cent, under its number or another key."""
    cash, revenue = (LedgerAccount("dhk", code, None) for code in ("cash", "adjustments"))
    entries = (Entry(cash, 1, "BDT"), Entry(revenue, -1, "BDT"))
    return Transaction("dhk", "test", key or str(number), NOON, "race", entries)


def test_postings_at_once_make_one_chain(engine: Engine) -> None:
    def post(writer: int) -> int:
        written = 0
        for number in range(10):
            with writing(engine) as connection:
                written += ledger.post(connection, [posting(writer * 100 + number)], NOON)
        return written

    assert at_once([partial(post, n) for n in range(WRITERS)]) == [10] * WRITERS
    with reading(engine) as connection:
        numbers = connection.scalars(
            select(tables.ledger_transaction.c.chain_number).order_by(
                tables.ledger_transaction.c.chain_number
            )
        ).all()
        assert list(numbers) == list(range(1, 10 * WRITERS + 1))
        assert ledger.broken_link(connection, "dhk") is None


def test_one_business_key_posted_at_once_is_one_posting(engine: Engine) -> None:
    def post() -> int:
        with writing(engine) as connection:
            return ledger.post(connection, [posting(0, "the same")], NOON)

    assert sorted(at_once([post] * WRITERS)) == [0] * (WRITERS - 1) + [1]


def drafts(engine: Engine) -> list[Any]:
    """Return the draft of every customer's November."""
    with reading(engine) as connection:
        plans = [
            plan_period(connection, DuePeriod(f"customer-{n}", at("2026-11-01"), at("2026-12-01")))
            for n in range(WRITERS)
        ]
    return [draft for plan in plans for draft in plan.finalize]


def test_invoices_finalized_at_once_have_numbers_without_a_gap(engine: Engine) -> None:
    def finalize_one(draft: Any, gives_up: bool) -> str:
        with writing(engine) as connection:
            number = finalize(connection, draft, now_ms=NOON, payment_terms_days=14)
            if gives_up:
                raise InterruptedError
            return number

    made = drafts(engine)
    at_once([partial(finalize_one, d, n % 3 == 0) for n, d in enumerate(made)])
    at_once([partial(finalize_one, d, False) for d in made])
    with reading(engine) as connection:
        numbers = sorted(connection.scalars(select(tables.invoice.c.number)))
        assert numbers == [f"DHK-INV-{number:06}" for number in range(1, WRITERS + 1)]
        assert ledger.broken_link(connection, "dhk") is None


def test_payments_of_one_invoice_at_once_add_up(engine: Engine) -> None:
    run_billing(engine, BillingConfig(), NOON)
    with reading(engine) as connection:
        invoice = connection.execute(select(tables.invoice).limit(1)).one()

    def pay(number: int) -> Any:
        payment = Payment(
            payment_id=f"pay-{number}",
            branch_id="dhk",
            account_id=invoice.account_id,
            invoice_id=invoice.invoice_id,
            method="cash",
            reference=f"receipt-{number}",
            amount_minor=1000,
            currency="BDT",
            received_at=NOON,
            recorded_by="desk",
        )
        with writing(engine) as connection:
            return record_payment(connection, payment, NOON)

    at_once([partial(pay, n) for n in range(WRITERS)])
    with reading(engine) as connection:
        paid = tables.invoice.c
        query = select(paid.paid_minor).where(paid.invoice_id == invoice.invoice_id)
        assert connection.scalar(query) == 1000 * WRITERS
        assert sum(ledger.trial_balance(connection, "dhk").values()) == 0


def test_a_release_is_never_lost_to_an_office_that_rewrites_the_draft(engine: Engine) -> None:
    made = drafts(engine)
    with writing(engine) as connection:
        for draft in made:
            save_draft(connection, draft, "exporter-7 was silent")

    def rewrite(draft: Any) -> None:
        with writing(engine) as connection:
            save_draft(connection, draft, "exporter-7 was silent for long")

    def release(draft: Any) -> bool:
        with writing(engine) as connection:
            return release_draft(connection, draft.invoice_id)

    rewrites: list[Callable[[], Any]] = [partial(rewrite, d) for d in made]
    releases: list[Callable[[], Any]] = [partial(release, d) for d in made]
    done = at_once([action for pair in zip(rewrites, releases, strict=True) for action in pair])
    assert done == [None, True] * WRITERS
    for draft in made:
        rewrite(draft)
    with reading(engine) as connection:
        assert set(connection.scalars(select(tables.invoice.c.hold_reason))) == {""}


def test_a_cursor_set_at_once_is_one_row(engine: Engine) -> None:
    def move(position: int) -> None:
        with writing(engine) as connection:
            move_cursor(connection, "usage_day", position)

    assert at_once([partial(move, n) for n in range(1, 9)]) == [None] * 8
    with reading(engine) as connection:
        assert read_cursor(connection, "usage_day") in range(1, 9)


def test_minutes_of_several_workers_add_up_in_any_order(engine: Engine) -> None:
    def write(writer: int) -> int:
        rows: list[Any] = [UnattributedMinute("flows", f"10.0.0.{n}", 7, 1, 2) for n in range(100)]
        rows += [LossMinute(f"r{n}", 7, 1, 0, 0) for n in range(100)]
        if writer % 2:
            rows.reverse()
        for _ in range(5):
            with writing(engine) as connection:
                write_rows(connection, rows)
        return len(rows)

    assert at_once([partial(write, n) for n in range(WRITERS)]) == [200] * WRITERS
    with reading(engine) as connection:
        sums = connection.execute(
            select(
                func.sum(tables.unattributed_minute.c.octets_up),
                func.sum(tables.unattributed_minute.c.octets_down),
            )
        ).one()
        assert tuple(map(int, sums)) == (100 * 5 * WRITERS, 200 * 5 * WRITERS)
        assert connection.scalar(select(func.sum(tables.loss_minute.c.datagrams))) == 4000


def test_a_reader_sees_one_snapshot_and_may_not_write(engine: Engine) -> None:
    name = select(tables.account.c.name).where(tables.account.c.account_id == "customer-0")
    with reading(engine) as connection:
        before = connection.scalar(name)
        with writing(engine) as other:
            other.execute(update(tables.account).values(name="changed"))
        assert connection.scalar(name) == before
    with reading(engine) as connection, pytest.raises(Exception, match="read-only"):
        create(connection, Account("x", "dhk", "X", "person", "", "", 0))


def test_turns_taken_in_two_orders_do_not_lock_each_other_out(engine: Engine) -> None:
    def take(*names: str) -> None:
        for _ in range(20):
            with writing(engine) as connection:
                take_turns(connection, *names)

    assert at_once([lambda: take("a", "b"), lambda: take("b", "a")]) == [None, None]


def test_many_rows_of_a_class_are_as_right_as_few(engine: Engine) -> None:
    def days(many: int, amount: int) -> list[UsageDay]:
        return [
            UsageDay(f"k{n % many}", "data", "2026-11-28", 0, 0, 1, 0, amount + n, "BDT", 5)
            for n in range(many * 2)
        ]

    with writing(engine) as connection:
        write_rows(connection, days(500, 0))
        write_rows(connection, days(500, 7))
    day = tables.usage_day.c
    with reading(engine) as connection:
        amounts = connection.execute(
            select(day.rating_key, day.amount_minor).where(day.rating_key.like("k%"))
        )
        stored = {row.rating_key: row.amount_minor for row in amounts}
    assert stored == {f"k{n}": 7 + 500 + n for n in range(500)}
