"""A NAS is compared with the flows of its subscribers: a verdict only with enough evidence."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.config import NasConfig
from infra.doctor.nases import (
    CounterFact,
    DayFact,
    by_nas,
    check_direction,
    check_gigawords,
    check_unit,
    correlation_of,
)

NAS = NasConfig("bng1", "192.0.2.1", "secret")
MB = 10**6
UP, DOWN = 40 * MB, 600 * MB


def day(name: str, up: int = UP, down: int = DOWN, *, swapped: bool = False) -> DayFact:
    """Return a day whose flows are up and down, with accounting alike but for a tenth."""
    counted = (up * 11 // 10, down * 11 // 10)
    return DayFact(name, 1, *(counted[::-1] if swapped else counted), up, down)


def days(count: int, *, swapped: int = 0) -> list[DayFact]:
    return [
        day(f"s{n}", UP + n * MB, DOWN - 20 * n * MB, swapped=n < swapped) for n in range(count)
    ]


def test_a_swapped_nas_is_found() -> None:
    found = check_direction(NAS, days(8, swapped=8))
    assert found.level == "fail"
    assert "set swap_input_output = true" in found.advice


def test_a_nas_that_was_set_right_wrongly_is_found_too() -> None:
    nas = dataclasses.replace(NAS, swap_input_output=True)
    assert "swap_input_output = false" in check_direction(nas, days(8, swapped=8)).advice


def test_a_nas_that_is_right_is_left_alone() -> None:
    assert check_direction(NAS, days(8)).level == "ok"


@pytest.mark.parametrize("count", range(5))
def test_few_days_are_no_evidence(count: int) -> None:
    found = check_direction(NAS, days(count, swapped=count))
    assert (found.level, "too few to tell" in found.seen) == ("ok", True)


def test_one_subscriber_who_uploads_is_no_evidence() -> None:
    assert check_direction(NAS, days(20, swapped=1)).level == "ok"


def test_a_mixture_is_looked_at_by_a_person() -> None:
    assert check_direction(NAS, days(10, swapped=5)).level == "warn"


def test_days_that_are_symmetric_or_small_or_seen_one_way_tell_no_direction() -> None:
    symmetric = [day(f"s{n}", 500 * MB, 510 * MB, swapped=True) for n in range(9)]
    small = [day(f"s{n}", 1_000, 30_000, swapped=True) for n in range(9)]
    one_way = [day(f"s{n}")._replace(flows_up=0) for n in range(9)]
    for told_nothing in (symmetric, small, one_way):
        assert "0 days" in check_direction(NAS, told_nothing).seen


@given(st.lists(st.tuples(st.integers(1, 10**12), st.integers(1, 10**12)), max_size=30))
def test_no_volumes_make_a_right_nas_swapped(volumes: list[tuple[int, int]]) -> None:
    same = [DayFact("s", n, up, down, up, down) for n, (up, down) in enumerate(volumes)]
    assert check_direction(NAS, same).level == "ok"
    assert check_unit(NAS, same).level == "ok"
    assert -1.0001 <= correlation_of(same) <= 1.0001


def test_the_correlation_of_the_ratios_tells_them_apart() -> None:
    assert correlation_of(days(8)) > 0.99
    assert correlation_of(days(8, swapped=8)) < -0.99
    assert correlation_of(days(1)) == 0.0


def counted_by(factor: float, count: int = 8) -> list[DayFact]:
    """Return days whose accounting is flows divided by the factor."""
    return [
        DayFact(f"s{n}", 1, int(d.flows_up / factor), int(d.flows_down / factor), *d[4:])
        for n, d in enumerate(days(count))
    ]


@pytest.mark.parametrize(
    ("factor", "word"),
    [
        (1_024, "unit_octets = 1024"),
        (1_000, "unit_octets = 1000"),
        (1 << 20, "unit_octets = 1048576"),
        (1 / 8, "counts_bits = true"),
    ],
)
def test_another_unit_is_found(factor: float, word: str) -> None:
    found = check_unit(NAS, counted_by(factor))
    assert found.level == "fail"
    assert word in found.advice


def test_a_unit_that_is_set_is_multiplied() -> None:
    nas = dataclasses.replace(NAS, unit_octets=1_024)
    assert "unit_octets = 1048576" in check_unit(nas, counted_by(1_024)).advice


@pytest.mark.parametrize(("factor", "level"), [(1.0, "ok"), (0.8, "ok"), (3.0, "warn")])
def test_other_differences_are_no_unit(factor: float, level: str) -> None:
    assert check_unit(NAS, counted_by(factor)).level == level


def test_a_few_days_of_another_unit_are_no_evidence() -> None:
    assert check_unit(NAS, counted_by(1_024, 4)).level == "ok"
    assert check_unit(NAS, counted_by(1_024, 4) + days(5)).level != "fail"
    assert check_unit(NAS, counted_by(1_024, 5) + days(3)).level == "warn"


@pytest.mark.parametrize(
    ("fact", "has_gigawords", "level"),
    [
        (CounterFact(500, 400, 0, 10), True, "ok"),
        (CounterFact(500, 400, 0, 10), False, "fail"),
        (CounterFact(500, 0, 3, 1 << 31), True, "fail"),
        (CounterFact(500, 0, 0, 1 << 31), True, "warn"),
        (CounterFact(500, 0, 0, 10), True, "ok"),
        (CounterFact(5, 0, 3, 1 << 31), True, "ok"),
        (CounterFact(500, 0, 3, 1 << 31), False, "ok"),
    ],
)
def test_a_nas_without_gigawords_is_found(
    fact: CounterFact, has_gigawords: bool, level: str
) -> None:
    nas = dataclasses.replace(NAS, has_gigawords=has_gigawords)
    assert check_gigawords(nas, fact).level == level


def test_a_subscriber_of_two_nases_tells_nothing_of_either() -> None:
    found = by_nas(days(2), {"s0": frozenset({"bng1"}), "s1": frozenset({"bng1", "bng2"})})
    assert {name: [d.subscriber_id for d in of] for name, of in found.items()} == {"bng1": ["s0"]}
