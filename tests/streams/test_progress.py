"""What a task takes of each producer: in order, once, and never past a gap."""

from __future__ import annotations

import msgspec
import pytest

from rating.envelopes import EXPIRED, LEFT, LIVE, Envelope, Mark
from streams.progress import SequenceGapError, Standing

LOG = "radius.accounting"
AMS, BER = "radius@ams", "radius@ber"


def data(number: int, producer: str = AMS) -> Envelope:
    return Envelope(producer, number, 0, b"")


def test_data_are_taken_once_and_in_order() -> None:
    standing = Standing()
    assert [standing.take(LOG, data(number)) for number in (1, 2, 1, 2, 3)] == [
        *(True, True, False, False, True)
    ]


def test_every_producer_has_its_own_numbers() -> None:
    standing = Standing()
    assert standing.take(LOG, data(1, AMS))
    assert standing.take(LOG, data(1, BER))


def test_a_gap_stops_everything() -> None:
    standing = Standing()
    standing.take(LOG, data(1))
    with pytest.raises(SequenceGapError, match="number 3 behind 1"):
        standing.take(LOG, data(3))


def test_what_is_out_of_place_is_left_out_with_all_behind_it() -> None:
    standing = Standing(offsets={"a": 3})
    messages = [("a", 2), ("a", 3), ("b", 1), ("a", 5), ("b", 0), ("b", 1), ("a", 6), ("a", 4)]
    assert standing.place(messages) == ([0, 1, 4, 5, 7], {"b": 0, "a": 4})
    assert standing.offsets == {"a": 3}
    assert standing.place([("a", 3), ("b", 0), ("a", 4)]) == ([0, 1, 2], {})


def test_a_mark_that_overtook_its_data_stops_everything() -> None:
    standing = Standing()
    standing.take(LOG, data(1))
    with pytest.raises(SequenceGapError, match="marked number 2, came 1"):
        standing.mark(LOG, Mark(AMS, 2, 1_000))


def test_a_late_mark_does_not_turn_time_back() -> None:
    standing = Standing()
    standing.mark(LOG, Mark(AMS, 0, 2_000))
    standing.mark(LOG, Mark(AMS, 0, 1_000))
    assert standing.watermark_of(LOG, AMS) == 2_000


def test_the_slowest_collector_is_waited_for() -> None:
    standing = Standing()
    standing.mark(LOG, Mark(AMS, 0, 5_000))
    standing.mark(LOG, Mark(BER, 0, 3_000))
    assert standing.collectors_watermark(LOG) == 3_000


@pytest.mark.parametrize("state", [LEFT, EXPIRED])
def test_who_left_or_was_given_up_is_not_waited_for(state: int) -> None:
    standing = Standing()
    standing.mark(LOG, Mark(AMS, 0, 5_000))
    standing.mark(LOG, Mark(BER, 0, 3_000))
    standing.mark(LOG, Mark(BER, 0, 4_000, state))
    assert standing.collectors_watermark(LOG) == 5_000


def test_a_collector_of_whom_only_data_came_is_not_waited_for_yet() -> None:
    standing = Standing()
    standing.mark(LOG, Mark(AMS, 0, 5_000))
    standing.take(LOG, data(1, BER))
    assert standing.collectors_watermark(LOG) == 5_000


def test_an_outage_is_told_when_it_begins_and_when_it_ends() -> None:
    standing = Standing()
    told = [
        standing.mark(LOG, Mark(AMS, 0, at, state))
        for at, state in (
            (1_000, LIVE),
            (5_000, EXPIRED),
            (5_000, EXPIRED),  # two keepers
            (3_000, LIVE),  # sent before the lease ran out
            (9_000, LIVE),
            (9_500, LIVE),
        )
    ]
    assert told == [None, 5_000, None, None, 5_000, None]


def test_an_expiry_that_the_collector_has_overtaken_says_nothing() -> None:
    standing = Standing()
    standing.mark(LOG, Mark(AMS, 0, 9_000))
    assert standing.mark(LOG, Mark(AMS, 0, 5_000, EXPIRED)) is None
    assert standing.collectors_watermark(LOG) == 9_000


def test_outputs_are_numbered_per_topic_and_partition() -> None:
    standing = Standing()
    numbers = [standing.issue("flow.minutes", p) for p in (0, 0, 1)]
    assert [*numbers, standing.issue("usage.rated", 0)] == [1, 2, 1, 1]


def test_a_standing_comes_back_as_it_was_kept() -> None:
    standing = Standing()
    standing.take(LOG, data(1))
    standing.mark(LOG, Mark(AMS, 1, 5_000))
    standing.issue("flow.minutes", 3)
    standing.offsets[LOG] = 17
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(standing), type=Standing)
    assert kept == standing
