"""Names and types of information elements: IANA's registry, vendors' elements, v9's own numbers.

`registries/elements.csv` has one line per element (enterprise number, id, name, abstract type of
RFC 7012 §3.1); enterprise ``v9`` marks NetFlow v9 fields above 127 that are no IANA elements.
Nothing that is billed depends on these names: `elements` says what is read.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import importlib.resources
from collections.abc import Mapping

from collectors.netflow.elements import REVERSE, SCOPE_V9, Element
from collectors.netflow.templates import V9

CERT = 6871
"""CERT's enterprise number: bit 14 of its ids marks the reverse direction (as RFC 5103 §6.2)."""

_REVERSE_BIT = 0x4000

SCOPES: Mapping[int, str] = {
    1: "System", 2: "Interface", 3: "LineCard", 4: "Cache", 5: "Template",
}  # fmt: skip
"""Scope types of v9 options (RFC 3954 §6.1)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Description:
    """What is known of an element: its name, its abstract type, whose it is ("" is IANA)."""

    name: str
    kind: str
    vendor: str = ""


def describe(version: int, element: Element) -> Description:
    """Return the description of an element in datagrams of a version.

    An element that no table has is named by its number and read as octets.
    """
    enterprise, number = element
    if enterprise == SCOPE_V9:
        return Description(f"scope{SCOPES.get(number, number)}", "unsigned64")
    if enterprise == REVERSE:
        return _reversed(describe(version, (0, number)), "reverse")
    known = _elements()
    if version == V9 and enterprise == 0 and number > 127 and ("v9", number) in known:
        return Description(*known["v9", number])
    vendor = "" if enterprise == 0 else _vendors().get(enterprise, str(enterprise))
    found = known.get((str(enterprise), number))
    if found is not None:
        return Description(*found, vendor)
    if enterprise == CERT and number & _REVERSE_BIT:
        forward = describe(version, (CERT, number & ~_REVERSE_BIT))
        return _reversed(forward, vendor)
    return Description(f"element{number}", "octetArray", vendor)


def _reversed(forward: Description, vendor: str) -> Description:
    """Return the element of the other direction, named as RFC 5103 §6.1 says."""
    name = f"reverse{forward.name[:1].upper()}{forward.name[1:]}"
    return Description(name, forward.kind, vendor)


@functools.cache
def _elements() -> Mapping[tuple[str, int], tuple[str, str]]:
    """Return (enterprise, id) -> name and type, read once."""
    rows = csv.DictReader(_lines("elements.csv"))
    return {(row["enterprise"], int(row["id"])): (row["name"], row["type"]) for row in rows}


@functools.cache
def _vendors() -> Mapping[int, str]:
    """Return enterprise number -> vendor, read once."""
    return {int(r["enterprise"]): r["name"] for r in csv.DictReader(_lines("vendors.csv"))}


def _lines(name: str) -> list[str]:
    folder = importlib.resources.files("collectors.netflow") / "registries"
    return (folder / name).read_text(encoding="utf-8").splitlines()
