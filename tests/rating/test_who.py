"""Who a flow belongs to: RADIUS, static prefixes and the flow's own user, in a settable order."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.addresses import parse_prefix
from rating.attribution import PAGE_SCHEMA
from rating.page_bodies import decode_page, encode_page
from rating.records import DirectoryEntry, FlowMinute, SessionBinding
from rating.session_config import WHO, AttributionConfig, check_attribution
from tests.rating.accounting_log import PEOPLE, at, entry, minute
from tests.rating.flow_log import Attribution, binding, flow

STATIC = entry("static_prefix", "100.64.0.0/24", "s-office")


def attribution(*order: str, directory: tuple[DirectoryEntry, ...] = ()) -> Attribution:
    config = AttributionConfig(who_order=order or WHO)
    return Attribution(config, (*PEOPLE, STATIC, *directory))


def owner(stage: Attribution, host: str = "100.64.0.1", **more: Any) -> str:
    """Return who gets a flow of 10:05 that names alice, unless told otherwise."""
    more.setdefault("user_name", "alice")
    stage.feed([flow("10:05", host, 100, **more)], watermark="10:10:00")
    ((_, subscriber, _, _, _),) = stage.minutes()
    return str(subscriber)


@pytest.mark.parametrize("order", list(itertools.permutations(WHO)))
def test_the_first_of_the_order_that_knows_somebody_decides(order: tuple[str, ...]) -> None:
    holders = {"radius": "s-carol", "static_prefix": "s-office", "flow_user": "s-alice"}
    for known in itertools.product([False, True], repeat=3):
        knows = dict(zip(WHO, known, strict=True))
        stage = attribution(*order)
        if knows["radius"]:
            stage.feed(bindings=[binding("s-carol", "100.64.0.1", "10:00:00")])
        host = "100.64.0.1" if knows["static_prefix"] else "100.64.9.1"
        if knows["radius"] and not knows["static_prefix"]:
            stage.feed(bindings=[binding("s-carol", "100.64.9.1", "10:00:00")])
        name = "alice" if knows["flow_user"] else ""
        expected = next((holders[kind] for kind in order if knows[kind]), "")
        assert owner(stage, host, user_name=name) == expected


def test_what_is_left_out_of_the_order_is_not_asked() -> None:
    assert owner(attribution("radius", "static_prefix"), "100.64.9.1") == ""
    assert owner(attribution("flow_user"), user_name="") == ""
    assert owner(attribution("flow_user")) == "s-alice"


def test_todays_order_is_the_default() -> None:
    assert AttributionConfig().who_order[:2] == ("radius", "static_prefix")
    stage = attribution()
    stage.feed(bindings=[binding("s-carol", "100.64.0.1", "10:00:00")])
    assert owner(stage) == "s-carol"
    assert owner(attribution()) == "s-office"


def test_a_name_that_the_directory_does_not_know_falls_to_the_next() -> None:
    assert owner(attribution("flow_user", "static_prefix"), user_name="mallory") == "s-office"
    assert owner(attribution("flow_user", "radius"), user_name="mallory") == ""


def test_a_binding_of_an_unknown_user_hides_what_comes_behind_it() -> None:
    stage = attribution()
    stage.feed(bindings=[binding("", "100.64.0.1", "10:00:00")])
    assert owner(stage) == ""


def test_a_name_is_as_exact_as_radius_user_names() -> None:
    assert owner(attribution("flow_user"), user_name="Alice") == ""


def test_a_name_holds_from_when_the_directory_says() -> None:
    moved = entry(
        "identity", "user_name:dora", "s-new", valid_from_at=at("10:05:00"), entry_id="new"
    )
    old = entry(
        "identity", "user_name:dora", "s-old", valid_until_at=at("10:05:00"), entry_id="old"
    )
    stage = attribution("flow_user", directory=(moved, old))
    rows = [flow(clock, "100.64.0.1", 1, user_name="dora") for clock in ("10:04", "10:05")]
    stage.feed(rows, watermark="10:10:00")
    owners = {key[4]: key[1] for key in stage.minutes()}
    assert owners == {minute("10:04"): "s-old", minute("10:05"): "s-new"}


def test_users_of_one_address_get_each_his_own() -> None:
    stage = attribution("flow_user", "static_prefix")
    rows = [
        flow("10:05", "100.64.0.1", 1, user_name="alice"),
        flow("10:05", "100.64.0.1", 2, user_name="bob"),
        flow("10:05", "100.64.0.1", 4),
        flow("10:05", "100.64.0.1", 8, user_name="mallory"),
    ]
    stage.feed(rows, watermark="10:10:00")
    assert stage.by_key() == {"s-alice": 1, "pool-family": 2, "s-office": 12}


def test_a_late_binding_takes_from_the_named_user_what_was_his() -> None:
    stage = attribution("radius", "flow_user")
    stage.feed([flow("10:05", "100.64.0.1", 100, user_name="alice")], watermark="10:10:00")
    assert stage.by_key() == {"s-alice": 100}
    late = binding("s-carol", "100.64.0.1", "10:00:00", arrives="10:20:00")
    stage.feed(bindings=[late], watermark="10:20:00")
    assert stage.by_key() == {"s-carol": 100}


def test_a_late_binding_leaves_alone_whom_the_flow_named_first() -> None:
    stage = attribution("flow_user", "radius")
    rows = [
        flow("10:05", "100.64.0.1", 100, user_name="alice"),
        flow("10:05", "100.64.0.1", 10),
    ]
    stage.feed(rows, watermark="10:10:00")
    late = binding("s-carol", "100.64.0.1", "10:00:00", arrives="10:20:00")
    stage.feed(bindings=[late], watermark="10:20:00")
    assert stage.by_key() == {"s-alice": 100, "s-carol": 10}


def test_a_page_that_waits_from_the_version_before_is_joined() -> None:
    stage = attribution()
    stage.feed([flow("10:05", "100.64.0.1", 100)], watermark="10:05:30")
    pages = stage.state.collections["pages"]
    for key, body in pages.items():
        pages[key] = encode_page(decode_page(body, PAGE_SCHEMA).drop("user_name"))
    stage.feed([flow("10:05", "100.64.0.1", 1, user_name="alice")], watermark="10:10:00")
    assert stage.by_key() == {"s-office": 101}


@pytest.mark.parametrize(
    "order", [(), ("radius", "radius"), ("radius", "dns"), ("RADIUS",), ("flow_user", "")]
)
def test_an_order_with_unknown_or_repeated_names_is_refused(order: tuple[str, ...]) -> None:
    (problem,) = check_attribution(AttributionConfig(who_order=order))
    assert problem.startswith("who_order = ")
    assert "radius, static_prefix, flow_user" in problem


# -- the same in any order of arrival --------------------------------------------------------------

HOSTS = ("100.64.0.1", "100.64.0.2", "100.64.9.1")
NAMES = ("", "alice", "bob", "mallory")
USERS = {"alice": "s-alice", "bob": "s-bob"}


def expected(order: tuple[str, ...], row: FlowMinute, bindings: list[SessionBinding]) -> str:
    """Return whose a row is, by the rule and nothing else."""
    begin, end = row.minute * 60_000, (row.minute + 1) * 60_000
    covering = [
        b
        for b in bindings
        if b.address == row.address
        and b.valid_from_at < end
        and (b.valid_until_at is None or b.valid_until_at > begin)
    ]
    newest = max(covering, key=lambda b: (b.valid_from_at, b.binding_id), default=None)
    static = parse_prefix("100.64.0.0/24").address[:15] == row.address[:15]
    for kind in order:
        if kind == "radius" and newest is not None:
            return newest.subscriber_id
        if kind == "static_prefix" and static:
            return "s-office"
        if kind == "flow_user" and row.user_name in USERS:
            return USERS[row.user_name]
    return ""


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[str, ...], list[FlowMinute], list[SessionBinding], int]:
    order = tuple(draw(st.lists(st.sampled_from(WHO), min_size=1, max_size=3, unique=True)))
    rows = [
        flow(
            f"10:{draw(st.integers(0, 9)):02d}",
            draw(st.sampled_from(HOSTS)),
            draw(st.integers(1, 1000)),
            user_name=draw(st.sampled_from(NAMES)),
        )
        for _ in range(draw(st.integers(1, 12)))
    ]
    held = [
        binding(
            f"s-{number}",
            draw(st.sampled_from(HOSTS)),
            f"10:{draw(st.integers(0, 9)):02d}:{draw(st.integers(0, 59)):02d}",
            binding_id=f"b{number}",
            arrives=f"10:{draw(st.integers(10, 40))}:00",
        )
        for number in range(draw(st.integers(0, 4)))
    ]
    return order, rows, held, draw(st.integers(0, 1 << 30))


@settings(max_examples=40, deadline=None)
@given(scenes())
def test_octets_are_conserved_and_owned_by_the_rule_however_they_come(
    scene: tuple[tuple[str, ...], list[FlowMinute], list[SessionBinding], int],
) -> None:
    order, rows, bindings, seed = scene
    chance = random.Random(seed)
    wanted: dict[tuple[str, int], int] = {}
    for row in rows:
        key = (expected(order, row, bindings), row.minute)
        wanted[key] = wanted.get(key, 0) + row.octets_down
    stage = attribution(*order)
    todo: list[FlowMinute | SessionBinding] = [*rows, *bindings]
    chance.shuffle(todo)
    while todo:
        count = chance.randint(1, 4)
        batch, todo = todo[:count], todo[count:]
        stage.feed(
            [row for row in batch if isinstance(row, FlowMinute)],
            [row for row in batch if isinstance(row, SessionBinding)],
            watermark=stage.watermark_at + chance.choice([0, 60_000]) or at("10:00:00"),
        )
    stage.feed(watermark="10:59:00")
    found: dict[tuple[str, int], int] = {}
    for (_, subscriber, _, _, which), octets in stage.minutes().items():
        found[subscriber, which] = found.get((subscriber, which), 0) + octets
    assert found == wanted
