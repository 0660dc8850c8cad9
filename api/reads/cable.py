"""Cable TV within a branch's reach: catalog, stock, outlets, and commands to the CAS."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Connection, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.cable import (
    SubscriberTv,
    TvCard,
    TvChannel,
    TvCommand,
    TvDevice,
    TvDeviceDetail,
    TvEntitlement,
    TvHolding,
    TvModel,
    TvMovement,
    TvOutlet,
    TvPackage,
    TvPairing,
)
from api.problems import not_found
from api.reads.parties import get_subscriber, scoped
from billing.adapters import cable_tables as tables
from billing.adapters.cable_cards import CardView, read_cards
from billing.adapters.cable_catalog import holdings_of, package_of, packages_in
from billing.adapters.cable_stock import find_device, find_pairing, movements_of, pairings_of
from billing.cable import stock
from billing.cable.catalog import ChannelPackage
from billing.cable.entitlements import Holding, running
from billing.cable.pairings import Pairing

_CHANNEL = [tables.cable_channel.c[name] for name in TvChannel.model_fields]
_MODEL = [tables.cable_model.c[name] for name in TvModel.model_fields]
_DEVICE = [tables.cable_device.c[name] for name in TvDevice.model_fields]
_PACKAGE = [tables.cable_package.c[name] for name in TvPackage.model_fields]
_COMMAND = [tables.cas_command.c[name] for name in TvCommand.model_fields]


def list_channels(
    connection: Connection, branch_id: str | None, paging: Paging
) -> Slice[TvChannel]:
    """Return channels by branch and number."""
    channel = tables.cable_channel.c
    statement = scoped(select(*_CHANNEL), tables.cable_channel, branch_id)
    columns = [channel.branch_id, channel.number]
    rows = connection.execute(paged(statement, columns, paging, [str, int]))
    channels = [TvChannel(**row._mapping) for row in rows]
    return slice_of(channels, paging, lambda c: [c.branch_id, c.number])


def list_packages(
    connection: Connection, branch_id: str | None, paging: Paging
) -> Slice[TvPackage]:
    """Return packages by id."""
    package = tables.cable_package.c
    statement = scoped(select(*_PACKAGE), tables.cable_package, branch_id)
    rows = connection.execute(paged(statement, [package.package_id], paging, [str]))
    packages = [package_model(package_of(row)) for row in rows]
    return slice_of(packages, paging, lambda p: [p.package_id])


def get_package(connection: Connection, branch_id: str | None, package_id: str) -> ChannelPackage:
    """Return one package, or raise a 404 Problem."""
    statement = select(*_PACKAGE).where(tables.cable_package.c.package_id == package_id)
    row = connection.execute(scoped(statement, tables.cable_package, branch_id)).one_or_none()
    if row is None:
        raise not_found("package", package_id)
    return package_of(row)


def package_model(package: ChannelPackage) -> TvPackage:
    """Return a package as the API shows it."""
    return TvPackage(**_plain(package))


def list_models(connection: Connection, branch_id: str | None, paging: Paging) -> Slice[TvModel]:
    """Return makes of boxes and cards by id."""
    statement = scoped(select(*_MODEL), tables.cable_model, branch_id)
    columns = [tables.cable_model.c.model_id]
    rows = connection.execute(paged(statement, columns, paging, [str]))
    models = [TvModel(**row._mapping) for row in rows]
    return slice_of(models, paging, lambda m: [m.model_id])


def list_devices(
    connection: Connection, branch_id: str | None, paging: Paging, filters: dict[str, str]
) -> Slice[TvDevice]:
    """Return boxes and cards by serial; filters are columns, such as kind and state."""
    statement = scoped(select(*_DEVICE), tables.cable_device, branch_id)
    for name, value in filters.items():
        statement = statement.where(tables.cable_device.c[name] == value)
    columns = [tables.cable_device.c.serial]
    rows = connection.execute(paged(statement, columns, paging, [str]))
    devices = [TvDevice(**row._mapping) for row in rows]
    return slice_of(devices, paging, lambda d: [d.serial])


def get_device(connection: Connection, branch_id: str | None, serial: str) -> stock.Device:
    """Return a box or card, or raise a 404 Problem."""
    device = find_device(connection, serial)
    if device is None or branch_id not in (None, device.branch_id):
        raise not_found("box or card", serial)
    return device


def device_model(device: stock.Device) -> TvDevice:
    """Return a box or card as the API shows it."""
    values = _plain(device)
    del values["movements"]
    return TvDevice(**values)


def device_detail(connection: Connection, device: stock.Device) -> TvDeviceDetail:
    """Return a box or card with its history."""
    movements = []
    for movement in movements_of(connection, device.serial):
        values = _plain(movement)
        del values["serial"]
        movements.append(TvMovement(**values))
    return TvDeviceDetail(device=device_model(device), movements=movements)


def get_pairing(connection: Connection, branch_id: str | None, pairing_id: str) -> Pairing:
    """Return a pairing, or raise a 404 Problem."""
    pairing = find_pairing(connection, pairing_id)
    if pairing is None or branch_id not in (None, pairing.branch_id):
        raise not_found("pairing", pairing_id)
    return pairing


def pairing_model(pairing: Pairing) -> TvPairing:
    """Return a pairing as the API shows it."""
    values = _plain(pairing)
    del values["branch_id"]
    return TvPairing(**values)


def list_commands(
    connection: Connection, branch_id: str | None, paging: Paging, filters: dict[str, str]
) -> Slice[TvCommand]:
    """Return commands to the CAS, the newest first; filters are columns of theirs."""
    command = tables.cas_command.c
    statement = scoped(select(*_COMMAND), tables.cas_command, branch_id)
    for name, value in filters.items():
        statement = statement.where(command[name] == value)
    columns = [command.requested_at, command.command_id]
    rows = connection.execute(paged(statement, columns, paging, [int, str], descending=True))
    commands = [TvCommand(**{**row._mapping, "expires_at": row.expires_at or None}) for row in rows]
    return slice_of(commands, paging, lambda c: [c.requested_at, c.command_id])


def subscriber_tv(
    connection: Connection, branch_id: str | None, subscriber_id: str, now: int
) -> SubscriberTv:
    """Return a subscriber's outlets, or raise a 404 Problem."""
    subscriber = get_subscriber(connection, branch_id, subscriber_id, now)
    catalog = packages_in(connection, subscriber.branch_id)
    pairings = [p for p in pairings_of(connection, subscriber_id) if p.ended_at is None]
    holdings = [
        h for h in holdings_of(connection, subscriber_id) if h.ends_at is None or h.ends_at > now
    ]
    views = {
        view.facts.card_serial: view
        for view in read_cards(connection, [pairing.card_serial for pairing in pairings])
    }
    outlets = []
    for number in sorted({p.outlet for p in pairings} | {h.outlet for h in holdings}):
        pairing = next((p for p in pairings if p.outlet == number), None)
        own = [holding for holding in holdings if holding.outlet == number]
        view = views.get(pairing.card_serial) if pairing else None
        outlets.append(
            TvOutlet(
                outlet=number,
                pairing=pairing_model(pairing) if pairing else None,
                packages=[holding_model(holding, catalog) for holding in own],
                card=_card(connection, view, catalog, now) if view else None,
            )
        )
    paired = {serial for p in pairings for serial in (p.card_serial, p.box_serial)}
    device = tables.cable_device.c
    query = select(*_DEVICE).where(device.subscriber_id == subscriber_id).order_by(device.serial)
    rows = connection.execute(query)
    unpaired = [TvDevice(**row._mapping) for row in rows if row.serial not in paired]
    return SubscriberTv(subscriber_id=subscriber_id, outlets=outlets, unpaired=unpaired)


def holding_model(holding: Holding, catalog: dict[str, ChannelPackage]) -> TvHolding:
    """Return a package at an outlet as the API shows it."""
    package = catalog[holding.package_id]
    return TvHolding(
        holding_id=holding.holding_id,
        outlet=holding.outlet,
        package_id=holding.package_id,
        name=package.name,
        kind=package.kind,
        starts_at=holding.starts_at,
        ends_at=holding.ends_at,
        service_id=holding.service_id,
    )


def _card(
    connection: Connection, view: CardView, catalog: dict[str, ChannelPackage], now: int
) -> TvCard:
    """Return a card as it should be beside what the CAS has acknowledged."""
    names = {package.entitlement: package.name for package in catalog.values()}
    wanted: set[str] = set()
    if not view.facts.barred:
        wanted = {catalog[h.package_id].entitlement for h in running(view.facts.holdings, now)}
    known = view.known.at(now)
    row = connection.execute(
        select(tables.cable_card.c.checked_at, tables.cable_card.c.difference).where(
            tables.cable_card.c.card_serial == view.facts.card_serial
        )
    ).one()
    return TvCard(
        card_serial=view.facts.card_serial,
        is_right=known.box_serial == view.facts.box_serial and wanted == set(known.entitlements),
        barred=view.facts.barred,
        box_wanted=view.facts.box_serial,
        box_known=known.box_serial,
        entitlements=[
            TvEntitlement(
                entitlement=one,
                name=names.get(one, one),
                is_wanted=one in wanted,
                known_until=known.entitlements.get(one),
            )
            for one in sorted(wanted | known.entitlements.keys())
        ],
        checked_at=row.checked_at,
        difference=row.difference,
    )


def _plain(record: Any) -> dict[str, Any]:
    """Return the fields of a record."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
