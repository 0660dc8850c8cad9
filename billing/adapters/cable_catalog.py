"""Channels, packages and who holds which, in and out of the database.

The caller owns the transaction and takes the turn `CABLE` through what it calls here.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from billing.adapters import cable_tables as tables
from billing.adapters.cable_services import Sold, check_product, end_service, start_service
from billing.adapters.cable_stock import CABLE, touch_subscriber
from billing.adapters.databases import take_turns
from billing.cable.catalog import Channel, ChannelPackage, check_choice, check_package
from billing.cable.entitlements import Holding
from billing.cable.refusals import RefusedError
from billing.proration import local_day
from rating.periods import day_start_at

_CHANNEL = [tables.cable_channel.c[field.name] for field in dataclasses.fields(Channel)]
_PACKAGE = [tables.cable_package.c[field.name] for field in dataclasses.fields(ChannelPackage)]
_HOLDING = [tables.cable_holding.c[field.name] for field in dataclasses.fields(Holding)]
_LISTS = ("channels", "requires", "excludes")


def create_channel(connection: Connection, channel: Channel) -> None:
    """Add a channel to a branch's list."""
    take_turns(connection, CABLE)
    known = tables.cable_channel.c
    if connection.scalar(select(known.name).where(known.channel_id == channel.channel_id)):
        raise RefusedError(f"There is a channel {channel.channel_id!r} already")
    taken = select(known.name).where(
        known.branch_id == channel.branch_id, known.number == channel.number
    )
    other = connection.scalar(taken)
    if other is not None:
        raise RefusedError(f"The number {channel.number} is taken by {other}")
    connection.execute(insert(tables.cable_channel), [dataclasses.asdict(channel)])


def channels_in(connection: Connection, branch_id: str) -> list[Channel]:
    """Return a branch's channels by number."""
    channel = tables.cable_channel.c
    query = select(*_CHANNEL).where(channel.branch_id == branch_id).order_by(channel.number)
    return [Channel(*row) for row in connection.execute(query)]


def create_package(connection: Connection, package: ChannelPackage) -> None:
    """Put a package on sale; it never changes but for the days on which it is sold and shown."""
    take_turns(connection, CABLE)
    table = tables.cable_package
    for column in (table.c.package_id, table.c.entitlement):
        value = getattr(package, column.name)
        if connection.scalar(select(table.c.name).where(column == value)) is not None:
            raise RefusedError(f"{column.name} {value!r} belongs to another package")
    check_package(package, packages_in(connection, package.branch_id))
    check_product(connection, package.branch_id, package.product_id, package.name)
    known = {channel.channel_id for channel in channels_in(connection, package.branch_id)}
    unknown = sorted(set(package.channels) - known)
    if unknown:
        raise RefusedError(f"{package.name}: there is no channel {', '.join(unknown)}")
    values = dataclasses.asdict(package)
    values |= {name: json.dumps(list(values[name])) for name in _LISTS}
    connection.execute(insert(table), [values])


def limit_package(
    connection: Connection, package: ChannelPackage, days: Mapping[str, str | None]
) -> ChannelPackage:
    """Change until when a package is sold or shown (`offered_until_on`, `shown_until_on`).

    Who holds it keeps the end that was written when he took it.
    """
    take_turns(connection, CABLE)
    changed = dataclasses.replace(package, **days)  # type: ignore[arg-type]
    check_package(changed, packages_in(connection, package.branch_id))
    table = tables.cable_package
    connection.execute(
        update(table).where(table.c.package_id == package.package_id).values(dict(days))
    )
    return changed


def packages_in(connection: Connection, branch_id: str | None = None) -> dict[str, ChannelPackage]:
    """Return the packages of a branch, or of all, by id."""
    package = tables.cable_package.c
    query = select(*_PACKAGE).order_by(package.package_id)
    if branch_id is not None:
        query = query.where(package.branch_id == branch_id)
    return {row.package_id: package_of(row) for row in connection.execute(query)}


def package_of(row: Row[Any]) -> ChannelPackage:
    """Return the package of a row of `cable_package`."""
    values = dict(row._mapping)
    return ChannelPackage(**values | {name: tuple(json.loads(values[name])) for name in _LISTS})


def holdings_of(connection: Connection, subscriber_id: str) -> list[Holding]:
    """Return what a subscriber has or had at his outlets, oldest first."""
    holding = tables.cable_holding.c
    query = (
        select(*_HOLDING)
        .where(holding.subscriber_id == subscriber_id)
        .order_by(holding.starts_at, holding.holding_id)
    )
    return [Holding(*row) for row in connection.execute(query)]


@dataclasses.dataclass(frozen=True, slots=True)
class Whose:
    """Whose outlet it is, and in which time zone its days are."""

    branch_id: str
    account_id: str
    subscriber_id: str
    timezone: str
    outlet: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Changed:
    """What a change of packages has ended and begun."""

    ended: tuple[Holding, ...]
    begun: tuple[Holding, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """Packages to add to an outlet and to take off it at an instant (ms), all at once."""

    at: int
    add: Sequence[str] = ()
    remove: Sequence[str] = ()


def change_packages(
    connection: Connection, whose: Whose, change: Change, new_id: Callable[[str], str]
) -> Changed:
    """Change what an outlet has; RefusedError where the packages would not go together."""
    take_turns(connection, CABLE)
    held = _going_on(connection, whose.subscriber_id, change.at, whose.outlet)
    by_package = {holding.package_id: holding for holding in held}
    for package_id in change.remove:
        if package_id not in by_package:
            raise RefusedError(f"Outlet {whose.outlet} does not have {package_id!r} then")
    staying = by_package.keys() - set(change.remove)
    for package_id in change.add:
        if package_id in staying:
            raise RefusedError(f"Outlet {whose.outlet} has {package_id!r} already")
    catalog = packages_in(connection, whose.branch_id)
    on = local_day(change.at, whose.timezone).isoformat()
    check_choice([*staying, *change.add], change.add, catalog, on)
    ended = tuple(_end(connection, by_package[one], change.at) for one in change.remove)
    begun = tuple(
        _begin(connection, whose, catalog[one], change.at, new_id("tvh")) for one in change.add
    )
    touch_subscriber(connection, whose.subscriber_id)
    return Changed(ended, begun)


def end_outlet(connection: Connection, whose: Whose, at: int) -> tuple[Holding, ...]:
    """End everything that an outlet has; return what that was."""
    take_turns(connection, CABLE)
    going_on = _going_on(connection, whose.subscriber_id, at, whose.outlet)
    ended = tuple(_end(connection, holding, at) for holding in going_on)
    touch_subscriber(connection, whose.subscriber_id)
    return ended


def end_subscriber(connection: Connection, subscriber_id: str, at: int) -> int:
    """End everything that a subscriber has at any outlet; return how many packages that was.

    The rent of a box goes on until the box is back.
    """
    take_turns(connection, CABLE)
    going_on = _going_on(connection, subscriber_id, at)
    for holding in going_on:
        _end(connection, holding, at)
    touch_subscriber(connection, subscriber_id)
    return len(going_on)


def _going_on(
    connection: Connection, subscriber_id: str, at: int, outlet: int | None = None
) -> list[Holding]:
    """Return what a subscriber has, at one outlet or at any, at an instant or will have after."""
    holding = tables.cable_holding.c
    query = select(*_HOLDING).where(
        holding.subscriber_id == subscriber_id,
        or_(holding.ends_at.is_(None), holding.ends_at > at),
    )
    if outlet is not None:
        query = query.where(holding.outlet == outlet)
    return [Holding(*row) for row in connection.execute(query.order_by(holding.holding_id))]


def _end(connection: Connection, holding: Holding, at: int) -> Holding:
    """End a holding and what invoices it; one that would begin later only never begins."""
    ended = dataclasses.replace(holding, ends_at=max(at, holding.starts_at))
    table = tables.cable_holding
    statement = update(table).where(table.c.holding_id == holding.holding_id)
    connection.execute(statement.values(ends_at=ended.ends_at))
    if holding.service_id:
        end_service(connection, holding.service_id, at)
    return ended


def _begin(
    connection: Connection, whose: Whose, package: ChannelPackage, at: int, holding_id: str
) -> Holding:
    until = None
    if package.shown_until_on is not None:
        day = datetime.date.fromisoformat(package.shown_until_on)
        until = day_start_at(whose.timezone, day)
    sold = Sold(
        f"tv/{holding_id}",
        whose.branch_id,
        whose.account_id,
        whose.subscriber_id,
        package.product_id,
        at,
        until,
    )
    holding = Holding(
        holding_id,
        whose.branch_id,
        whose.account_id,
        whose.subscriber_id,
        whose.outlet,
        package.package_id,
        at,
        until,
        start_service(connection, sold),
    )
    connection.execute(insert(tables.cable_holding), [dataclasses.asdict(holding)])
    return holding
