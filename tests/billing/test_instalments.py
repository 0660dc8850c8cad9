"""Instalments: how an amount is parted, and what is open of the parts as money comes and goes."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from billing.adapters.databases import reading, writing
from billing.adapters.instalments import PlanState, agree, cancel, plans_of
from billing.instalments import Instalment, InstalmentError, agreed_parts, even_parts, open_parts
from billing.payments import PaymentRefusedError
from tests.billing.conftest import NewDatabase
from tests.billing.payment_desk import NOON, Desk, invoice_id, open_desk


def day(text: str) -> datetime.date:
    return datetime.date.fromisoformat(text)


@pytest.mark.parametrize(
    ("amount", "count", "first", "months", "parts"),
    [
        (100, 3, "2026-12-15", 1, "12-15 34, 01-15 33, 02-15 33"),
        (90, 3, "2026-12-31", 1, "12-31 30, 01-31 30, 02-28 30"),
        (90, 3, "2026-01-31", 1, "01-31 30, 02-28 30, 03-31 30"),
        (60, 2, "2026-11-30", 3, "11-30 30, 02-28 30"),
        (5, 1, "2028-02-29", 1, "02-29 5"),
    ],
)
def test_equal_parts(amount: int, count: int, first: str, months: int, parts: str) -> None:
    found = even_parts(amount, count, day(first), months)
    assert ", ".join(f"{p.due_on:%m-%d} {p.amount_minor}" for p in found) == parts


@given(st.integers(1, 10**9), st.integers(1, 120), st.integers(0, 10**9))
def test_parts_sum_to_the_whole_and_money_is_neither_made_nor_lost(
    amount: int, count: int, paid: int
) -> None:
    if count > amount:
        return
    parts = even_parts(amount, count, day("2026-12-15"))
    assert sum(part.amount_minor for part in parts) == amount
    left = open_parts(parts, paid)
    assert sum(one.open_minor for one in left) == max(amount - paid, 0)
    numbers = [one.instalment.number for one in left]
    assert numbers == list(range(count - len(left) + 1, count + 1)), "the earliest are paid first"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (partial(even_parts, 100, 0, day("2026-12-15")), "count: expected 1 to 100, got 0"),
        (partial(even_parts, 2, 3, day("2026-12-15")), "count: expected 1 to 2, got 3"),
        (partial(even_parts, 9, 3, day("2026-12-15"), 0), "every_months: expected at least 1"),
        (partial(agreed_parts, 100, []), "expected at least one"),
        (partial(agreed_parts, 100, [(day("2026-12-15"), 99)]), "expected a sum of 100, got 99"),
        (partial(agreed_parts, 2, [(day("2026-12-15"), 1)] * 2), "each on a day of its own"),
        (partial(agreed_parts, 0, [(day("2026-12-15"), 0)]), "expected amounts above zero"),
    ],
)
def test_parts_that_cannot_be_say_what_was_expected(make: partial[object], why: str) -> None:
    with pytest.raises(InstalmentError, match=why):
        make()


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    open_desk(engine)
    return engine


def plan(engine: Engine, plan_id: str = "ipl-1", count: int = 2) -> PlanState:
    def parts_of(open_minor: int) -> Sequence[Instalment]:
        return even_parts(open_minor, count, day("2026-12-15"))

    with writing(engine) as connection:
        return agree(connection, invoice_id("sep"), plan_id, parts_of, ("Rina", NOON))


def standing(engine: Engine) -> str:
    with reading(engine) as connection:
        [state] = plans_of(connection, "karim")
    parts = ", ".join(f"{o.instalment.due_on:%m-%d} {o.open_minor}" for o in state.open)
    return f"{state.status}: {parts}"


@pytest.mark.parametrize(
    ("before", "lines", "found"),
    [
        ([], [], "running: 12-15 57500, 01-15 57500"),
        (["pay 150 for sep as a"], [], "running: 12-15 50000, 01-15 50000"),
        ([], ["pay 100"], "running: 12-15 47500, 01-15 57500"),
        ([], ["pay 575"], "running: 01-15 57500"),
        ([], ["pay 1150"], "done: "),
        ([], ["pay 1150 as p", "bounce p"], "running: 12-15 57500, 01-15 57500"),
        (["pay 150 for sep as a"], ["bounce a"], "running: 12-15 50000, 01-15 50000"),
        ([], ["pay 1150 for nov"], "running: 12-15 57500, 01-15 57500"),
    ],
)
def test_what_is_open_of_the_parts(
    engine: Engine, before: list[str], lines: list[str], found: str
) -> None:
    desk = Desk(engine)
    for line in before:
        desk.do(line)
    plan(engine)
    for line in lines:
        desk.do(line)
    assert standing(engine) == found


def test_an_invoice_has_one_plan_until_it_is_cancelled(engine: Engine) -> None:
    plan(engine)
    with pytest.raises(PaymentRefusedError, match="has an instalment plan: cancel it first"):
        plan(engine, "ipl-2")
    with writing(engine) as connection:
        assert cancel(connection, "ipl-1")
        assert not cancel(connection, "ipl-1")
    plan(engine, "ipl-2", count=3)
    with reading(engine) as connection:
        assert [state.status for state in plans_of(connection, "karim")] == ["cancelled", "running"]


def test_a_paid_invoice_takes_no_plan(engine: Engine) -> None:
    Desk(engine).do("pay 1150")
    with pytest.raises(PaymentRefusedError, match="asks for nothing"):
        plan(engine)
