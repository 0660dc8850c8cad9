"""The split of a cell: conserved to the octet, proportional, a function of what is known."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.split import Layer, add_layer, final_split, largest_remainder, split_through

OCTETS = st.integers(-(10**12), 10**12)
CLASS_OCTETS = st.dictionaries(
    st.sampled_from(["cdn", "local", "unclassified"]), st.tuples(OCTETS, OCTETS), max_size=3
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


@given(st.lists(st.builds(Layer, st.integers(1, 3), OCTETS, OCTETS, CLASS_OCTETS), max_size=5))
def test_the_split_does_not_depend_on_the_order_of_what_came(pieces: list[Layer]) -> None:
    results = []
    for order in itertools.islice(itertools.permutations(pieces), 12):
        layers: tuple[Layer, ...] = ()
        for piece in order:
            layers = add_layer(layers, piece)
        results.append((layers, final_split(layers)))
        assert [layer.post_at for layer in layers] == sorted({p.post_at for p in pieces})
        if layers:
            assert split_through(layers)[-1][1] == final_split(layers)
    assert all(split == results[0][1] for _, split in results)
    up, down = (sum(octets[i] for octets in results[0][1].values()) for i in (0, 1))
    assert (up, down) == (sum(p.octets_up for p in pieces), sum(p.octets_down for p in pieces))
