"""A NAS whose clock is wrong is known by name, by how much, and not for what it held back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collectors.radius.clocks import NASES_MAX, SAMPLE_MS, WINDOW_MS, ClockWatch, clock_offset_ms
from collectors.radius.packet import Attribute
from tests.collectors.radius.packets import INTERIM, RECEIVED_AT, integer, logged, request

SECOND = 1_000


def offsets(*packets: tuple[int, tuple[Attribute, ...]], now: int = 0) -> dict[str, int]:
    """Return what a watch says after packets: ms behind the first, attributes."""
    watch = ClockWatch()
    for after_ms, attributes in packets:
        watch.note(logged(request(*attributes, status=INTERIM), RECEIVED_AT + after_ms))
    return watch.offsets_ms(RECEIVED_AT + (now or packets[-1][0]))


def stamped(ahead_seconds: int, after_ms: int = 0, delay: int = 0) -> tuple[Attribute, ...]:
    at = (RECEIVED_AT + after_ms) // 1000 + ahead_seconds
    return integer(55, at), integer(41, delay)


@given(ahead=st.integers(-86_400, 86_400))
def test_the_offset_is_the_clocks_distance(ahead: int) -> None:
    assert offsets((0, stamped(ahead))) == {"bng1": ahead * SECOND}


def test_a_delay_that_the_nas_tells_is_no_fault_of_its_clock() -> None:
    assert offsets((0, stamped(-40, delay=40))) == {"bng1": 0}


def test_packets_held_back_without_a_word_do_not_make_a_clock_wrong() -> None:
    late = [(n * SAMPLE_MS, stamped(-900, n * SAMPLE_MS)) for n in range(5)]
    assert offsets(*late, (6_000, stamped(0, 6_000))) == {"bng1": 0}


def test_without_event_timestamp_nothing_is_said() -> None:
    assert offsets((0, (integer(41, 5),))) == {}
    assert clock_offset_ms(logged(request(status=INTERIM))) is None


def test_a_clock_that_was_set_right_is_right_after_two_windows() -> None:
    packets = [(0, stamped(3_600))]
    packets += [(n * WINDOW_MS, stamped(0, n * WINDOW_MS)) for n in (1, 2)]
    assert offsets(*packets[:2]) == {"bng1": 3_600 * SECOND}
    assert offsets(*packets) == {"bng1": 0}


def test_a_nas_that_fell_silent_is_not_reported_for_ever() -> None:
    assert offsets((0, stamped(3_600)), now=3 * WINDOW_MS) == {}


def test_one_packet_a_second_is_looked_at() -> None:
    assert offsets((0, stamped(0)), (SAMPLE_MS - 1, stamped(50, SAMPLE_MS - 1))) == {"bng1": 0}


def test_so_many_nases_are_watched_and_no_more() -> None:
    watch = ClockWatch()
    for number in range(NASES_MAX + 5):
        watch.note(logged(request(*stamped(0), status=INTERIM), nas_id=f"nas{number}"))
    assert len(watch.offsets_ms(RECEIVED_AT)) == NASES_MAX
