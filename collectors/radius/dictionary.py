"""Attribute dictionaries in FreeRADIUS's text form: names and types of vendors' attributes.

`flowrate inspect radius --dictionary FILE` reads them; nothing that is billed depends on one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from collectors.radius.attributes import AttributeKind

_KINDS = {
    "string": "text",
    "integer": "integer",
    "uint32": "integer",
    "signed": "octets",
    "date": "time",
    "ipaddr": "address",
    "ipv6addr": "address6",
    "ipv6prefix": "prefix6",
    "ifid": "interface",
}
"""Dictionary type -> kind of `AttributeKind`; every other type is shown as octets."""


@dataclasses.dataclass(frozen=True, slots=True)
class DictionaryAttribute:
    """One ATTRIBUTE line; vendor is 0 for a standard one, number may be dotted (``255.1``)."""

    vendor: int
    number: str
    kind: AttributeKind


@dataclasses.dataclass(frozen=True, slots=True)
class Dictionary:
    """What dictionary files say: attributes in order, value names, vendors by number."""

    attributes: tuple[DictionaryAttribute, ...]
    values: tuple[tuple[str, str, int], ...]
    vendors: dict[int, str]

    def kinds(self) -> dict[tuple[int, int], AttributeKind]:
        """Return (vendor, number) -> kind with its value names; the last line of a number wins."""
        names: dict[str, dict[int, str]] = {}
        for attribute, name, number in self.values:
            names.setdefault(attribute, {})[number] = name
        return {
            (each.vendor, int(each.number)): dataclasses.replace(
                each.kind, values=names.get(each.kind.name, {})
            )
            for each in self.attributes
            if "." not in each.number
        }


def read_dictionary(lines: Iterable[str]) -> Dictionary:
    """Return what the lines of dictionary files say; $INCLUDE and unknown keywords are passed over.

    Raises ValueError that names the line for one that is cut or numbered wrongly.
    """
    attributes: list[DictionaryAttribute] = []
    values: list[tuple[str, str, int]] = []
    vendors: dict[str, int] = {}
    vendor = 0
    for position, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        try:
            match words:
                case ["VENDOR", name, number, *_]:
                    vendors[name] = int(number, 0)
                case ["BEGIN-VENDOR", name, *_]:
                    vendor = vendors[name]
                case ["END-VENDOR", *_]:
                    vendor = 0
                case ["ATTRIBUTE", name, number, kind, *flags]:
                    attributes.append(_attribute(vendor, name, number, kind, flags))
                case ["VALUE", attribute, name, number, *_]:
                    values.append((attribute, name, int(number, 0)))
                case ["VENDOR" | "BEGIN-VENDOR" | "ATTRIBUTE" | "VALUE", *_]:
                    raise ValueError("cut")
        except (ValueError, KeyError) as error:
            raise ValueError(f"dictionary line {position}: {line.strip()!r}: {error}") from error
    named = {number: name for name, number in vendors.items()}
    return Dictionary(tuple(attributes), tuple(values), named)


def _attribute(
    vendor: int, name: str, number: str, kind: str, flags: list[str]
) -> DictionaryAttribute:
    parts = [str(int(part, 0)) for part in number.split(".")]
    flagged = ",".join(flags)
    shown = _KINDS.get(kind.partition("[")[0], "octets")
    if "encrypt" in flagged or "secret" in flagged:
        shown = "secret"
    elif "has_tag" in flagged:
        shown = f"tagged_{shown}"
    return DictionaryAttribute(vendor, ".".join(parts), AttributeKind(name, shown))
