"""What a card should have at each moment, and the steps that lead there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from billing.cable.access import CardState
from billing.cable.catalog import ChannelPackage
from billing.cable.entitlements import (
    CardFacts,
    Holding,
    Renewal,
    after,
    differences,
    next_change_at,
    next_step,
    wanted_state,
)

DAY = 86_400_000
RENEWAL = Renewal(40 * DAY, 10 * DAY)
CATALOG = {
    name: ChannelPackage(name, "dhk", "base", name, name.upper(), "", ("news",))
    for name in ("basic", "sport")
}


def holding(package: str, starts_at: int, ends_at: int | None = None) -> Holding:
    return Holding(f"h-{package}", "dhk", "acc", "karim", 1, package, starts_at, ends_at)


def facts(*holdings: Holding, box: str = "B1", barred: str = "") -> CardFacts:
    return CardFacts("C1", box, holdings, barred)


def names(state: CardState) -> list[str]:
    return sorted(state.entitlements)


def test_what_runs_is_entitled_and_what_has_ended_is_not() -> None:
    card = facts(holding("basic", 100), holding("sport", 5 * DAY, 9 * DAY))
    have = {
        at: names(wanted_state(card, CATALOG, RENEWAL, at))
        for at in (99, 100, 5 * DAY - 1, 5 * DAY, 9 * DAY - 1, 9 * DAY)
    }
    assert have == {
        99: [],
        100: ["BASIC"],
        5 * DAY - 1: ["BASIC"],
        5 * DAY: ["BASIC", "SPORT"],
        9 * DAY - 1: ["BASIC", "SPORT"],
        9 * DAY: ["BASIC"],
    }


def test_an_entitlement_never_outlives_what_was_bought() -> None:
    card = facts(holding("sport", 0, 9 * DAY))
    assert wanted_state(card, CATALOG, RENEWAL, DAY).entitlements == {"SPORT": 9 * DAY}


def test_who_is_barred_keeps_the_pairing_alone() -> None:
    card = facts(holding("basic", 0), barred="the subscriber is suspended")
    assert wanted_state(card, CATALOG, RENEWAL, DAY) == CardState("B1")
    assert next_change_at(card, RENEWAL, DAY) is None


def test_a_card_in_no_box_has_nothing() -> None:
    assert wanted_state(facts(holding("basic", 0), box=""), CATALOG, RENEWAL, DAY) == CardState()


@given(now=st.integers(0, 10**13), serial=st.text(min_size=1, max_size=8))
def test_an_entitlement_is_renewed_long_before_it_expires(now: int, serial: str) -> None:
    expires, renewed = RENEWAL.expires_at(serial, now), RENEWAL.next_at(serial, now)
    assert now < renewed <= now + 10 * DAY
    assert expires - now > 30 * DAY
    assert RENEWAL.expires_at(serial, renewed) == expires + 10 * DAY
    assert RENEWAL.expires_at(serial, renewed - 1) == expires


def test_the_renewals_of_many_cards_are_spread() -> None:
    days = {RENEWAL.next_at(f"C{number}", 0) // DAY for number in range(200)}
    assert days == set(range(10))


def test_the_clock_alone_changes_a_card_at_starts_ends_and_renewals() -> None:
    card = facts(holding("basic", 100), holding("sport", 5 * DAY, 6 * DAY))
    renewal = RENEWAL.next_at("C1", 200)
    assert next_change_at(card, RENEWAL, 0) == 100
    assert next_change_at(card, RENEWAL, 200) == min(5 * DAY, renewal)
    assert next_change_at(card, RENEWAL, 5 * DAY) in (6 * DAY, renewal)


STATES = st.builds(
    CardState,
    st.sampled_from(["", "B1", "B2"]),
    st.dictionaries(st.sampled_from(["P1", "P2", "P3"]), st.integers(1, 3)),
)


@given(known=STATES, wanted=STATES)
def test_steps_lead_from_anything_to_anything(known: CardState, wanted: CardState) -> None:
    steps = []
    while (step := next_step(wanted, known)) is not None:
        steps.append(step)
        known = after(known, step)
        assert len(steps) <= 8
    assert known == wanted
    assert differences(wanted, known) == []
    order = [("withdraw", "unpair", "pair", "entitle").index(step.operation) for step in steps]
    assert order == sorted(order), "what must not be shown any more goes first"


def test_differences_are_told_in_words() -> None:
    wanted = CardState("B1", {"P1": 5, "P2": 5})
    found = CardState("B2", {"P2": 6, "P3": 5})
    assert differences(wanted, found) == [
        "paired with B2, not B1",
        "lacks P1",
        "has P2 until another instant",
        "has P3, which it should not",
    ]
    assert differences(CardState(), CardState("B2")) == ["paired with B2, not none"]
