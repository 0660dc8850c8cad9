"""Stock and pairings in both databases: one at a time, the history kept, races lost by one."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from billing.adapters import cable_tables
from billing.adapters.cable_catalog import holdings_of
from billing.adapters.cable_stock import (
    find_device,
    move_device,
    movements_of,
    pairings_of,
    receive_device,
)
from billing.adapters.databases import reading, writing
from billing.cable.refusals import RefusedError
from billing.cable.stock import Order
from tests.billing.cable import tv_world
from tests.billing.cable.tv_world import Desk
from tests.billing.conftest import NewDatabase


@pytest.fixture
def desk(new_database: NewDatabase) -> Desk:
    engine = new_database()
    tv_world.found(engine)
    tv_world.stock(engine, "C1", "C2", "B1", "B2", "B3")
    now = iter(range(1_000, 10**9, 1_000))
    return Desk(engine, lambda: next(now))


def where(desk: Desk, *serials: str) -> list[tuple[str, str]]:
    with reading(desk.engine) as connection:
        devices = [find_device(connection, serial) for serial in serials]
    return [(d.state, d.subscriber_id) for d in devices if d]


def history(desk: Desk, serial: str) -> list[str]:
    with reading(desk.engine) as connection:
        return [m.action for m in movements_of(connection, serial)]


def standing(desk: Desk, who: str) -> list[tuple[int, str, str]]:
    with reading(desk.engine) as connection:
        pairings = pairings_of(connection, who)
    return [(p.outlet, p.card_serial, p.box_serial) for p in pairings if p.ended_at is None]


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(RefusedError) as refused:
        action()
    return str(refused.value)


def test_a_pairing_takes_both_out_of_the_store(desk: Desk) -> None:
    desk.pair("karim", "C1", "B1")
    assert where(desk, "C1", "B1", "B2") == [
        ("issued", "karim"),
        ("issued", "karim"),
        ("in_store", ""),
    ]
    assert history(desk, "C1") == ["receive", "store", "issue"]
    assert standing(desk, "karim") == [(1, "C1", "B1")]


def test_what_is_in_use_is_not_paired_again(desk: Desk) -> None:
    desk.pair("karim", "C1", "B1")
    assert refusal(lambda: desk.pair("rahim", "C1", "B2")) == (
        "The smart card 'C1' is issued to karim, not in store"
    )
    assert refusal(lambda: desk.pair("rahim", "C2", "B1")).endswith("issued to karim, not in store")
    assert refusal(lambda: desk.pair("karim", "C1", "B2", 2)) == "'C1' is paired already (outlet 1)"
    assert refusal(lambda: desk.pair("karim", "C2", "B2")).startswith("Outlet 1 has a box already")
    assert (
        refusal(lambda: desk.pair("rahim", "B2", "B3")) == "'B2' is a set-top box, not a smart card"
    )
    assert refusal(lambda: desk.pair("rahim", "C9", "B3")) == (
        "There is no smart card 'C9' in this branch"
    )
    assert standing(desk, "rahim") == []
    assert where(desk, "B2", "B3", "C2") == [("in_store", "")] * 3, "a refusal moves nothing"


def test_a_second_television_is_a_second_outlet(desk: Desk) -> None:
    desk.pair("karim", "C1", "B1")
    desk.pair("karim", "C2", "B2", outlet=2)
    assert standing(desk, "karim") == [(1, "C1", "B1"), (2, "C2", "B2")]


def test_a_swap_keeps_card_and_packages(desk: Desk) -> None:
    first = desk.pair("karim", "C1", "B1")
    desk.change("karim", add="basic sport")
    with reading(desk.engine) as connection:
        before = holdings_of(connection, "karim")
    second = desk.swap(first, "faulty", box="B2")
    assert standing(desk, "karim") == [(1, "C1", "B2")]
    assert where(desk, "C1", "B1", "B2") == [
        ("issued", "karim"), ("faulty", ""), ("issued", "karim"),
    ]  # fmt: skip
    with reading(desk.engine) as connection:
        assert holdings_of(connection, "karim") == before
        ended = [(p.pairing_id, p.end_reason) for p in pairings_of(connection, "karim")]
    assert ended == [(first, "faulty"), (second, "")]
    assert refusal(lambda: desk.swap(first, "faulty", box="B3")).endswith("has ended already")
    assert "needs another card_serial" in refusal(lambda: desk.swap(second, "faulty", box="B2"))
    assert "reason 'broken': expected one of" in refusal(
        lambda: desk.swap(second, "broken", box="B3")
    )


def test_a_swap_that_fails_changes_nothing(desk: Desk) -> None:
    first = desk.pair("karim", "C1", "B1")
    desk.pair("rahim", "C2", "B2")
    refusal(lambda: desk.swap(first, "faulty", box="B2"))
    assert standing(desk, "karim") == [(1, "C1", "B1")]
    assert where(desk, "B1") == [("issued", "karim")]


def test_a_device_in_use_is_not_moved_behind_its_pairing(desk: Desk) -> None:
    pairing = desk.pair("karim", "C1", "B1")

    def give_back() -> None:
        with writing(desk.engine) as connection:
            move_device(connection, "B1", Order("return", 1, "clerk"))

    assert refusal(give_back).startswith(f"'B1' is in use (pairing '{pairing}')")
    desk.end(pairing, "returned", "C1", "B1")
    assert where(desk, "C1", "B1") == [("returned", ""), ("returned", "")]


def test_what_stays_with_the_customer_can_be_paired_again(desk: Desk) -> None:
    pairing = desk.pair("karim", "C1", "B1")
    desk.end(pairing, "stolen", "B1")
    assert where(desk, "C1", "B1") == [("issued", "karim"), ("lost", "")]
    desk.pair("karim", "C1", "B2")
    assert standing(desk, "karim") == [(1, "C1", "B2")]
    assert history(desk, "C1").count("issue") == 1
    assert "C2: not part of this pairing" in refusal(
        lambda: desk.end("pair_0002", "returned", "C2")
    )


def test_a_serial_is_received_once(desk: Desk) -> None:
    def receive(model: str = "box-1") -> None:
        with writing(desk.engine) as connection:
            receive_device(connection, "B1", model, Order("receive", 1, "clerk", "", "dhk"))

    assert refusal(receive) == "The serial 'B1' is in stock already: serials are unique"
    assert refusal(lambda: receive("box-9")) == "There is no model 'box-9' in this branch"


def test_the_database_itself_pairs_a_card_once(desk: Desk) -> None:
    desk.pair("karim", "C1", "B1")
    row = {
        "pairing_id": "p9", "branch_id": "dhk", "subscriber_id": "rahim", "outlet": 1,
        "card_serial": "C1", "box_serial": "B2", "paired_at": 1, "paired_by": "nobody",
    }  # fmt: skip
    with pytest.raises(IntegrityError), writing(desk.engine) as connection:
        connection.execute(insert(cable_tables.cable_pairing), [row])


def test_of_two_clerks_at_once_one_gets_the_card(desk: Desk) -> None:
    said: list[str] = []
    barrier = threading.Barrier(2)

    def try_to(who: str, box: str) -> None:
        barrier.wait()
        try:
            desk.pair(who, "C1", box)
            said.append("paired")
        except RefusedError as error:
            said.append(str(error))

    threads = [
        threading.Thread(target=try_to, args=pair) for pair in (("karim", "B1"), ("rahim", "B2"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(said, key=len)[0] == "paired"
    assert "not in store" in max(said, key=len)
    with reading(desk.engine) as connection:
        rows = connection.execute(select(cable_tables.cable_pairing)).all()
    assert len(rows) == 1


def changed(desk: Desk, who: str = "karim") -> list[tuple[str, int, int | None]]:
    with reading(desk.engine) as connection:
        return [(h.package_id, h.starts_at, h.ends_at) for h in holdings_of(connection, who)]


def test_a_change_of_packages_ends_one_and_begins_the_other_at_one_instant(desk: Desk) -> None:
    desk.change("karim", add="basic sport", at=1_000)
    desk.change("karim", add="gold", remove="basic", at=5_000)
    assert changed(desk) == [("basic", 1_000, 5_000), ("sport", 1_000, None), ("gold", 5_000, None)]


def test_a_change_that_would_not_fit_changes_nothing(desk: Desk) -> None:
    desk.change("karim", add="basic sport", at=1_000)
    before = changed(desk)
    for add, remove, said in (
        ("", "basic", "Sport needs a base package"),
        ("gold", "", "both base packages"),
        ("sport", "", "Outlet 1 has 'sport' already"),
        ("", "kids", "Outlet 1 does not have 'kids' then"),
    ):
        assert said in refusal(functools.partial(desk.change, "karim", add, remove, 5_000))
    assert changed(desk) == before


def test_what_was_to_begin_later_and_is_taken_back_never_begins(desk: Desk) -> None:
    desk.change("karim", add="basic", at=9_000)
    desk.change("karim", remove="basic", at=5_000)
    assert changed(desk) == [("basic", 9_000, 9_000)]


def test_changes_make_the_card_due(desk: Desk) -> None:
    desk.pair("karim", "C1", "B1")
    card = cable_tables.cable_card
    with writing(desk.engine) as connection:
        connection.execute(card.update().values(due_at=None))
    desk.change("karim", add="basic", at=7_000)
    with reading(desk.engine) as connection:
        rows = connection.execute(select(card.c.card_serial, card.c.due_at)).all()
    assert {row.card_serial: row.due_at for row in rows} == {"C1": 0, "C2": None}


def test_a_box_is_issued_by_the_branch_that_has_it(desk: Desk) -> None:
    """A transfer takes a box to the other branch's store, and only that branch may issue it."""
    with writing(desk.engine) as connection:
        tv_world.move(connection, "B3", "transfer", branch_id="ctg")
    assert refusal(lambda: desk.pair("karim", "C1", "B3")) == (
        "There is no set-top box 'B3' in this branch"
    )
