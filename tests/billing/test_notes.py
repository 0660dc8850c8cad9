"""Late usage of an account that has left: a debit or credit note, once, and nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from billing.adapters import tables
from billing.adapters.billing_run import run_billing
from billing.adapters.databases import reading, writing
from billing.adapters.invoices import release_draft
from billing.adapters.ledger import trial_balance
from billing.adapters.repositories import create
from billing.config import BillingConfig
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import add_customer, add_subscription, at, close_month, home_plan

MONTHS = ("2026-10", "2026-11", "2026-12", "2027-01")


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    """Karim left on 20 October with 1,600.00 and tax invoiced; Rahima stays."""
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        add_customer(connection, "karim")
        leave(connection, "karim", "2026-10-20")
        add_customer(connection, "rahima")
        close_month(connection, "karim", "2026-10", gigabytes=620, minor=60000)
    close(engine, "2026-10")
    return engine


def leave(connection: Any, account: str, on: str) -> None:
    table = tables.subscription
    connection.execute(update(table).where(table.c.account_id == account).values(ends_at=at(on)))


def close(engine: Engine, month: str) -> None:
    """Close a month of Rahima, who stays, and let the office bill at noon of the day after."""
    with writing(engine) as connection:
        close_month(connection, "rahima", month, gigabytes=1, minor=0)
    bill(engine, at(world.following(month), 12))


def bill(engine: Engine, now_ms: int) -> dict[str, int]:
    return dict(run_billing(engine, BillingConfig(), now_ms))


def revise(engine: Engine, revision: int, minor: int, by: int, on: str, gigabytes: int = 0) -> None:
    with writing(engine) as connection:
        world.revise_month(
            connection, "karim", "2026-10", revision=revision, minor=minor, day_minor=by,
            gigabytes=gigabytes or minor // 500 + 500, closed_at=at(on),
        )  # fmt: skip


def papers(engine: Engine) -> list[tuple[str, int]]:
    """Return (number, total) of Karim's papers behind the invoice of October."""
    return [
        (invoice.number, invoice.total_minor)
        for invoice in world.invoices(engine)
        if invoice.account_id == "karim" and not invoice.invoice_id.endswith("2026-10-01_BDT")
    ]


def unbilled(engine: Engine) -> int:
    with reading(engine) as connection:
        balances = trial_balance(connection, "dhk")
    assert sum(balances.values()) == 0
    return sum(amount for (code, _), amount in balances.items() if code == "unbilled")


# What comes late: (revision, total then, difference, day), and the papers per month's run.
STRETCHES: dict[str, tuple[list[tuple[int, int, int, str]], list[list[tuple[str, int]]]]] = {
    "more usage is a debit note with tax": (
        [(1, 65000, 5000, "2026-11-10")],
        [[("DHK-DBN-000001", 5750)], [("DHK-DBN-000001", 5750)]],
    ),
    "less usage is a credit note with tax": (
        [(1, 55000, -5000, "2026-11-10")],
        [[("DHK-CRN-000001", -5750)], [("DHK-CRN-000001", -5750)]],
    ),
    "all of a month is one note": (
        [(1, 65000, 5000, "2026-11-10"), (2, 63000, -2000, "2026-11-20")],
        [[("DHK-DBN-000001", 3450)], [("DHK-DBN-000001", 3450)]],
    ),
    "what comes in two months is two notes": (
        [(1, 65000, 5000, "2026-11-10"), (2, 66000, 1000, "2026-12-20")],
        [[("DHK-DBN-000001", 5750)], [("DHK-DBN-000001", 5750), ("DHK-DBN-000002", 1150)]],
    ),
    "what comes after the month's end waits for the next": (
        [(1, 65000, 5000, "2026-12-01")],
        [[], [("DHK-DBN-000001", 5750)]],
    ),
    "up and down again is nothing": (
        [(1, 65000, 5000, "2026-11-10"), (2, 60000, -5000, "2026-11-20")],
        [[], []],
    ),
}


@pytest.mark.parametrize("stretch", STRETCHES)
def test_what_comes_late_becomes(engine: Engine, stretch: str) -> None:
    late, expected = STRETCHES[stretch]
    for revision, minor, by, on in late:
        revise(engine, revision, minor, by, on)
    for month, wanted in zip(("2026-11", "2026-12"), expected, strict=True):
        close(engine, month)
        assert papers(engine) == wanted
    assert unbilled(engine) == 0


def test_a_note_names_the_invoice_that_it_corrects(engine: Engine) -> None:
    revise(engine, 1, 65000, 5000, "2026-11-10")
    close(engine, "2026-11")
    assert world.lines(engine, "karim", "2026-11") == [
        ("adjustment", "Late usage 2026-10-01 to 2026-10-31: Internet, Karim", 5000),
        ("tax", "Tax 15 %", 750),
    ]
    note = world.invoices(engine)[-2]
    assert (note.account_id, note.invoice_id) == ("karim", "note_karim_2026-11-01_BDT")
    assert (note.series, note.status, note.due_on) == ("DBN", "finalized", "2026-12-15")
    assert '"corrects_invoice_id":"inv_karim_2026-10-01_BDT"' in note.document


def test_nothing_is_noted_before_the_month_is_over(engine: Engine) -> None:
    revise(engine, 1, 65000, 5000, "2026-11-10")
    assert bill(engine, at("2026-11-30", 23)) == {}
    assert papers(engine) == []


def test_where_nobody_is_left_to_close_a_month_the_note_still_comes(engine: Engine) -> None:
    with writing(engine) as connection:
        leave(connection, "rahima", "2026-10-25")
    revise(engine, 1, 65000, 5000, "2026-11-10")
    bill(engine, at("2027-01-09"))
    assert papers(engine) == []
    bill(engine, at("2027-01-10", 1))
    assert papers(engine) == [("DHK-DBN-000001", 5750)]


def test_a_second_look_notes_nothing_again(engine: Engine) -> None:
    revise(engine, 1, 65000, 5000, "2026-11-10")
    close(engine, "2026-11")
    for hour in range(13, 20):
        assert bill(engine, at("2026-12-01", hour)) == {}
    with writing(engine) as connection:
        connection.execute(tables.office_cursor.delete())
    assert bill(engine, at("2026-12-02")).get("notes_finalized", 0) == 0
    assert papers(engine) == [("DHK-DBN-000001", 5750)]


def test_who_comes_back_finds_it_on_the_next_invoice(engine: Engine) -> None:
    revise(engine, 1, 65000, 5000, "2026-11-10")
    with writing(engine) as connection:
        add_subscription(connection, "karim", "karim", since="2026-12-05")
    close(engine, "2026-11")
    assert papers(engine) == []
    with writing(engine) as connection:
        close_month(connection, "karim", "2026-12", gigabytes=1, minor=0)
    close(engine, "2026-12")
    assert ("adjustment", "Late usage 2026-10-01 to 2026-10-31: Internet, Karim", 5000) in (
        world.lines(engine, "karim", "2026-12")
    )
    assert unbilled(engine) == 0


def test_another_line_of_the_account_that_goes_on_carries_it(engine: Engine) -> None:
    with writing(engine) as connection:
        add_subscription(connection, "karim", "shop", since="2026-11-01")
    revise(engine, 1, 65000, 5000, "2026-11-10")
    with writing(engine) as connection:
        close_month(connection, "shop", "2026-11", gigabytes=1, minor=0)
    close(engine, "2026-11")
    assert [number for number, _ in papers(engine)] == ["DHK-INV-000003"]
    assert unbilled(engine) == 0


def test_a_last_invoice_that_a_clerk_holds_comes_before_its_note(new_database: NewDatabase) -> None:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        add_customer(connection, "karim")
        leave(connection, "karim", "2026-10-20")
        add_customer(connection, "rahima")
        close_month(connection, "karim", "2026-10", gigabytes=620, minor=60000, complete=False)
    close(engine, "2026-10")
    revise(engine, 1, 65000, 5000, "2026-11-10")
    close(engine, "2026-11")
    assert papers(engine) == []
    with writing(engine) as connection:
        assert release_draft(connection, "inv_karim_2026-10-01_BDT")
    bill(engine, at("2026-12-02"))
    close(engine, "2026-12")
    assert papers(engine) == [("DHK-DBN-000001", 5750)]
    assert world.lines(engine, "karim", "2026-11")[0][0] == "adjustment"


def test_prepaid_usage_is_noted_and_not_asked_for(engine: Engine) -> None:
    with writing(engine) as connection:
        create(connection, home_plan(2, kind="prepaid", recurring_fee="0"))
    revise(engine, 1, 65000, 5000, "2026-11-10")
    with writing(engine) as connection:
        for table in (tables.usage_charge, tables.usage_counter):
            mine = table.c.rating_key == "karim"
            connection.execute(update(table).where(mine).values(plan_version=2))
    close(engine, "2026-11")
    assert papers(engine) == [("DHK-DBN-000001", 0)]
    assert [amount for *_, amount in world.lines(engine, "karim", "2026-11")] == [5000, -5000]


def test_a_run_killed_anywhere_notes_once(engine: Engine) -> None:
    class KilledError(Exception):
        pass

    revise(engine, 1, 65000, 5000, "2026-11-10")
    with writing(engine) as connection:
        close_month(connection, "rahima", "2026-11", gigabytes=1, minor=0)
    left = iter(range(0))

    def count(*_: object) -> None:
        if next(left, None) == 0:
            raise KilledError

    event.listen(engine, "before_cursor_execute", count)
    kills = 0
    for survived in range(1, 120):
        left = iter(range(survived, -1, -1))
        try:
            bill(engine, at("2026-12-01", 12))
        except KilledError:
            kills += 1
    event.remove(engine, "before_cursor_execute", count)
    bill(engine, at("2026-12-01", 12))
    assert kills > 20, "the run was not killed often enough to prove anything"
    assert papers(engine) == [("DHK-DBN-000001", 5750)]
    assert unbilled(engine) == 0
