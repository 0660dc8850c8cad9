"""When a generation of topics counts as drained, and who is waited for in the next one."""

from __future__ import annotations

import functools

import streams.decode
from rating.envelopes import EXPIRED, LEFT, LIVE, Mark
from streams.growth import Drain, first_standings, obstacles, taken_numbers
from streams.progress import Seen, Standing
from streams.stage import Stage

LOG = "flow.datagrams"
DECODE = Stage(
    "decode",
    functools.partial(streams.decode.step),
    streams.decode.COLLECTIONS,
    LOG,
    ("directory",),
    ("flow.minutes",),
)


def left_to_do(
    standing: Standing,
    *,
    waiting: dict[str, int] | None = None,
    leases: dict[tuple[str, str], int] | None = None,
) -> list[str]:
    """Return what keeps generation 4 of one partition, with 9 messages, from being drained."""
    drain = Drain({"decode/0": standing}, waiting or {}, leases or {})
    return list(obstacles(drain, [DECODE], {(LOG, 0): 9}, 4, 1))


def standing(*, taken: int = 9, **collectors: Seen) -> Standing:
    return Standing({LOG: taken}, {"directory": 5}, {LOG: collectors})


def test_a_generation_is_drained_when_everything_is_taken_and_everybody_has_left() -> None:
    done = standing(a=Seen(3, 100, LEFT, True), b=Seen(4, 90, EXPIRED, True, 95))
    assert left_to_do(done) == []
    assert left_to_do(done, leases={("a", LOG): 5}) == []


def test_each_thing_that_is_left_to_do_is_told() -> None:
    assert left_to_do(standing(taken=8)) == ["decode/0 has taken 8 of 9 messages of flow.datagrams"]
    assert left_to_do(Standing()) == ["decode/0 has taken 0 of 9 messages of flow.datagrams"]
    assert left_to_do(standing(a=Seen(3, 100, LIVE, True))) == [
        "decode/0 waits for a, which goes on"
    ]
    assert left_to_do(standing(), waiting={"rate/3": 2}) == [
        "rate/3 has 2 outputs that wait for Kafka"
    ]
    assert left_to_do(standing(), leases={("ams1", LOG): 4}) == [
        "collector ams1 has not done with flow.datagrams of generation 4"
    ]


def test_a_collector_that_never_sent_a_mark_is_waited_for_by_its_lease_alone() -> None:
    assert left_to_do(standing(a=Seen(3, 0, LIVE, False))) == []


def begin(*former: Standing, live: frozenset[str] = frozenset()) -> list[dict[str, Seen]]:
    stored = {p: {"directory": 7, "account.events": 3} for p in range(3)}
    made = first_standings(DECODE, dict(enumerate(former)), 3, stored, live)
    for each in made.values():
        assert (each.offsets, each.issued) == ({}, {})
        assert each.stored == {"directory": 7}, "of the topics that the stage reads"
    return [each.seen[LOG] for each in made.values()]


def test_who_left_only_to_turn_is_waited_for_from_the_start() -> None:
    [first, *others] = begin(
        standing(a=Seen(3, 100, LEFT, True), b=Seen(5, 100, LEFT, True)),
        standing(a=Seen(9, 97, LEFT, True), b=Seen(0, 100, LEFT, True)),
        live=frozenset({"a"}),
    )
    assert first == {"a": Seen(0, 97, LIVE, True), "b": Seen(0, 100, LEFT, True)}
    assert others == [first, first]
    assert others[0]["a"] is not first["a"]


def test_who_was_given_up_stays_so_until_it_is_back() -> None:
    [first, *_] = begin(
        standing(a=Seen(3, 100, EXPIRED, True, 115)),
        standing(a=Seen(3, 100, LEFT, True)),
        live=frozenset({"a"}),
    )
    assert first == {"a": Seen(0, 100, EXPIRED, True, 115)}
    back = Standing(seen={LOG: first})
    assert back.mark(LOG, Mark("a", 0, 110)) is None
    assert back.mark(LOG, Mark("a", 0, 120)) == 115


def test_what_was_taken_of_each_collector_is_kept() -> None:
    former = {0: standing(a=Seen(3, 1, LEFT, True)), 1: standing(b=Seen(8, 1, EXPIRED, True))}
    assert list(taken_numbers(DECODE, former)) == [(LOG, "a", 0, 3), (LOG, "b", 1, 8)]
