"""The split of a cell: conserved to the octet, proportional, a function of what is known."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.split import Layer, Parts, add_parts, largest_remainder, split_through

OCTETS = st.integers(-(10**12), 10**12)
PARTS = st.dictionaries(
    st.one_of(
        st.tuples(st.integers(1, 3), st.just(False), st.just("")),
        st.tuples(
            st.integers(1, 3), st.just(True), st.sampled_from(["cdn", "local", "unclassified"])
        ),
    ),
    st.tuples(OCTETS, OCTETS),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize(
    ("total", "shares", "parts"),
    [
        (100, {"a": 1, "b": 2}, {"a": 33, "b": 67}),
        (2, {"a": 1, "b": 1, "c": 1}, {"a": 1, "b": 1, "c": 0}),  # ties by name
        (-100, {"a": 1, "b": 2}, {"a": -33, "b": -67}),
        (5, {}, {"unclassified": 5}),
        (5, {"a": 0, "b": -3}, {"unclassified": 5}),
        (5, {"a": 1, "b": -3}, {"a": 5}),
        (0, {"a": 1}, {}),
    ],
)
def test_left_over_octets_go_to_the_largest_remainder(
    total: int, shares: dict[str, int], parts: dict[str, int]
) -> None:
    assert largest_remainder(total, shares) == parts


@given(OCTETS, st.dictionaries(st.text(max_size=3), OCTETS, max_size=6))
def test_nothing_is_lost_and_nobody_gets_more_than_an_octet_too_much(
    total: int, shares: dict[str, int]
) -> None:
    parts = largest_remainder(total, shares)
    assert sum(parts.values()) == total
    whole = sum(share for share in shares.values() if share > 0)
    for name, octets in parts.items():
        if whole:
            assert abs(octets * whole - total * max(0, shares[name])) < whole


@given(st.lists(PARTS, max_size=5))
def test_the_split_does_not_depend_on_the_order_of_what_came(pieces: list[Parts]) -> None:
    results = []
    for order in itertools.islice(itertools.permutations(pieces), 12):
        layers: tuple[Layer, ...] = ()
        for piece in order:
            layers, refused = add_parts(layers, piece, held_max=10**15)
            assert not refused
        assert [layer.post_at for layer in layers] == sorted({at for p in pieces for at, *_ in p})
        results.append((layers, split_through(layers)))
    assert all(splits == results[0][1] for _, splits in results)
    if pieces:
        final = results[0][1][-1][1]
        for direction in (0, 1):
            accounted = (
                octets[direction]
                for piece in pieces
                for (_, is_flow, _), octets in piece.items()
                if not is_flow
            )
            assert sum(octets[direction] for octets in final.values()) == sum(accounted)


def test_a_part_beyond_what_a_cell_can_hold_is_refused_and_the_others_are_not() -> None:
    parts = {(1, False, ""): (40, 0), (2, False, ""): (0, 70), (2, True, "cdn"): (-60, 0)}
    layers, refused = add_parts((), parts, held_max=100)
    assert (layers, refused) == ((Layer(1, 40, 0, {}), Layer(2, 0, 0, {"cdn": (-60, 0)})), 1)
