"""Quantities as a person reads them: volumes in the unit that fits their size, times, counts."""

from __future__ import annotations

_UNITS = {
    False: (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)),
    True: (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)),
}
"""Names and octets of the units that a plan counts in (binary or not), the greatest first.

Nothing above a gigabyte: plans are priced per GB, and 1.24 TB would hide some of them.
"""

OCTET_UNITS = frozenset({"octets", "octets_up", "octets_down"})


def format_volume(octets: int, octets_per_gigabyte: int = 10**9) -> str:
    """Return octets with two decimals in the unit that fits: ``620.00 GB``, ``27.94 MB``, ``12 B``.

    octets_per_gigabyte is the plan's (10^9 or 2^30). Decimals beyond the second are cut off.
    """
    sign, size = "−" if octets < 0 else "", abs(octets)
    name, divisor = _fitting_unit(size, octets_per_gigabyte)
    if divisor == 1:
        return f"{sign}{size} {name}"
    hundredths = size * 100 // divisor
    return f"{sign}{hundredths // 100:,}.{hundredths % 100:02d} {name}"


def is_cut(octets: int, octets_per_gigabyte: int = 10**9) -> bool:
    """Return whether `format_volume` leaves out a part of the volume."""
    _, divisor = _fitting_unit(abs(octets), octets_per_gigabyte)
    return abs(octets) * 100 % divisor != 0


def _fitting_unit(size: int, octets_per_gigabyte: int) -> tuple[str, int]:
    """Return the greatest unit that a volume has one of."""
    units = _UNITS[octets_per_gigabyte == 2**30]
    return next((unit for unit in units if size >= unit[1]), ("B", 1))


def format_quantity(quantity: int, unit: str, octets_per_gigabyte: int = 10**9) -> str:
    """Return a metered quantity with its unit: a volume, ``1:02:03 h`` for seconds; else empty."""
    if unit in OCTET_UNITS:
        return format_volume(quantity, octets_per_gigabyte)
    if unit == "seconds":
        minutes, seconds = divmod(abs(quantity), 60)
        sign = "−" if quantity < 0 else ""
        return f"{sign}{minutes // 60:,}:{minutes % 60:02d}:{seconds:02d} h"
    if unit == "sessions":
        return f"{quantity:,} session{'' if quantity == 1 else 's'}"
    return ""


def short_quantity(quantity: int, unit: str, octets_per_gigabyte: int = 10**9) -> str:
    """Return the same without zeros that say nothing: ``60 MB``; plain units are counted."""
    text = format_quantity(quantity, unit, octets_per_gigabyte)
    if unit in OCTET_UNITS:
        number, _, name = text.partition(" ")
        return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {name}"
    return text or f"{quantity:,}"


def format_price_unit(size: int, unit: str) -> str:
    """Return what a unit price is for: ``GB``, ``10 MB``, ``MiB``, ``hour``, ``1,500 octets``."""
    named: tuple[tuple[str, int], ...] = (*_UNITS[False], *_UNITS[True])
    if unit == "seconds":
        named = (("hour", 3600), ("minute", 60))
    # Of the units that divide it, the one that leaves the smallest number reads best.
    fitting = [(size // divisor, name) for name, divisor in named if size % divisor == 0]
    if fitting:
        count, name = min(fitting)
        return name if count == 1 else f"{count:,} {name}{'s' if unit == 'seconds' else ''}"
    names = {"seconds": "second", "sessions": "session"}
    one = "octet" if unit in OCTET_UNITS else names.get(unit, "unit")
    return one if size == 1 else f"{size:,} {one}s"
