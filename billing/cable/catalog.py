"""Channels and channel packages, and which of them go together.

A package is ``base`` (at most one per outlet), ``addon``, or ``a_la_carte`` (exactly one channel).
Add-ons and single channels need a base package on the same outlet; a package may require others
and exclude others. A package is sold in [offered_from_on, offered_until_on), and shown until
shown_until_on, whoever holds it (the package of a tournament); None is without end.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Iterable, Mapping

from billing.cable.refusals import RefusedError

BASE_KIND = "base"
ADDON = "addon"
A_LA_CARTE = "a_la_carte"
KINDS = (BASE_KIND, ADDON, A_LA_CARTE)


@dataclasses.dataclass(frozen=True, slots=True)
class Channel:
    """A television channel; number is its place in the list that the box shows."""

    channel_id: str
    branch_id: str
    number: int
    name: str
    language: str = ""
    genre: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ChannelPackage:
    """What is sold and what the conditional-access system entitles to, under one name.

    entitlement is the system's own name of it. product_id names the priced product of the price
    list, empty where the package costs nothing. Days are ISO text, local to the branch.
    """

    package_id: str
    branch_id: str
    kind: str
    name: str
    entitlement: str
    product_id: str
    channels: tuple[str, ...]
    requires: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    offered_from_on: str = ""
    offered_until_on: str | None = None
    shown_until_on: str | None = None


def check_package(package: ChannelPackage, known: Mapping[str, ChannelPackage]) -> None:
    """Raise RefusedError where a new package contradicts itself or names what does not exist.

    `known` are the branch's other packages by id.
    """
    if package.kind not in KINDS:
        raise RefusedError(f"kind {package.kind!r}: expected one of {', '.join(KINDS)}")
    if not package.channels:
        raise RefusedError(f"{package.name} has no channels: expected at least one")
    if len(set(package.channels)) != len(package.channels):
        raise RefusedError(f"{package.name} names a channel twice")
    if package.kind == A_LA_CARTE and len(package.channels) != 1:
        raise RefusedError(f"{package.name} is sold as a single channel: expected exactly one")
    for named in (*package.requires, *package.excludes):
        if named not in known:
            raise RefusedError(f"{package.name} names the package {named!r}, which does not exist")
    both = set(package.requires) & set(package.excludes)
    if both:
        raise RefusedError(f"{package.name} both requires and excludes {', '.join(sorted(both))}")
    for name in ("offered_from_on", "offered_until_on", "shown_until_on"):
        _check_day(package.name, name, getattr(package, name))
    until = package.offered_until_on
    if until is not None and until <= package.offered_from_on:
        raise RefusedError(
            f"{package.name} is offered until {until}: expected a day after"
            f" {package.offered_from_on}"
        )


def _check_day(package: str, field: str, day: str | None) -> None:
    if not day:
        return
    try:
        valid = datetime.date.fromisoformat(day).isoformat() == day
    except ValueError:
        valid = False
    if not valid:
        raise RefusedError(f"{package}, {field} = {day!r}: expected a day such as 2026-12-01")


def is_offered(package: ChannelPackage, on: str) -> bool:
    """Return whether a package is sold, and shown, on a local day (ISO text)."""
    return (
        package.offered_from_on <= on
        and (package.offered_until_on is None or on < package.offered_until_on)
        and (package.shown_until_on is None or on < package.shown_until_on)
    )


def check_choice(
    chosen: Iterable[str],
    added: Collection[str],
    catalog: Mapping[str, ChannelPackage],
    on: str,
) -> None:
    """Raise RefusedError where the packages chosen for one outlet do not go together.

    `added` are those of them that are new on the local day `on`: only these must be on sale, so
    who holds a package that is sold no more keeps it.
    """
    for package_id in sorted({*chosen, *added}):
        if package_id not in catalog:
            raise RefusedError(f"There is no package {package_id!r} in this branch")
    packages = [catalog[package_id] for package_id in sorted(set(chosen))]
    for package in packages:
        if package.package_id in added and not is_offered(package, on):
            raise RefusedError(f"{package.name} is not on sale on {on}")
    bases = [package.name for package in packages if package.kind == BASE_KIND]
    if len(bases) > 1:
        raise RefusedError(f"{' and '.join(bases)} are both base packages: an outlet has one")
    held = {package.package_id for package in packages}
    for package in packages:
        if package.kind != BASE_KIND and not bases:
            raise RefusedError(f"{package.name} needs a base package on the same outlet")
        for needed in package.requires:
            if needed not in held:
                raise RefusedError(f"{package.name} needs {_name(catalog, needed)}")
        for barred in package.excludes:
            if barred in held:
                raise RefusedError(
                    f"{package.name} does not go together with {_name(catalog, barred)}"
                )
    _refuse_channels_paid_twice(packages)


def _refuse_channels_paid_twice(packages: Collection[ChannelPackage]) -> None:
    """Raise RefusedError for a single channel that another chosen package holds already."""
    for single in packages:
        if single.kind != A_LA_CARTE:
            continue
        for other in packages:
            if other is not single and set(single.channels) & set(other.channels):
                raise RefusedError(f"{single.name} is already part of {other.name}")


def channels_of(chosen: Iterable[str], catalog: Mapping[str, ChannelPackage]) -> tuple[str, ...]:
    """Return the channels of packages, each once, by id."""
    return tuple(sorted({channel for one in chosen for channel in catalog[one].channels}))


def _name(catalog: Mapping[str, ChannelPackage], package_id: str) -> str:
    found = catalog.get(package_id)
    return found.name if found else package_id
