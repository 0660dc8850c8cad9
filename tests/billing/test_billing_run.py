"""From a closed month to an invoice, once."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, event, func, select

from billing.adapters import tables
from billing.adapters.billing_run import post_usage, run_billing
from billing.adapters.databases import reading, writing
from billing.adapters.invoices import release_draft
from billing.adapters.ledger import broken_link, customer_balance, trial_balance
from billing.adapters.payments import record_payment
from billing.adapters.repositories import create
from billing.adapters.rows import write_rows
from billing.config import BillingConfig
from billing.payments import Payment
from rating.rows import CollectorOutage
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import add_customer, add_subscription, at, close_month, home_plan

CONFIG = BillingConfig()
NOON = at("2026-12-01", 12)


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
    return engine


def bill(engine: Engine, now_ms: int = NOON) -> dict[str, int]:
    return dict(run_billing(engine, CONFIG, now_ms))


def balance(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        balances = trial_balance(connection, "dhk")
        assert broken_link(connection, "dhk") is None
    assert sum(balances.values()) == 0
    return {code: amount for (code, _), amount in balances.items() if amount}


def test_a_month_with_overage_becomes_an_invoice_with_tax(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
    assert bill(engine) == {"invoices_finalized": 1}
    (invoice,) = world.invoices(engine)
    assert world.lines(engine, "karim", "2026-11") == [
        ("recurring", "Home 50, Karim", 100000),
        ("usage", "Internet, Karim", 60000),
        ("tax", "Tax 15 %", 24000),
    ]
    assert (invoice.subtotal_minor, invoice.tax_minor, invoice.total_minor) == (
        160000,
        24000,
        184000,
    )
    assert (invoice.number, invoice.status, invoice.due_on) == (
        "DHK-INV-000001",
        "finalized",
        "2026-12-15",
    )
    assert balance(engine) == {
        "receivable": 184000,
        "revenue_recurring": -100000,
        "revenue_usage": -60000,
        "tax_payable": -24000,
    }


def test_a_second_run_invoices_nothing(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
    bill(engine)
    before = world.invoices(engine)
    assert bill(engine, NOON + 1000) == {}
    assert world.invoices(engine) == before


def test_an_account_waits_until_all_its_rating_keys_have_closed(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        add_subscription(connection, "karim", "shop", since="2026-02-01")
        close_month(connection, "karim", "2026-11", gigabytes=10, minor=0)
    assert bill(engine) == {"periods_waiting": 1}
    with writing(engine) as connection:
        later = at("2026-12-01") + world.LATENESS_MS + 60_000
        close_month(connection, "shop", "2026-11", gigabytes=10, minor=0, closed_at=later)
    assert bill(engine) == {"invoices_finalized": 1}
    assert [kind for kind, *_ in world.lines(engine, "karim", "2026-11")] == [
        "recurring", "recurring", "usage", "usage", "tax",
    ]  # fmt: skip


def test_an_incomplete_period_stays_a_draft_until_a_clerk_releases_it(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000, complete=False)
    assert bill(engine) == {"invoices_held": 1}
    (draft,) = world.invoices(engine)
    assert (draft.status, draft.number) == ("draft", None)
    assert draft.hold_reason == "karim: exporter-7 was silent for 3 h"
    assert bill(engine) == {"invoices_held": 1}
    assert balance(engine) == {}
    with writing(engine) as connection:
        assert release_draft(connection, draft.invoice_id)
    assert bill(engine) == {"invoices_finalized": 1}
    assert world.invoices(engine)[0].number == "DHK-INV-000001"


def test_a_period_closed_anew_as_complete_releases_its_draft(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000, complete=False)
    bill(engine)
    with writing(engine) as connection:
        close_month(connection, "karim", "2026-11", gigabytes=630, minor=65000, closed_at=NOON + 5)
    assert bill(engine) == {"invoices_finalized": 1}
    assert world.invoices(engine)[0].subtotal_minor == 165000


DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("expired_at", "returned_at", "is_held"),
    [
        (NOON - DAY_MS, None, True),
        (NOON - DAY_MS, NOON + DAY_MS, True),
        (NOON - DAY_MS, NOON - DAY_MS // 2, False),
        (NOON - 45 * DAY_MS, None, False),
        (NOON + DAY_MS, None, False),
    ],
)
def test_a_collector_given_up_holds_the_periods_that_closed_without_it(
    engine: Engine, expired_at: int, returned_at: int | None, is_held: bool
) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000, closed_at=NOON)
        for partition in (0, 1):
            row = CollectorOutage("radius@ams", partition, expired_at, returned_at)
            write_rows(connection, [row])
    assert bill(engine) == {"invoices_held" if is_held else "invoices_finalized": 1}
    (invoice,) = world.invoices(engine)
    assert invoice.hold_reason.startswith("collector radius@ams was given up") is is_held


def test_late_usage_is_a_line_on_the_next_invoice_with_reference(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-10", gigabytes=620, minor=60000)
    bill(engine)
    with writing(engine) as connection:
        world.revise_month(
            connection, "karim", "2026-10", revision=1, gigabytes=630, minor=65000,
            day_minor=5000, closed_at=at("2026-11-10"),
        )  # fmt: skip
        world.revise_month(
            connection, "karim", "2026-10", revision=2, gigabytes=610, minor=55000,
            day_minor=-10000, closed_at=at("2026-11-11"),
        )  # fmt: skip
        close_month(connection, "karim", "2026-11", gigabytes=100, minor=0)
    bill(engine)
    assert world.lines(engine, "karim", "2026-11") == [
        ("recurring", "Home 50, Karim", 100000),
        ("usage", "Internet, Karim", 0),
        ("adjustment", "Late usage 2026-10-01 to 2026-10-31: Internet, Karim", 5000),
        ("adjustment", "Correction 2026-10-01 to 2026-10-31: Internet, Karim", -10000),
        ("tax", "Tax 15 %", 14250),
    ]
    assert '"corrects_invoice_id":"inv_karim_2026-10-01_BDT"' in world.invoices(engine)[1].document
    assert "unbilled" not in balance(engine)


def test_a_revision_after_the_closing_waits_for_the_invoice_after(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-10", gigabytes=620, minor=60000)
    bill(engine)
    with writing(engine) as connection:
        close_month(connection, "karim", "2026-11", gigabytes=100, minor=0)
        world.revise_month(
            connection, "karim", "2026-10", revision=1, gigabytes=630, minor=65000,
            day_minor=5000, closed_at=at("2026-12-05"),
        )  # fmt: skip
    bill(engine)
    assert [k for k, *_ in world.lines(engine, "karim", "2026-11")] == ["recurring", "usage", "tax"]


def test_days_post_as_unbilled_and_the_invoice_brings_unbilled_to_zero(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(
            connection, "karim", "2026-11", gigabytes=620, minor=60000,
            days={"2026-11-27": 33333, "2026-11-28": 26666},
        )  # fmt: skip
    assert post_usage(engine, CONFIG, NOON) == 2
    assert post_usage(engine, CONFIG, NOON) == 0
    assert balance(engine) == {"unbilled": 59999, "revenue_usage": -59999}
    bill(engine)
    assert balance(engine)["revenue_usage"] == -60000
    assert "unbilled" not in balance(engine)


def test_an_invoice_posts_the_days_that_the_ledger_still_lacks(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
    bill(engine)
    assert post_usage(engine, CONFIG, NOON) == 0
    assert "unbilled" not in balance(engine)


def test_a_subscription_of_ten_days_pays_ten_days(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim", since="2026-11-21")
        close_month(connection, "karim", "2026-11", gigabytes=1, minor=0)
    bill(engine)
    assert world.lines(engine, "karim", "2026-11")[0] == (
        "recurring",
        "Home 50, Karim (10 of 30 days)",
        33333,
    )


def test_a_month_of_nothing_has_an_invoice_of_zero_that_later_usage_can_correct(
    engine: Engine,
) -> None:
    with writing(engine) as connection:
        create(connection, home_plan(2, recurring_fee="0"))
        add_customer(connection, "karim")
        connection.execute(tables.subscription.update().values(plan_version=2))
        close_month(connection, "karim", "2026-10", gigabytes=0, minor=0)
    assert bill(engine) == {"invoices_finalized": 1}
    assert [(i.status, i.total_minor) for i in world.invoices(engine)] == [("paid", 0)]
    with writing(engine) as connection:
        world.revise_month(
            connection, "karim", "2026-10", revision=1, gigabytes=501, minor=500,
            day_minor=500, closed_at=at("2026-11-10"),
        )  # fmt: skip
        close_month(connection, "karim", "2026-11", gigabytes=0, minor=0)
    bill(engine)
    assert world.lines(engine, "karim", "2026-11")[0][1:] == (
        "Late usage 2026-10-01 to 2026-10-31: Internet, Karim",
        500,
    )


def test_prepaid_usage_is_shown_and_not_asked_for(engine: Engine) -> None:
    with writing(engine) as connection:
        plan = home_plan(kind="prepaid", recurring_fee="0", plan_id="home", version=2)
        create(connection, plan)
        add_customer(connection, "karim", since="2026-11-01")
        connection.execute(tables.subscription.update().values(plan_version=2))
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
        connection.execute(tables.usage_charge.update().values(plan_version=2))
        connection.execute(tables.usage_counter.update().values(plan_version=2))
    bill(engine)
    assert world.lines(engine, "karim", "2026-11") == [
        ("usage", "Internet, Karim", 60000),
        ("adjustment", "Paid from prepaid balance", -60000),
    ]
    (invoice,) = world.invoices(engine)
    assert (invoice.status, invoice.total_minor) == ("paid", 0)
    assert balance(engine) == {"prepaid": 60000, "revenue_usage": -60000}


def test_included_tax_is_taken_out_of_revenue(engine: Engine) -> None:
    with writing(engine) as connection:
        create(connection, home_plan(2, tax_inclusive=True))
        add_customer(connection, "karim")
        connection.execute(tables.subscription.update().values(plan_version=2))
        close_month(connection, "karim", "2026-11", gigabytes=620, minor=60000)
        connection.execute(tables.usage_charge.update().values(plan_version=2))
    bill(engine)
    (invoice,) = world.invoices(engine)
    assert (invoice.subtotal_minor, invoice.tax_minor, invoice.total_minor) == (
        139130, 20870, 160000,
    )  # fmt: skip
    assert balance(engine) == {
        "receivable": 160000,
        "revenue_recurring": -86957,
        "revenue_usage": -52173,
        "tax_payable": -20870,
    }


def test_payments_settle_and_what_is_too_much_becomes_credit(engine: Engine) -> None:
    with writing(engine) as connection:
        add_customer(connection, "karim")
        close_month(connection, "karim", "2026-11", gigabytes=1, minor=0)
    bill(engine)
    (invoice,) = world.invoices(engine)

    def pay(amount: int, reference: str) -> bool:
        with writing(engine) as connection:
            payment = Payment(
                f"pay-{reference}", "dhk", "karim", invoice.invoice_id, "cash", reference, amount,
                "BDT", NOON, "clerk-1",
            )  # fmt: skip
            return record_payment(connection, payment, NOON) is not None

    assert pay(100000, "r1")
    assert world.invoices(engine)[0].status == "finalized"
    assert not pay(100000, "r1"), "the same receipt is the same payment"
    assert pay(20000, "r2")
    (paid,) = world.invoices(engine)
    assert (paid.status, paid.paid_minor, paid.total_minor) == ("paid", 115000, 115000)
    with reading(engine) as connection:
        assert customer_balance(connection, "karim", "receivable") == {"BDT": 0}
        assert customer_balance(connection, "karim", "customer_credit") == {"BDT": -5000}
    assert balance(engine)["cash"] == 120000


def test_a_run_killed_anywhere_goes_on_where_it_stopped(engine: Engine) -> None:
    """Every statement is a place to die: the invoices and the ledger come out the same."""
    with writing(engine) as connection:
        for name in ("amal", "bina", "chitra"):
            add_customer(connection, name)
            close_month(connection, name, "2026-11", gigabytes=620, minor=60001)

    class KilledError(Exception):
        pass

    statements = iter(range(0))

    def count(*_: object) -> None:
        if next(statements, None) == 0:
            raise KilledError

    event.listen(engine, "before_cursor_execute", count)
    kills = 0
    for survived in range(1, 400, 3):
        statements = iter(range(survived, -1, -1))
        try:
            run_billing(engine, CONFIG, NOON)
            post_usage(engine, CONFIG, NOON)
        except KilledError:
            kills += 1
    event.remove(engine, "before_cursor_execute", count)
    bill(engine)
    assert kills > 10, "the run was not killed often enough to prove anything"
    assert [i.number for i in world.invoices(engine)] == [f"DHK-INV-00000{n}" for n in (1, 2, 3)]
    assert balance(engine) == {
        "receivable": 552003,
        "revenue_recurring": -300000,
        "revenue_usage": -180003,
        "tax_payable": -72000,
    }
    with reading(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(tables.billed_charge)) == 3
