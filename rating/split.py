"""The split of one cell's accounting octets over traffic classes, by its flow octets.

RADIUS accounting says how much, flows say of what. A cell is one subscriber's quarter of an hour
in one segment; its split is a pure function of what is known of the cell, so the order in which
accounting and flows arrive cannot matter, and every change is posted as a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from rating.records import UNCLASSIFIED

ClassOctets = dict[str, tuple[int, int]]
"""(octets_up, octets_down) by traffic class."""

Parts = Mapping[tuple[int, bool, str], Sequence[int]]
"""(octets_up, octets_down) by (post_at, whether of flows, traffic class; "" of accounting)."""


class Layer(msgspec.Struct, frozen=True):
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
    if not positive:
        return {UNCLASSIFIED: total}
    whole = sum([share for _, share in positive])
    left = amount = abs(total)
    parts, remainders = {}, []
    for name, share in positive:
        part, remainder = divmod(amount * share, whole)
        parts[name] = part
        left -= part
        remainders.append((-remainder, name))
    if left:
        for _, name in sorted(remainders)[:left]:
            parts[name] += 1
    return parts if total > 0 else {name: -octets for name, octets in parts.items()}


def split_octets(octets_up: int, octets_down: int, flows: ClassOctets) -> ClassOctets:
    """Return accounting octets by class, each direction divided by its own flow octets."""
    if not flows:
        return {UNCLASSIFIED: (octets_up, octets_down)} if octets_up or octets_down else {}
    up = largest_remainder(octets_up, {name: octets[0] for name, octets in flows.items()})
    down = largest_remainder(octets_down, {name: octets[1] for name, octets in flows.items()})
    return {name: (up.get(name, 0), down.get(name, 0)) for name in {**up, **down}}


def add_parts(
    layers: Sequence[Layer], parts: Parts, held_max: int
) -> tuple[tuple[Layer, ...], int]:
    """Return the layers, ascending by post_at, with parts added; and how many were refused.

    A part is refused where the absolute octets of all layers would exceed held_max.
    """
    if len(parts) == 1 and len(layers) <= 1:
        # Most cells: an interim of a day of which nothing is late.
        ((post_at, is_flow, _), (up, down)) = next(iter(parts.items()))
        layer = layers[0] if layers else Layer(post_at, 0, 0, {})
        growth = abs(up) + abs(down)
        if post_at == layer.post_at and not is_flow and _octets_held(layer) + growth <= held_max:
            octets = layer.octets_up + up, layer.octets_down + down
            return (Layer(post_at, *octets, layer.flows),), 0
    held = sum([_octets_held(layer) for layer in layers])
    by_posting = {layer.post_at: layer for layer in layers}
    refused = 0
    for (post_at, is_flow, traffic_class), (up, down) in sorted(parts.items()):
        layer = by_posting.get(post_at) or Layer(post_at, 0, 0, {})
        if is_flow:
            held_up, held_down = layer.flows.get(traffic_class, (0, 0))
        else:
            held_up, held_down = layer.octets_up, layer.octets_down
        octets = (held_up + up, held_down + down)
        growth = abs(octets[0]) + abs(octets[1]) - abs(held_up) - abs(held_down)
        if held + growth > held_max:
            refused += 1
            continue
        held += growth
        if is_flow:
            flows = {**layer.flows, traffic_class: octets}
            by_posting[post_at] = Layer(post_at, layer.octets_up, layer.octets_down, flows)
        else:
            by_posting[post_at] = Layer(post_at, *octets, layer.flows)
    return tuple([by_posting[post_at] for post_at in sorted(by_posting)]), refused


def _octets_held(layer: Layer) -> int:
    held = abs(layer.octets_up) + abs(layer.octets_down)
    if layer.flows:
        held += sum([abs(up) + abs(down) for up, down in layer.flows.values()])
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
        flows = add_octets(flows, layer.flows) if flows else layer.flows
        splits.append((layer.post_at, split_octets(octets_up, octets_down, flows)))
    return splits
