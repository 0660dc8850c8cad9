"""The office duns: each step once, whoever dies, whoever runs beside, whoever pays meanwhile."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, delete, update

from billing.adapters import charge_tables, dunning, dunning_tables, tables
from billing.adapters.billing_run import run_billing
from billing.adapters.corrections import issue_note, void_invoice
from billing.adapters.databases import reading, writing
from billing.adapters.dossiers import moment_at, read_cases
from billing.adapters.dunning import restore_settled
from billing.adapters.instalments import agree
from billing.adapters.payments import fail_payment, settle_payment, write_off_invoice
from billing.clerk_notes import NoteLine, NoteOrder
from billing.config import BillingConfig, DunningConfig
from billing.dunning import Moment
from billing.instalments import even_parts
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.dunned import (
    Office,
    add_pause,
    add_schedule,
    found,
    invoice_id,
    pay,
    rows,
    service,
    steps,
    told,
)

WHOLE_WAY = [
    ("2026-12-12", "soon", ""),
    ("2026-12-18", "reminder + fee", ""),
    ("2026-12-22", "slow", "slow_down"),
    ("2026-12-29", "block", "block"),
    ("2027-02-13", "end", "block"),
]


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    found(engine)
    return engine


def test_an_invoice_that_nobody_pays(engine: Engine) -> None:
    office = Office(engine)
    assert office.live("2026-12-01", "2027-02-20") == WHOLE_WAY
    assert office.ended == ["karim"]
    effects = {row.step_id: row.effect for row in rows(engine, dunning_tables.dunning_step)}
    assert effects == {
        "soon": "told by log, smtp",
        "reminder": "told by log, smtp",
        "fee": "50.00 BDT",
        "slow": "",
        "block": "",
        "end": "1 subscriptions ended",
    }


def test_reminders_go_through_the_outbox_in_the_branchs_language(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(update(tables.branch).values(language="bn"))
    Office(engine).live("2026-12-10", "2026-12-13")
    subject = "ইনভয়েস DHK-INV-000001 পরিশোধের শেষ তারিখ 15 ডিসেম্বর 2026"
    assert told(engine) == [
        ("log", "karim@example.net", subject),
        ("smtp", "karim@example.net", subject),
    ]


def test_nobody_without_an_address_is_written_to(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(update(tables.account).values(email=""))
    Office(engine).look("2026-12-12")
    assert [channel for channel, _, _ in told(engine)] == ["log"]
    (step,) = rows(engine, dunning_tables.dunning_step)
    assert step.effect == "told by log"


def test_a_late_fee_stands_on_the_next_invoice_once(engine: Engine) -> None:
    Office(engine).live("2026-12-15", "2026-12-31")
    with writing(engine) as connection:
        world.close_month(connection, "karim", "2026-12", gigabytes=100, minor=0)
    run_billing(engine, BillingConfig(), world.at("2027-01-01", 3))
    assert [line for line in world.lines(engine, "karim", "2026-12") if "Late fee" in line[1]] == [
        ("charge", "Late fee, invoice DHK-INV-000001", 5_000)
    ]


def test_paid_in_time_nothing_happens(engine: Engine) -> None:
    pay(engine, 115_000, "2026-12-10")
    assert Office(engine).live("2026-12-01", "2027-02-20") == []


def test_paid_is_restored_in_the_payments_own_transaction(engine: Engine) -> None:
    office = Office(engine)
    office.live("2026-12-15", "2026-12-23")
    assert service(engine) == "slow_down"
    pay(engine, 115_000, "2026-12-23")
    assert service(engine) == ""
    assert office.live("2026-12-24", "2027-02-20") == []


def test_a_payment_that_is_rolled_back_restores_nobody(engine: Engine) -> None:
    Office(engine).live("2026-12-15", "2026-12-23")
    with engine.connect() as connection, connection.begin() as transaction:
        connection.execute(update(tables.invoice).values(paid_minor=115_000, status="paid"))
        assert restore_settled(connection, "karim", world.at("2026-12-23", 12))
        transaction.rollback()
    assert service(engine) == "slow_down"


def test_a_part_of_the_money_restores_where_less_than_the_minimum_is_left(
    new_database: NewDatabase,
) -> None:
    engine = new_database()
    found(engine, minimum={"BDT": "100.00"})
    office = Office(engine)
    office.live("2026-12-15", "2026-12-23")
    pay(engine, 100_000, "2026-12-23")
    assert service(engine) == "slow_down"  # 150.00 is open
    pay(engine, 5_001, "2026-12-24")
    assert service(engine) == ""
    assert office.live("2026-12-24", "2027-02-20") == []


def test_a_promise_restores_and_when_it_is_broken_it_goes_on_where_it_stood(
    engine: Engine,
) -> None:
    office = Office(engine)
    office.live("2026-12-15", "2026-12-23")
    promise = {"restores": True, "amount_minor": 100_000, "currency": "BDT"}
    add_pause(engine, "promise", "2026-12-24", "2026-12-28", **promise)
    assert office.live("2026-12-24", "2027-01-10") == [
        ("2026-12-24", "", ""),
        ("2026-12-29", "", "slow_down"),
        ("2027-01-03", "block", "block"),  # seven days of the clock after slowing down
    ]
    assert [row.outcome for row in rows(engine, dunning_tables.dunning_pause)] == ["broken"]


def test_a_kept_promise_is_known_with_the_payment(engine: Engine) -> None:
    office = Office(engine)
    office.live("2026-12-15", "2026-12-23")
    add_pause(engine, "promise", "2026-12-24", "2026-12-28", amount_minor=50_000, currency="BDT")
    pay(engine, 50_000, "2026-12-27")
    assert [row.outcome for row in rows(engine, dunning_tables.dunning_pause)] == ["kept"]
    assert service(engine) == "slow_down"  # 650.00 are still open
    assert office.live("2026-12-28", "2027-01-10") == [("2027-01-03", "block", "block")]


def test_a_disputed_invoice_restricts_nobody(engine: Engine) -> None:
    office = Office(engine)
    office.live("2026-12-15", "2026-12-23")
    add_pause(engine, "dispute", "2026-12-24", None, invoice_id=invoice_id())
    assert office.live("2026-12-24", "2027-02-20") == [("2026-12-24", "", "")]


@pytest.mark.parametrize("is_paid", [False, True], ids=["fails", "comes"])
def test_no_step_is_taken_on_a_payment_in_flight(engine: Engine, is_paid: bool) -> None:
    office = Office(engine)
    office.live("2026-12-15", "2026-12-23")
    pay(engine, 115_000, "2026-12-24", reference="bkash-1", status="pending")
    assert office.live("2026-12-24", "2026-12-31") == []  # it blocks nobody, and restores nobody
    assert service(engine) == "slow_down"
    with writing(engine) as connection:
        if is_paid:
            settle_payment(connection, "pay-karim-bkash-1", *[world.at("2026-12-31", 20)] * 2)
        else:
            fail_payment(connection, "pay-karim-bkash-1", "no money")
    assert service(engine) == ("" if is_paid else "slow_down")
    assert office.live("2027-01-01", "2027-01-02") == (
        [] if is_paid else [("2027-01-01", "block", "block")]
    )


def test_a_write_off_restores(engine: Engine) -> None:
    office = Office(engine)
    office.live("2026-12-15", "2026-12-23")
    with writing(engine) as connection:
        write_off_invoice(connection, invoice_id(), "gone", "Nasrin", world.at("2026-12-23", 12))
    assert service(engine) == ""
    assert office.live("2026-12-24", "2027-02-20") == []


def test_a_void_invoice_restricts_nobody(engine: Engine) -> None:
    Office(engine).live("2026-12-15", "2026-12-23")
    with writing(engine) as connection:
        void_invoice(connection, invoice_id(), "wrong plan", "Nasrin", world.at("2026-12-23", 12))
    assert service(engine) == ""


@pytest.mark.parametrize(("kind", "after"), [("credit", ""), ("debit", "slow_down")])
def test_a_clerks_note_restores_where_it_credits(engine: Engine, kind: str, after: str) -> None:
    Office(engine).live("2026-12-15", "2026-12-23")
    lines = () if kind == "credit" else (NoteLine(1, 5_000),)
    order = NoteOrder(invoice_id(), kind, lines, "he is right", "Nasrin")
    with writing(engine) as connection:
        issue_note(connection, order, world.at("2026-12-23", 12))
    assert service(engine) == after


def test_an_instalment_plan_restores_and_each_part_is_dunned_by_its_own_day(
    engine: Engine,
) -> None:
    office = Office(engine)
    office.live("2026-12-15", "2026-12-23")
    with writing(engine) as connection:
        at = world.at("2026-12-23", 12)
        january = datetime.date(2027, 1, 10)
        agree(connection, invoice_id(), "plan-1", lambda m: even_parts(m, 2, january), ("N", at))
    assert service(engine) == ""
    pay(engine, 57_500, "2027-01-09")
    assert office.live("2026-12-24", "2027-02-20") == [
        ("2027-02-07", "soon", ""),  # the second part, due on 10 February
        ("2027-02-13", "reminder + fee", ""),
        ("2027-02-17", "slow", "slow_down"),
    ]
    assert {row.item_id for row in rows(engine, dunning_tables.dunning_step)} == {
        invoice_id(),
        f"{invoice_id()}/2",
    }


def state(engine: Engine) -> dict[str, list[Any]]:
    """Return everything that dunning has written, without processing times."""
    step, notice = dunning_tables.dunning_step, tables.notification
    return {
        "steps": sorted((r.account_id, r.item_id, r.step_id, r.effect) for r in rows(engine, step)),
        "told": sorted(r.notification_id for r in rows(engine, notice)),
        "charges": sorted(
            (r.charge_id, r.amount_minor) for r in rows(engine, charge_tables.charge)
        ),
        "service": [service(engine)],
    }


class KilledError(BaseException):
    """The process dies here."""


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        *(("notifications.enqueue", call) for call in (1, 2)),
        ("add_charges", 1),
        *(("_record", call) for call in (1, 2, 3, 4, 5)),
        *(("write_decision", call) for call in (1, 2, 3, 4)),
        *(("read_cases", call) for call in (2, 4, 6, 8)),
    ],
)
def test_a_process_that_dies_at_any_step_leaves_nothing_undone_and_nothing_twice(
    new_database: NewDatabase,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    call: int,
    is_after: bool,
) -> None:
    undisturbed, engine = new_database(), new_database()
    days = ("2026-12-12", "2026-12-18", "2026-12-22", "2026-12-29")
    for each in (undisturbed, engine):
        found(each)
    for day in days:
        Office(undisturbed).look(day)
    place, _, attribute = name.rpartition(".")
    target: Any = getattr(dunning, place) if place else dunning
    real: Callable[..., Any] = getattr(target, attribute)
    calls = 0

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not is_after:
            raise KilledError
        answer = real(*arguments, **named)
        if calls == call:
            raise KilledError
        return answer

    monkeypatch.setattr(target, attribute, dying)
    for day in days:
        try:
            Office(engine).look(day)
        except KilledError:
            Office(engine).look(day)
    assert calls > call, "it died, and went on"
    assert state(engine) == state(undisturbed)


def test_two_offices_at_once_act_once(new_database: NewDatabase) -> None:
    engine, alone = new_database(), new_database()
    names = ("karim", "rahim", "selim")
    for each in (engine, alone):
        found(each, names)
    days = ("2026-12-12", "2026-12-18", "2026-12-22", "2026-12-29", "2027-02-13")
    failures: list[Exception] = []
    offices = [Office(engine), Office(engine)]
    both = threading.Barrier(len(offices))

    def live(office: Office) -> None:
        try:
            for day in days:
                both.wait(30)
                office.loop.run_once(world.at(day, 10))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=live, args=(office,)) for office in offices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    single = Office(alone)
    for day in days:
        single.look(day)
    assert state(engine) == state(alone)
    assert sorted(offices[0].ended + offices[1].ended) == sorted(names)


def test_a_payment_between_the_look_and_the_step_is_seen(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(engine)
    real = office.loop._carry_out

    def paid_meanwhile(account_id: str, now_ms: int) -> Any:
        pay(engine, 115_000, "2026-12-18")
        return real(account_id, now_ms)

    monkeypatch.setattr(office.loop, "_carry_out", paid_meanwhile)
    assert office.look("2026-12-18", 15) == []
    assert told(engine) == []


def test_accounts_are_looked_at_a_part_at_a_time(new_database: NewDatabase) -> None:
    engine = new_database()
    names = ("karim", "rahim", "selim", "tahmid", "zara")
    found(engine, names)
    office = Office(engine, DunningConfig(accounts_per_run=2))
    looked = []
    for _ in range(4):
        looked.append(office.loop.run_once(world.at("2026-12-12", 10))[dunning.LOOKED_AT])
    assert looked == [2, 2, 1, 0]
    assert len(steps(engine)) == len(names)


def test_an_account_without_a_schedule_is_left_alone(engine: Engine) -> None:
    with writing(engine) as connection:
        connection.execute(delete(dunning_tables.branch_terms))
    assert Office(engine).live("2026-12-01", "2027-02-20") == []


def test_a_group_has_a_schedule_of_its_own(engine: Engine) -> None:
    with writing(engine) as connection:
        remind = {"step_id": "reminder", "days": 1, "action": "remind", "template": "overdue"}
        add_schedule(connection, "companies", steps=[remind], acts_from_hour=0)
        connection.execute(
            dunning_tables.customer_group.insert(),
            [
                {
                    "group_id": "firms",
                    "branch_id": "dhk",
                    "name": "Firms",
                    "schedule_id": "companies",
                }
            ],
        )
        connection.execute(
            dunning_tables.account_terms.insert(), [{"account_id": "karim", "group_id": "firms"}]
        )
    assert Office(engine).live("2026-12-01", "2027-02-20") == [("2026-12-16", "reminder", "")]


@pytest.mark.parametrize(
    ("zone", "utc", "day", "hour"),
    [
        ("Asia/Dhaka", "2026-12-12T03:00", "2026-12-12", 9),
        ("Asia/Kathmandu", "2026-12-12T18:15", "2026-12-13", 0),
        ("Europe/Berlin", "2026-03-29T00:59", "2026-03-29", 1),
        ("Europe/Berlin", "2026-03-29T01:00", "2026-03-29", 3),  # there is no 02:00
        ("Europe/Berlin", "2026-10-25T00:30", "2026-10-25", 2),
        ("Europe/Berlin", "2026-10-25T01:30", "2026-10-25", 2),  # the second 02:30
    ],
)
def test_the_local_day_and_hour(zone: str, utc: str, day: str, hour: int) -> None:
    at = datetime.datetime.fromisoformat(f"{utc}+00:00")
    moment = moment_at(zone, int(at.timestamp()) * 1000)
    assert moment == Moment(datetime.date.fromisoformat(day), hour)


def test_a_paid_invoices_steps_are_not_read_for_ever(engine: Engine) -> None:
    Office(engine).live("2026-12-15", "2026-12-23")
    pay(engine, 115_000, "2026-12-23")
    with reading(engine) as connection:
        (case,) = read_cases(connection, ["karim"], world.at("2026-12-24"))
    assert (case.dossier.items, case.dossier.taken) == ([], [])
