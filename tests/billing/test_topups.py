"""A top-up that rating refused leaves no money on the ledger, whoever dies when."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, insert

from billing.adapters import ledger, tables
from billing.adapters.databases import reading, writing
from billing.adapters.invoices import record_topup
from billing.adapters.repositories import create
from billing.adapters.rows import write_rows
from billing.adapters.topups import reverse_refused_topups
from billing.payments import TopUp
from rating.rows import AccountEventResult
from tests.billing import world
from tests.billing.conftest import NewDatabase
from tests.billing.world import add_customer, at, home_plan

NOW = at("2026-11-15", 9)
LIMIT = 100


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    with writing(engine) as connection:
        create(connection, world.BRANCH)
        create(connection, home_plan())
        add_customer(connection, "karim")
        for number in (1, 2, 3):
            record_topup(
                connection, TopUp(f"topup:dhk:r{number}", "dhk", "karim", 50_000, "BDT", NOW), NOW
            )
    return engine


def answer(engine: Engine, number: int, outcome: str) -> None:
    with writing(engine) as connection:
        reason = "the plan is postpaid" if outcome == "refused" else ""
        write_rows(connection, [AccountEventResult(f"topup:dhk:r{number}", outcome, reason, NOW)])


def balances(engine: Engine) -> dict[str, int]:
    with reading(engine) as connection:
        assert ledger.broken_link(connection, "dhk") is None
        return {
            code: amount for (code, _), amount in ledger.trial_balance(connection, "dhk").items()
        }


def test_a_refused_top_up_is_taken_back_and_the_others_stand(engine: Engine) -> None:
    answer(engine, 1, "applied")
    answer(engine, 2, "refused")
    assert reverse_refused_topups(engine, LIMIT, NOW) == 1
    assert balances(engine) == {"cash": 100_000, "prepaid": -100_000}
    with reading(engine) as connection:
        [reversal] = ledger.find_transactions(connection, ["topup_refused:topup:dhk:r2"])
    assert reversal.description == "Top-up refused: the plan is postpaid"
    assert [entry.amount_minor for entry in reversal.entries] == [-50_000, 50_000]


def test_it_is_taken_back_once(engine: Engine) -> None:
    answer(engine, 2, "refused")
    assert [reverse_refused_topups(engine, LIMIT, NOW + n) for n in range(3)] == [1, 0, 0]
    answer(engine, 3, "refused")
    assert reverse_refused_topups(engine, LIMIT, NOW) == 1
    assert balances(engine) == {"cash": 50_000, "prepaid": -50_000}


def test_more_than_the_limit_follow_in_the_next_run(engine: Engine) -> None:
    for number in (1, 2, 3):
        answer(engine, number, "refused")
    assert [reverse_refused_topups(engine, 2, NOW) for _ in range(3)] == [2, 1, 0]
    assert balances(engine) == {"cash": 0, "prepaid": 0}


class Died(Exception):  # noqa: N818 (not an error: the process is gone)
    """Stands for a process that is killed: nothing behind it runs, the transaction rolls back."""


@pytest.mark.parametrize("step", ["find_transactions", "post", "commit"])
def test_an_office_that_dies_before_its_commit_does_it_at_its_next_start(
    engine: Engine, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(engine, 2, "refused")
    real = getattr(ledger, "post" if step == "commit" else step)

    def die(*arguments: object) -> None:
        if step == "commit":
            real(*arguments)  # everything is written, nothing committed
        raise Died

    monkeypatch.setattr(ledger, "post" if step == "commit" else step, die)
    with pytest.raises(Died):
        reverse_refused_topups(engine, LIMIT, NOW)
    assert balances(engine) == {"cash": 150_000, "prepaid": -150_000}
    monkeypatch.undo()
    assert reverse_refused_topups(engine, LIMIT, NOW) == 1
    assert balances(engine) == {"cash": 100_000, "prepaid": -100_000}


def test_a_web_process_that_dies_before_its_commit_leaves_neither_event_nor_posting(
    engine: Engine,
) -> None:
    topup = TopUp("topup:dhk:r9", "dhk", "karim", 50_000, "BDT", NOW)

    def die_before_the_commit() -> None:
        with writing(engine) as connection:
            record_topup(connection, topup, NOW)
            raise Died

    with pytest.raises(Died):
        die_before_the_commit()
    answer(engine, 9, "refused")  # cannot happen, and would do no harm
    assert reverse_refused_topups(engine, LIMIT, NOW) == 0
    assert balances(engine) == {"cash": 150_000, "prepaid": -150_000}


def test_refused_events_of_other_kinds_touch_no_money(engine: Engine) -> None:
    row = {"event_id": "evt_1", "outcome": "refused", "reason": "no plan", "decided_at": NOW}
    with writing(engine) as connection:
        connection.execute(insert(tables.account_event_result).values(row))
    assert reverse_refused_topups(engine, LIMIT, NOW) == 0
