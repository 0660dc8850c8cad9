"""Who is who at an instant: validity, revisions, priorities, whatever order rows come in."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rating.directory import COLLECTIONS, IDENTITY, MEMBERSHIP, STATIC_PREFIX, Directory
from rating.ports import MemoryState, StepResult
from rating.records import DirectoryEntry, frame_of
from tests.rating.accounting_log import address, at, entry, minute

KINDS = frozenset({IDENTITY, MEMBERSHIP, STATIC_PREFIX})


def directory_of(*batches: list[DirectoryEntry]) -> Directory:
    """Return a directory that took each batch in a step of its own."""
    state = MemoryState()
    for batch in batches:
        directory = Directory(state, KINDS)
        directory.take(frame_of(DirectoryEntry, batch))
        state.apply(StepResult(changes=directory.changes))
    assert set(state.collections) <= set(COLLECTIONS)
    return Directory(state, KINDS)


ALICE = entry("identity", "user_name:alice", "s-1", entry_id="e")


def test_an_identity_holds_from_its_beginning_until_its_end() -> None:
    held = dataclasses.replace(ALICE, valid_from_at=100, valid_until_at=200)
    directory = directory_of([held])
    found = [directory.subscriber_at("user_name:alice", at_ms) for at_ms in (99, 100, 199, 200)]
    assert found == [None, "s-1", "s-1", None]
    assert directory.subscriber_at("user_name:bob", 150) is None


def test_the_greatest_revision_stands_whenever_it_comes() -> None:
    newer = dataclasses.replace(ALICE, revision=2, target="s-2")
    for batches in ([[ALICE], [newer]], [[newer], [ALICE]], [[newer, ALICE]]):
        assert directory_of(*batches).subscriber_at("user_name:alice", 5) == "s-2"


def test_a_revision_with_another_match_leaves_the_old_one() -> None:
    moved = dataclasses.replace(ALICE, revision=2, match="user_name:alicia")
    directory = directory_of([ALICE], [moved])
    assert directory.subscriber_at("user_name:alice", 5) is None
    assert directory.subscriber_at("user_name:alicia", 5) == "s-1"


def test_priority_goes_before_the_later_beginning() -> None:
    later = entry("identity", "user_name:alice", "s-2", entry_id="f", valid_from_at=50)
    first = entry("identity", "user_name:alice", "s-3", entry_id="g", priority=1)
    assert directory_of([ALICE, later]).subscriber_at("user_name:alice", 60) == "s-2"
    assert directory_of([ALICE, later, first]).subscriber_at("user_name:alice", 60) == "s-3"


def test_a_subscriber_without_membership_is_its_own_rating_key() -> None:
    joins = entry(
        "membership",
        "s-1",
        "pool-1",
        valid_from_at=at("10:05:00"),
        valid_until_at=at("10:07:00"),
    )
    directory = directory_of([joins])
    keys = [directory.rating_key_at("s-1", minute(f"10:0{n}")) for n in (4, 5, 6, 7)]
    assert keys == ["s-1", "pool-1", "pool-1", "s-1"]
    assert directory.members(["s-1", "s-2"]) == {"s-1"}


def test_the_first_identity_that_is_known_names_the_subscriber() -> None:
    directory = directory_of([ALICE])
    assert directory.first_subscriber_at(("mac:00", "user_name:alice"), 5) == "s-1"
    assert directory.first_subscriber_at(("mac:00",), 5) == ""


@pytest.mark.parametrize(
    ("host", "who"),
    [("203.0.113.9", "s-29"), ("203.0.113.1", "s-24"), ("198.51.100.1", None)],
)
def test_the_longest_static_prefix_matches(host: str, who: str | None) -> None:
    rows = [
        entry("static_prefix", "203.0.113.0/24", "s-24", priority=9),
        entry("static_prefix", "203.0.113.8/29", "s-29"),
        entry("static_prefix", "203.0.113.9", "s-old", valid_until_at=3),
        entry("static_prefix", "nonsense", "s-none"),
    ]
    assert directory_of(rows).static_subscriber_at(address(host), 5) == who


def test_kinds_that_a_stage_does_not_ask_for_are_not_kept() -> None:
    state = MemoryState()
    directory = Directory(state, frozenset({IDENTITY}))
    directory.take(frame_of(DirectoryEntry, [entry("own_prefix", "10.0.0.0/8", "")]))
    assert not directory.changes


ROWS = st.lists(
    st.builds(
        entry,
        st.just("identity"),
        st.sampled_from(["user_name:a", "user_name:b"]),
        st.sampled_from(["s-1", "s-2"]),
        entry_id=st.sampled_from(["e", "f", "g"]),
        revision=st.integers(1, 5),
        priority=st.integers(0, 1),
        valid_from_at=st.integers(0, 10),
        valid_until_at=st.none() | st.integers(5, 15),
    ),
    max_size=8,
    unique_by=lambda row: (row.entry_id, row.revision),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(ROWS, st.randoms(use_true_random=False))
def test_any_order_gives_the_same_answers(
    rows: list[DirectoryEntry], chance: random.Random
) -> None:
    plain = directory_of(rows)
    shuffled = list(rows)
    chance.shuffle(shuffled)
    apart = directory_of(*([row] for row in shuffled))
    for identity in ("user_name:a", "user_name:b"):
        for at_ms in range(16):
            assert apart.subscriber_at(identity, at_ms) == plain.subscriber_at(identity, at_ms)
