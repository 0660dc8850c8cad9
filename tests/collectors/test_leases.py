"""Who is given up: only a lease that the keeper itself has watched standing still long enough."""

from __future__ import annotations

import dataclasses

from collectors.leases import (
    EXPIRED_LEASE,
    LEFT_LEASE,
    LIVE_LEASE,
    Lease,
    Over,
    Watch,
    expiry_mark,
    look,
)
from rating.envelopes import EXPIRED, Mark
from streams.progress import Standing

LEASE_MS = 15_000
STEP_MS = 3_000


class Keeper:
    """Looks every three seconds, by its own clock."""

    def __init__(self, now_ms: int = 1_000_000) -> None:
        self.watch = Watch()
        self.now_ms = now_ms

    def looks(self, *leases: Lease, after_ms: int = STEP_MS) -> list[str]:
        self.now_ms += after_ms
        self.watch, over = look(self.watch, leases, self.now_ms, LEASE_MS)
        return [each.lease.collector_id for each in over]


def lease(collector_id: str, renewed_at: int = 7, state: str = LIVE_LEASE) -> Lease:
    return Lease(collector_id, "flow.datagrams", renewed_at, state)


def test_a_lease_that_stands_still_for_its_whole_length_is_over() -> None:
    keeper = Keeper()
    assert [keeper.looks(lease("a")) for _ in range(6)] == [[], [], [], [], [], ["a"]]


def test_a_renewed_lease_begins_anew_whatever_the_clocks_say() -> None:
    keeper = Keeper()
    for renewed_at in (500, 400, 300, 99_000_000, 5, 6, 7, 8, 9):
        assert keeper.looks(lease("a", renewed_at)) == []


def test_only_the_silent_one_is_given_up() -> None:
    keeper = Keeper()
    given_up = [keeper.looks(lease("a"), lease("b", at)) for at in range(7)]
    assert given_up[-1] == ["a"]


def test_a_keeper_that_was_away_gives_everyone_a_whole_lease() -> None:
    keeper = Keeper()
    for _ in range(5):
        keeper.looks(lease("a"))
    assert keeper.looks(lease("a"), after_ms=60_000) == []
    assert [keeper.looks(lease("a")) for _ in range(5)] == [[], [], [], [], ["a"]]


def test_who_left_is_not_looked_at() -> None:
    keeper = Keeper()
    for _ in range(10):
        assert keeper.looks(lease("a", state=LEFT_LEASE)) == []


def test_who_was_given_up_is_given_up_again_after_each_further_lease() -> None:
    keeper = Keeper()
    told = [keeper.looks(lease("a", state=EXPIRED_LEASE)) for _ in range(12)]
    assert [bool(names) for names in told] == [n in (5, 10) for n in range(12)]


def test_who_went_on_without_the_database_and_died_later_is_caught_by_a_later_mark() -> None:
    keeper, died_at = Keeper(), 100_000 + 40_000
    standing = Standing()
    standing.mark("flow.datagrams", Mark("flows@a", 0, died_at))
    for _ in range(30):
        keeper.now_ms += STEP_MS
        row = lease("a", 100_000, EXPIRED_LEASE)
        keeper.watch, over = look(keeper.watch, [row], keeper.now_ms, LEASE_MS)
        for each in over:
            standing.mark("flow.datagrams", expiry_mark(each, LEASE_MS))
    assert standing.collectors_live("flow.datagrams") == set()


def test_who_comes_back_can_be_given_up_again() -> None:
    keeper = Keeper()
    for _ in range(6):
        keeper.looks(lease("a"))
    assert keeper.looks(lease("a", state=EXPIRED_LEASE)) == []
    back = dataclasses.replace(lease("a"), renewed_at=8)
    assert [keeper.looks(back) for _ in range(6)] == [[], [], [], [], [], ["a"]]


def test_the_mark_stands_at_the_end_of_the_lease_and_claims_no_data() -> None:
    given_up = Over(Lease("ams1", "radius.accounting", 100_000, LIVE_LEASE), 1)
    assert expiry_mark(given_up, LEASE_MS) == Mark("radius@ams1", 0, 115_000, EXPIRED)
