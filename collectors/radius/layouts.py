"""Accounting-Requests of one NAS have few layouts: each is read by one plan.

A layout is the sequence of an ordinary packet's attribute types and lengths. What does not depend
on values is decided once, when its plan is made; then all values come out of a packet at once.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from collectors.radius.packet import Attribute

Decode = Callable[[bytes], Any]
LAYOUTS_OF_LENGTH_MAX = 16
"""Plans kept of one packet length; a packet of another layout is read attribute by attribute."""


class Plan(NamedTuple):
    """How packets of one layout are read: heads must equal expected, then values has names.

    decoders are of the values that are no plain integers; no name is in it twice.
    """

    heads: struct.Struct
    expected: tuple[int, ...]
    values: struct.Struct
    names: tuple[str, ...]
    decoders: tuple[tuple[str, Decode], ...]

    def read(self, octets: bytes) -> dict[str, Any] | None:
        """Return field -> value, None for another layout or a value that cannot be."""
        if self.heads.unpack(octets) != self.expected:
            return None
        found = dict(zip(self.names, self.values.unpack(octets), strict=True))
        for name, decode in self.decoders:
            value = decode(found[name])
            if value is None:
                return None
            found[name] = value
        return found


class Layouts:
    """The plans made so far.

    fields: attribute type -> field and decoder; integer is the decoder of plain integers. A layout
    without the required fields has no plan.
    """

    def __init__(
        self, fields: Mapping[int, tuple[str, Decode]], integer: Decode, required: frozenset[str]
    ) -> None:
        """Start without plans."""
        self._fields = fields
        self._integer = integer
        self._required = required
        self._plans: dict[int, list[Plan]] = {}

    def read(self, octets: bytes) -> dict[str, Any] | None:
        """Return the fields of a packet of a known layout, None for another one."""
        for plan in self._plans.get(len(octets), ()):
            found = plan.read(octets)
            if found is not None:
                return found
        return None

    def learn(self, octets: bytes, attributes: Sequence[Attribute]) -> None:
        """Make a plan of a packet in which everything is right, if no field of it comes twice."""
        plans = self._plans.setdefault(len(octets), [])
        plan = self._plan(octets, attributes) if len(plans) < LAYOUTS_OF_LENGTH_MAX else None
        if plan is not None and all(known.expected != plan.expected for known in plans):
            plans.append(plan)

    def _plan(self, octets: bytes, attributes: Sequence[Attribute]) -> Plan | None:
        # Code and length field first, then each attribute's type and length.
        heads, values, expected = ["!BxH16x"], ["!20x"], [octets[0], len(octets)]
        names: list[str] = []
        decoders = []
        for kind, value in attributes:
            size = len(value)
            heads.append(f"BB{size}x")
            expected += [kind, size + 2]
            if kind not in self._fields:
                values.append(f"{size + 2}x")
                continue
            name, decode = self._fields[kind]
            if name in names:
                return None
            names.append(name)
            if decode is self._integer:
                values.append("2xI")
            else:
                values.append(f"2x{size}s")
                decoders.append((name, decode))
        if not self._required <= set(names):
            return None
        return Plan(
            struct.Struct("".join(heads)),
            tuple(expected),
            struct.Struct("".join(values)),
            tuple(names),
            tuple(decoders),
        )
