"""Every card comes to what its subscriber has bought, whatever the system or the office suffers."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import delete, insert, select, update

from billing.adapters import cable_tables, tables
from billing.adapters.databases import writing
from billing.adapters.dunning_tables import dunning_restriction
from billing.cable.access import CardState
from billing.cable.refusals import RefusedError
from infra.simulation.conditional_access import Faults, SimulatedCas
from tests.billing.cable import tv_world
from tests.billing.cable.head_end import HeadEnd
from tests.billing.conftest import NewDatabase

HOUR = 3_600
DAY = 24 * HOUR


@pytest.fixture
def end(new_database: NewDatabase) -> HeadEnd:
    end = HeadEnd(new_database())
    tv_world.stock(end.engine, "C1", "C2", "C3", "B1", "B2", "B3")
    return end


def test_an_idle_office_sends_nothing_once_it_knows_its_cards(end: HeadEnd) -> None:
    end.run()
    assert {request.operation for request in end.sent} == {"query"}
    end.sent.clear()
    end.run(20)
    assert end.sent == []


def test_a_new_customer_watches_within_one_turn_and_each_command_is_proven(end: HeadEnd) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="basic sport")
    end.run()
    assert end.has("C1") == ("B1", ["P-BASIC", "P-SPORT"])
    assert end.commands("C1") == [
        ("pair B1", "verified"),
        ("entitle P-BASIC", "verified"),
        ("entitle P-SPORT", "verified"),
    ]
    assert end.counts["cas_commands_verified"] == 3


def test_a_second_turn_and_a_second_office_change_nothing(end: HeadEnd) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="basic")
    end.run()
    before = end.commands("C1")
    end.run(20)
    end.start()
    end.run(20)
    assert end.commands("C1") == before
    assert end.cas.done == len(before)


def test_two_offices_at_once_command_each_card_once(end: HeadEnd) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="basic sport kids")
    first = end.loop
    end.start()
    failures: list[Exception] = []

    def run(loop: object) -> None:
        try:
            for turn in range(8):
                loop.run_once(end.now + 2_000 * turn)  # type: ignore[attr-defined]
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(loop,)) for loop in (first, end.loop)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    end.run(100)
    assert failures == []
    assert [what for what, _ in end.commands("C1")] == [
        "pair B1", "entitle C-KIDS", "entitle P-BASIC", "entitle P-SPORT",
    ]  # fmt: skip
    assert end.wrong_cards() == {}


def test_suspension_takes_the_packages_and_payment_brings_them_back(end: HeadEnd) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="gold")
    end.run()
    end.desk.set_status("karim", "suspended")
    end.run()
    assert end.has("C1") == ("B1", [])
    end.desk.set_status("karim", "active")
    end.run()
    assert end.has("C1") == ("B1", ["P-GOLD"])
    assert [what for what, _ in end.commands("C1")] == [
        "pair B1", "entitle P-GOLD", "withdraw P-GOLD", "entitle P-GOLD",
    ]  # fmt: skip


@pytest.mark.parametrize(("action", "is_dark"), [("slow_down", False), ("block", True)])
def test_an_account_that_dunning_blocks_has_no_television_until_it_has_paid(
    end: HeadEnd, action: str, is_dark: bool
) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="gold")
    end.run()
    with writing(end.engine) as connection:
        who = select(tables.subscriber.c.account_id, tables.subscriber.c.branch_id)
        account_id, branch_id = connection.execute(
            who.where(tables.subscriber.c.subscriber_id == "karim")
        ).one()
        row = {"account_id": account_id, "branch_id": branch_id, "action": action, "reason": ""}
        more = {"item_id": "inv", "step_id": "s", "decided_at": 1}
        connection.execute(insert(dunning_restriction), [row | more])
    end.run()
    assert end.has("C1") == ("B1", [] if is_dark else ["P-GOLD"])
    with writing(end.engine) as connection:
        connection.execute(delete(dunning_restriction))


@pytest.mark.parametrize(
    ("action", "watches"),
    [("slow_down", True), ("walled_garden", True), ("block", False)],
)
def test_what_dunning_holds_an_account_to(end: HeadEnd, action: str, watches: bool) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="gold")
    end.run()
    end.desk.restrict("karim", action)
    end.run()
    assert end.has("C1") == ("B1", ["P-GOLD"] if watches else [])
    end.desk.restrict("karim", "")
    end.run()
    assert end.has("C1") == ("B1", ["P-GOLD"])


def test_a_package_begins_and_ends_by_the_clock_alone(end: HeadEnd) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="basic", at=end.now + HOUR * 1000)
    end.run(HOUR - 4)
    assert end.has("C1") == ("B1", [])
    end.run(6)
    assert end.has("C1") == ("B1", ["P-BASIC"])
    end.desk.change("karim", remove="basic", at=end.now + HOUR * 1000)
    end.run()
    [until] = end.cas.cards["C1"].entitlements.values()
    assert until <= end.now + HOUR * 1000, "the card goes dark even if nobody tells it"
    end.run(HOUR + 4)
    assert end.has("C1") == ("B1", [])


def test_an_entitlement_is_renewed_before_it_expires(end: HeadEnd) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="basic")
    end.run()
    for _ in range(45):
        end.run(DAY, step=DAY)
        assert end.has("C1") == ("B1", ["P-BASIC"])
    assert [what for what, _ in end.commands("C1")].count("entitle P-BASIC") in (5, 6)


def test_without_renewal_it_would_have_gone_dark(end: HeadEnd) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="basic")
    end.run()
    end.is_down = True
    end.run(41 * DAY, step=DAY)
    assert end.has("C1") == ("B1", [])


def test_an_hour_without_the_system_is_made_up_for_when_it_is_back(end: HeadEnd) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="basic")
    end.run()
    end.is_down = True
    end.desk.pair("rahim", "C2", "B2")
    end.desk.change("rahim", add="gold")
    end.run(HOUR // 2, step=20)
    end.desk.change("karim", add="gold", remove="basic")
    end.run(HOUR // 2, step=20)
    assert end.has("C2") == ("", [])
    end.is_down = False
    end.run(120)
    assert (end.has("C1"), end.has("C2")) == (("B1", ["P-GOLD"]), ("B2", ["P-GOLD"]))
    assert end.counts["cas_turns_unreachable"] == 180


def test_what_never_left_and_is_wanted_no_more_is_given_up(end: HeadEnd) -> None:
    end.is_down = True
    end.desk.pair("karim", "C1", "B1")
    end.run()
    end.desk.swap("pair_0001", "faulty", box="B2")
    end.run()
    end.is_down = False
    end.run(20)
    assert end.commands("C1") == [("pair B1", "superseded"), ("pair B2", "verified")]


def test_a_lost_answer_is_repeated_under_the_same_key(end: HeadEnd) -> None:
    end.run()
    end.faults = Faults(lost_after_percent=100)
    end.desk.pair("karim", "C1", "B1")
    end.run(8)
    assert end.commands("C1") == [("pair B1", "pending")]
    end.faults = Faults()
    end.run(60)
    assert end.commands("C1") == [("pair B1", "verified")]
    assert len({r.request_id for r in end.sent if r.operation == "pair"}) == 1
    assert len([r for r in end.sent if r.operation == "pair"]) > 1
    assert end.cas.done == 1


def test_the_office_dies_between_sending_and_hearing(end: HeadEnd) -> None:
    end.desk.pair("karim", "C1", "B1")
    command = cable_tables.cas_command
    end.is_down = True
    end.run()
    with writing(end.engine) as connection:  # recorded as sent, and then the power went
        connection.execute(update(command).values(outcome="sent", attempts=1, sent_at=end.now))
    end.is_down = False
    end.run(20)
    assert end.commands("C1") == [("pair B1", "sent")], "the answer might still come"
    end.start()
    end.run(20)
    assert end.commands("C1") == [("pair B1", "verified")]


def test_what_the_system_acknowledged_and_forgot_is_done_again(end: HeadEnd) -> None:
    class Forgetful(SimulatedCas):
        is_forgetful = True

        def _do(self, request, now_ms):  # type: ignore[no-untyped-def]
            if self.is_forgetful and request.operation == "entitle":
                return "", ""
            return super()._do(request, now_ms)

    end.cas = Forgetful()
    end.start()
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="basic")
    end.run(20)
    assert end.commands("C1")[1:] == [("entitle P-BASIC", "lost")] * 3
    assert end.notices() == ["Card C1: entitle failed"]
    end.cas.is_forgetful = False
    end.run(6 * HOUR, step=600)
    assert end.has("C1") == ("B1", ["P-BASIC"])


def test_a_refusal_for_good_is_told_once_and_tried_again_later(end: HeadEnd) -> None:
    end.cas = SimulatedCas(known_cards=["C2"])
    end.start()
    end.desk.pair("karim", "C1", "B1")
    end.run(60)
    assert end.commands("C1") == [("pair B1", "failed")]
    assert end.notices() == ["Card C1: pair failed"]
    end.run(7 * HOUR, step=600)
    assert end.commands("C1") == [("pair B1", "failed")] * 2


def test_a_system_that_has_lost_or_gained_something_is_repaired(end: HeadEnd) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="basic")
    end.run()
    far = end.now + 400 * DAY * 1000
    end.cas.cards["C1"] = CardState("B1", {"P-SPORT": far})
    end.cas.cards["C3"] = CardState("B9", {"P-GOLD": far})  # a card in the store that shows TV
    end.run(DAY + 10, step=600)
    assert (end.has("C1"), end.has("C3")) == (("B1", ["P-BASIC"]), ("", []))
    assert end.counts["cas_cards_differing"] == 2


def test_a_message_is_shown_once_and_after_what_was_bought(end: HeadEnd) -> None:
    end.desk.pair("karim", "C1", "B1")
    end.desk.change("karim", add="basic")
    end.ask_for("message", "C1", "Welcome, Karim")
    end.ask_for("refresh", "C1")
    end.run()
    end.start()
    end.run(20)
    assert end.cas.shown == [("C1", "Welcome, Karim"), ("C1", "refresh")]
    assert end.commands("C1")[-2:] == [
        ("message Welcome, Karim", "acknowledged"), ("refresh", "acknowledged"),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_after_any_day_at_a_bad_system_every_card_is_right(
    new_database: NewDatabase, seed: int
) -> None:
    """Clerks, faults and crashes at random; then an hour of calm, and nothing may differ."""
    end = HeadEnd(new_database(), seed)
    boxes, cards = [f"B{n}" for n in range(5)], [f"C{n}" for n in range(5)]
    tv_world.stock(end.engine, *boxes, *cards)
    chance, pairings = end.random, []
    end.faults = Faults(lost_before_percent=20, lost_after_percent=20, busy_percent=10)
    done = 0
    for _ in range(120):
        who = chance.choice(["karim", "rahim"])
        try:
            match chance.randrange(9):
                case 0 | 1:
                    outlet = chance.randrange(1, 3)
                    new = end.desk.pair(who, chance.choice(cards), chance.choice(boxes), outlet)
                    pairings.append(new)
                case 2 if pairings:
                    reason = chance.choice(["faulty", "stolen", "returned"])
                    pairings.append(
                        end.desk.swap(chance.choice(pairings), reason, box=chance.choice(boxes))
                    )
                case 3 if pairings:
                    end.desk.end(chance.choice(pairings), "returned")
                case 4 | 5:
                    end.desk.change(who, add=chance.choice(["basic", "gold", "sport", "kids"]))
                case 6:
                    end.desk.change(who, remove=chance.choice(["basic", "gold", "sport", "kids"]))
                case 7:
                    end.desk.set_status(who, chance.choice(["active", "suspended"]))
                case _:
                    end.is_down = not end.is_down
            done += 1
        except RefusedError:
            pass
        if chance.random() < 0.1:
            end.start()
        if chance.random() < 0.1:
            end.cas.restart()
        end.run(chance.randrange(2, 60))
    assert done > 40
    assert any(pairings)
    end.is_down, end.faults = False, Faults()
    end.start()
    end.run(2 * HOUR, step=10)
    assert end.wrong_cards() == {}
    outcomes = {outcome for card in cards for _, outcome in end.commands(card)}
    assert outcomes <= {"verified", "superseded", "failed", "lost"}
