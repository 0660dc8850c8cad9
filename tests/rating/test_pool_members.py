"""Who is in a pool: as the state says, however steps end."""

from __future__ import annotations

import random

from rating.directory import MEMBERSHIP, Directory
from rating.pool_members import MARKS
from rating.ports import MemoryState, StepResult
from rating.records import DirectoryEntry, frame_of
from tests.rating.accounting_log import entry

KINDS = frozenset({MEMBERSHIP})


def taken(state: MemoryState, *rows: DirectoryEntry) -> Directory:
    directory = Directory(state, KINDS)
    directory.take(frame_of(DirectoryEntry, list(rows)))
    return directory


def scanned(state: MemoryState) -> set[str]:
    who = ((key.partition("/")[2], entries) for key, entries in state.scan("directory"))
    return {match for match, entries in who if any(e.target != match for e in entries)}


def test_a_step_knows_its_own_memberships() -> None:
    state = MemoryState()
    directory = taken(state, entry("membership", "s-1", "pool-1"))
    assert directory.pool_members() == {"s-1"}
    state.apply(StepResult(changes=directory.changes))
    assert Directory(state, KINDS).pool_members() == {"s-1"}


def test_who_is_his_own_rating_key_is_in_no_pool() -> None:
    state = MemoryState()
    directory = taken(state, entry("membership", "s-1", "s-1"), entry("membership", "s-2", "p"))
    assert directory.pool_members() == {"s-2"}
    state.apply(StepResult(changes=directory.changes))
    assert Directory(state, KINDS).pool_members() == {"s-2"}


def test_memberships_of_the_version_before_are_known() -> None:
    state = MemoryState()
    state.apply(StepResult(changes=taken(state, entry("membership", "s-1", "pool-1")).changes))
    del state.collections[MARKS]
    assert Directory(state, KINDS).pool_members() == {"s-1"}
    directory = taken(state, entry("membership", "s-2", "pool-1"))
    assert directory.pool_members() == {"s-1", "s-2"}


def test_members_are_those_of_the_state_whatever_became_of_other_steps() -> None:
    for seed in range(40):
        chance, state = random.Random(seed), MemoryState()
        for revision in range(1, 25):
            row = entry(
                "membership", f"s-{chance.randint(1, 4)}", chance.choice(["pool-1", "s-1"]),
                entry_id=f"e{chance.randint(1, 3)}", revision=revision,
            )  # fmt: skip
            directory = taken(state, row)
            if chance.random() < 0.5:
                directory.pool_members()
            if chance.random() < 0.3:
                continue  # not committed
            state.apply(StepResult(changes=directory.changes))
            if chance.random() < 0.2:
                reborn = MemoryState()
                reborn.collections = {name: dict(h) for name, h in state.collections.items()}
                state = reborn
            if chance.random() < 0.7:
                assert Directory(state, KINDS).pool_members() == scanned(state)
        assert Directory(state, KINDS).pool_members() == scanned(state)
