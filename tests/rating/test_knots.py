"""The curve of a session: cut at minutes, conserved to the octet, corrected by difference."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rating.knots import NO_USAGE, ZERO, Counters, Curve, curve_of, minutes_of

MINUTE = 60_000


def octets(down: int) -> Counters:
    return Counters(0, down, 0, 0, 0)


def down_of(changes: list[tuple[int, Counters]]) -> dict[int, int]:
    return {minute: counters.octets_down for minute, counters in changes}


def through(*knots: tuple[int, int]) -> Curve:
    return curve_of(0, ZERO, ZERO, [(at, octets(down)) for at, down in knots])


def test_a_minute_gets_the_difference_of_the_floors_at_its_ends() -> None:
    assert down_of(minutes_of(None, through((3 * MINUTE, 10)))) == {0: 3, 1: 3, 2: 4}


def test_a_jump_at_the_origin_falls_into_the_minute_of_the_origin() -> None:
    curve = curve_of(2 * MINUTE, ZERO, ZERO, [(2 * MINUTE, octets(7))])
    assert down_of(minutes_of(None, curve)) == {2: 7}


def test_a_knot_that_is_lower_than_the_one_before_is_flat() -> None:
    curve = through((MINUTE, 10), (2 * MINUTE, 4), (3 * MINUTE, 20))
    assert down_of(minutes_of(None, curve)) == {0: 10, 2: 10}


def test_a_knot_before_the_origin_raises_it_and_never_lowers_it() -> None:
    base, origin = octets(50), octets(60)
    plain = curve_of(MINUTE, origin, base, [])
    assert curve_of(MINUTE, origin, base, [(5, octets(40))]) == plain
    assert curve_of(MINUTE, origin, base, [(5, octets(70))]).values == (octets(70),)


def test_equal_curves_differ_in_nothing() -> None:
    curve = through((MINUTE, 10), (2 * MINUTE, 30))
    assert minutes_of(curve, curve) == []
    assert minutes_of(None, None) == []
    assert minutes_of(None, NO_USAGE) == []


def test_a_late_knot_touches_only_the_minutes_between_its_neighbours() -> None:
    before = through((2 * MINUTE, 20), (6 * MINUTE, 60), (8 * MINUTE, 80))
    after = through((2 * MINUTE, 20), (4 * MINUTE, 24), (6 * MINUTE, 60), (8 * MINUTE, 80))
    assert down_of(minutes_of(before, after)) == {2: -8, 3: -8, 4: 8, 5: 8}


KNOTS = st.lists(
    st.tuples(st.integers(1, 20 * MINUTE), st.integers(0, 10**6)), min_size=1, max_size=8
)


@given(KNOTS)
def test_the_minutes_add_up_to_the_counter(knots: list[tuple[int, int]]) -> None:
    curve = through(*sorted(knots))
    changes = minutes_of(None, curve)
    assert sum(down_of(changes).values()) == max(down for _, down in knots)
    assert all(counters.octets_down > 0 for _, counters in changes)


@given(KNOTS, KNOTS)
def test_the_difference_leads_from_one_curve_to_the_other(
    some: list[tuple[int, int]], others: list[tuple[int, int]]
) -> None:
    before, after = through(*sorted(some)), through(*sorted([*some, *others]))
    sums = down_of(minutes_of(None, before))
    for minute, change in down_of(minutes_of(before, after)).items():
        sums[minute] = sums.get(minute, 0) + change
    assert {m: n for m, n in sums.items() if n} == down_of(minutes_of(None, after))


@given(KNOTS, st.integers(0, 8))
def test_a_compacted_curve_gives_the_same_minutes_from_its_origin_on(
    knots: list[tuple[int, int]], index: int
) -> None:
    curve = through(*sorted(knots))
    index = min(index, len(curve.times) - 1)
    compacted = curve.compacted(index)
    first = compacted.times[0] // MINUTE
    whole = {m: n for m, n in down_of(minutes_of(None, curve)).items() if m >= first}
    assert down_of(minutes_of(None, compacted)) == whole
