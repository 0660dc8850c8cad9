"""The split of one cell's accounting octets over traffic classes, by its flow octets.

RADIUS accounting says how much, flows say of what. A cell is one subscriber's quarter of an hour
in one segment; its split is a pure function of what is known of the cell, so the order in which
accounting and flows arrive cannot matter, and every change is posted as a difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rating.records import UNCLASSIFIED

ClassOctets = dict[str, tuple[int, int]]
"""(octets_up, octets_down) by traffic class."""


@dataclasses.dataclass(frozen=True, slots=True)
class Layer:
    """What a cell received in time for one posting: accounting octets and flow octets by class."""

    post_at: int
    octets_up: int
    octets_down: int
    flows: ClassOctets


def largest_remainder(total: int, shares: Mapping[str, int]) -> dict[str, int]:
    """Return `total` whole octets divided in proportion to the shares, conserved exactly.

    Left-over octets go to the largest remainders, ties by name. Shares below zero (a correction
    that came before what it corrects) count zero; without any positive share all is unclassified.
    A negative total is divided as its mirror image.
    """
    if not total:
        return {}
    positive = [(name, share) for name, share in shares.items() if share > 0]
    whole = sum(share for _, share in positive)
    if not whole:
        return {UNCLASSIFIED: total}
    amount, sign = abs(total), 1 if total >= 0 else -1
    parts = {name: amount * share // whole for name, share in positive}
    left = amount - sum(parts.values())
    if left:
        by_remainder = sorted(positive, key=lambda part: (-(amount * part[1] % whole), part[0]))
        for name, _ in by_remainder[:left]:
            parts[name] += 1
    return {name: sign * octets for name, octets in parts.items()}


def split_octets(octets_up: int, octets_down: int, flows: ClassOctets) -> ClassOctets:
    """Return accounting octets by class, each direction divided by its own flow octets."""
    up = largest_remainder(octets_up, {name: octets[0] for name, octets in flows.items()})
    down = largest_remainder(octets_down, {name: octets[1] for name, octets in flows.items()})
    return {name: (up.get(name, 0), down.get(name, 0)) for name in {**up, **down}}


def add_layer(layers: Sequence[Layer], new: Layer) -> tuple[Layer, ...]:
    """Return the layers, ascending by post_at, with one more added into its place."""
    if not layers:
        return (new,)
    merged = {layer.post_at: layer for layer in layers}
    old = merged.get(new.post_at)
    if old is not None:
        new = Layer(
            new.post_at,
            old.octets_up + new.octets_up,
            old.octets_down + new.octets_down,
            add_octets(old.flows, new.flows),
        )
    merged[new.post_at] = new
    return tuple(merged[post_at] for post_at in sorted(merged))


def octets_held(layers: Sequence[Layer]) -> int:
    """Return the absolute octets of all layers, of accounting and flows: what no sum exceeds."""
    held = 0
    for layer in layers:
        held += abs(layer.octets_up) + abs(layer.octets_down)
        for up, down in layer.flows.values():
            held += abs(up) + abs(down)
    return held


def add_octets(left: ClassOctets, right: ClassOctets, sign: int = 1) -> ClassOctets:
    """Return left + sign x right by class."""
    total = dict(left)
    for name, (up, down) in right.items():
        before = total.get(name, (0, 0))
        total[name] = (before[0] + sign * up, before[1] + sign * down)
    return total


def split_through(layers: Sequence[Layer]) -> list[tuple[int, ClassOctets]]:
    """Return (post_at, split of everything up to that posting), ascending."""
    splits = []
    octets_up = octets_down = 0
    flows: ClassOctets = {}
    for layer in layers:
        octets_up += layer.octets_up
        octets_down += layer.octets_down
        flows = add_octets(flows, layer.flows)
        splits.append((layer.post_at, split_octets(octets_up, octets_down, flows)))
    return splits


def final_split(layers: Sequence[Layer]) -> ClassOctets:
    """Return the split of everything known."""
    octets_up = octets_down = 0
    flows: ClassOctets = {}
    for layer in layers:
        octets_up += layer.octets_up
        octets_down += layer.octets_down
        flows = add_octets(flows, layer.flows) if flows else layer.flows
    return split_octets(octets_up, octets_down, flows)
