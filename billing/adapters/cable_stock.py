"""Boxes, cards and pairings in and out of the database: free functions over a connection.

The caller owns the transaction. Each writer takes the turn `CABLE` first, so what it reads holds
until its commit; the unique indexes of `cable_pairing` hold whatever anyone forgets. RefusedError
says what is not possible now; nothing has been written then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from billing.adapters import cable_tables as tables
from billing.adapters.cable_services import Sold, end_service, start_service
from billing.adapters.databases import take_turns, upsert
from billing.adapters.tables import subscriber as _subscriber
from billing.cable import pairings, stock
from billing.cable.pairings import Pairing
from billing.cable.refusals import RefusedError
from billing.cable.stock import Device, Movement, Order

CABLE = "cable"
"""The turn of whoever writes anything of cable TV."""

_DEVICE = [tables.cable_device.c[field.name] for field in dataclasses.fields(Device)]
_MOVEMENT = [tables.cable_movement.c[field.name] for field in dataclasses.fields(Movement)]
_PAIRING = [tables.cable_pairing.c[field.name] for field in dataclasses.fields(Pairing)]


def find_device(connection: Connection, serial: str) -> Device | None:
    """Return a box or card, or None."""
    query = select(*_DEVICE).where(tables.cable_device.c.serial == serial)
    row = connection.execute(query).one_or_none()
    return Device(*row) if row else None


def movements_of(connection: Connection, serial: str) -> list[Movement]:
    """Return what was done with a device, first to last."""
    movement = tables.cable_movement.c
    query = select(*_MOVEMENT).where(movement.serial == serial).order_by(movement.number)
    return [Movement(*row) for row in connection.execute(query)]


def pairings_of(connection: Connection, subscriber_id: str) -> list[Pairing]:
    """Return a subscriber's pairings, standing and past, the newest last."""
    pairing = tables.cable_pairing.c
    query = (
        select(*_PAIRING)
        .where(pairing.subscriber_id == subscriber_id)
        .order_by(pairing.paired_at, pairing.pairing_id)
    )
    return [Pairing(*row) for row in connection.execute(query)]


def receive_device(
    connection: Connection, serial: str, model_id: str, order: Order
) -> tuple[Device, Movement]:
    """Take a new box or card of a model into a branch's stock."""
    take_turns(connection, CABLE)
    model = tables.cable_model.c
    query = select(model.kind).where(model.model_id == model_id, model.branch_id == order.branch_id)
    kind = connection.scalar(query)
    if kind is None:
        raise RefusedError(f"There is no model {model_id!r} in this branch")
    if find_device(connection, serial) is not None:
        raise RefusedError(f"The serial {serial!r} is in stock already: serials are unique")
    device, movement = stock.receive(serial, kind, model_id, order)
    connection.execute(insert(tables.cable_device), [dataclasses.asdict(device)])
    connection.execute(insert(tables.cable_movement), [dataclasses.asdict(movement)])
    if kind == stock.CARD:
        touch(connection, [serial])
    return device, movement


def move_device(connection: Connection, serial: str, order: Order) -> Device:
    """Move a device in stock; one that is paired is moved by ending its pairing."""
    take_turns(connection, CABLE)
    device = find_device(connection, serial)
    if device is None:
        raise RefusedError(f"There is no box or card {serial!r}")
    paired = standing_pairing(connection, device)
    if paired is not None:
        raise RefusedError(
            f"{serial!r} is in use (pairing {paired.pairing_id!r}): end or swap that first"
        )
    return _move(connection, device, order)


def standing_pairing(connection: Connection, device: Device) -> Pairing | None:
    """Return the pairing that a device is part of now, or None."""
    pairing = tables.cable_pairing.c
    column = pairing.card_serial if device.kind == stock.CARD else pairing.box_serial
    query = select(*_PAIRING).where(column == device.serial, pairing.ended_at.is_(None))
    row = connection.execute(query).one_or_none()
    return Pairing(*row) if row else None


def find_pairing(connection: Connection, pairing_id: str) -> Pairing | None:
    """Return a pairing, standing or past, or None."""
    query = select(*_PAIRING).where(tables.cable_pairing.c.pairing_id == pairing_id)
    row = connection.execute(query).one_or_none()
    return Pairing(*row) if row else None


def pair(connection: Connection, pairing: Pairing) -> None:
    """Put a card into a box at a subscriber's outlet; both leave the store where they are in it."""
    take_turns(connection, CABLE)
    devices = [
        (find_device(connection, pairing.card_serial), stock.CARD),
        (find_device(connection, pairing.box_serial), stock.BOX),
    ]
    for device, kind in devices:
        pairings.check_device(device, kind, pairing)
        assert device is not None
        other = standing_pairing(connection, device)
        if other is not None:
            raise RefusedError(f"{device.serial!r} is paired already (outlet {other.outlet})")
    if _at_outlet(connection, pairing.subscriber_id, pairing.outlet) is not None:
        raise RefusedError(f"Outlet {pairing.outlet} has a box already: swap it, or end it first")
    for device, _ in devices:
        assert device is not None
        if device.state == stock.IN_STORE:
            order = Order(
                stock.ISSUE,
                pairing.paired_at,
                pairing.paired_by,
                f"outlet {pairing.outlet}",
                subscriber_id=pairing.subscriber_id,
            )
            _move(connection, device, order)
    connection.execute(insert(tables.cable_pairing), [dataclasses.asdict(pairing)])
    touch(connection, [pairing.card_serial])


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """Why, when and by whom a pairing ends; devices are the serials to which the reason applies
    (`pairings.END_ACTIONS`), the others stay with the subscriber."""

    reason: str
    at: int
    by: str
    devices: tuple[str, ...]
    note: str = ""


def end_pairing(connection: Connection, pairing_id: str, ending: Ending) -> Pairing:
    """End a standing pairing and move the devices that the ending names."""
    take_turns(connection, CABLE)
    action = pairings.end_action(ending.reason)
    pairing = find_pairing(connection, pairing_id)
    if pairing is None:
        raise RefusedError(f"There is no pairing {pairing_id!r}")
    ended = pairings.ended(pairing, ending.at, ending.reason)
    strangers = set(ending.devices) - {pairing.card_serial, pairing.box_serial}
    if strangers:
        raise RefusedError(f"{', '.join(sorted(strangers))}: not part of this pairing")
    table = tables.cable_pairing
    connection.execute(
        update(table)
        .where(table.c.pairing_id == pairing_id)
        .values(ended_at=ended.ended_at, end_reason=ended.end_reason)
    )
    for serial in ending.devices:
        device = find_device(connection, serial)
        assert device is not None
        note = ": ".join(part for part in (ending.reason, ending.note) if part)
        _move(connection, device, Order(action, ending.at, ending.by, note))
    touch(connection, [pairing.card_serial])
    return ended


def swap(connection: Connection, pairing_id: str, ending: Ending, replacement: Pairing) -> Pairing:
    """Give a subscriber another card, another box or both at the same outlet; return the new
    pairing.

    A serial that `replacement` leaves empty stays as it is; the devices replaced move as the
    ending's reason says, and what the outlet has bought stays.
    """
    take_turns(connection, CABLE)
    old = find_pairing(connection, pairing_id)
    if old is None:
        raise RefusedError(f"There is no pairing {pairing_id!r}")
    new = dataclasses.replace(
        replacement,
        branch_id=old.branch_id,
        subscriber_id=old.subscriber_id,
        outlet=old.outlet,
        card_serial=replacement.card_serial or old.card_serial,
        box_serial=replacement.box_serial or old.box_serial,
    )
    replaced = tuple(
        before
        for before, now in ((old.card_serial, new.card_serial), (old.box_serial, new.box_serial))
        if before != now
    )
    if not replaced:
        raise RefusedError("A swap needs another card_serial, another box_serial, or both")
    end_pairing(connection, pairing_id, dataclasses.replace(ending, devices=replaced))
    pair(connection, new)
    return new


def touch(connection: Connection, cards: Iterable[str]) -> None:
    """Have the office look at cards again at once, also where what changes begins later."""
    for serial in sorted(set(cards)):
        statement = upsert(connection, tables.cable_card).values(card_serial=serial, due_at=0)
        connection.execute(
            statement.on_conflict_do_update(index_elements=["card_serial"], set_={"due_at": 0})
        )


def touch_subscriber(connection: Connection, subscriber_id: str) -> None:
    """Have the office look at once at the cards that a subscriber watches with."""
    pairing = tables.cable_pairing.c
    query = select(pairing.card_serial).where(
        pairing.subscriber_id == subscriber_id, pairing.ended_at.is_(None)
    )
    touch(connection, connection.scalars(query))


def _at_outlet(connection: Connection, subscriber_id: str, outlet: int) -> Row[Any] | None:
    pairing = tables.cable_pairing.c
    query = select(pairing.pairing_id).where(
        pairing.subscriber_id == subscriber_id,
        pairing.outlet == outlet,
        pairing.ended_at.is_(None),
    )
    return connection.execute(query).one_or_none()


def _move(connection: Connection, device: Device, order: Order) -> Device:
    """Write a movement and where it leaves the device."""
    moved, movement = stock.move(device, order)
    connection.execute(insert(tables.cable_movement), [dataclasses.asdict(movement)])
    table = tables.cable_device
    connection.execute(
        update(table)
        .where(table.c.serial == device.serial)
        .values(
            state=moved.state,
            branch_id=moved.branch_id,
            subscriber_id=moved.subscriber_id,
            movements=moved.movements,
        )
    )
    if device.kind == stock.CARD:
        touch(connection, [device.serial])
    if device.state == stock.ISSUED:
        end_service(connection, _rent_of(connection, device.serial), order.moved_at)
    if moved.state == stock.ISSUED:
        _begin_rent(connection, moved, order.moved_at)
    return moved


def _begin_rent(connection: Connection, device: Device, at: int) -> None:
    """Begin to ask for a device's rent, if its model has one."""
    model, subscriber = tables.cable_model.c, _subscriber.c
    product_id = connection.scalar(
        select(model.rent_product_id).where(model.model_id == device.model_id)
    )
    account_id = connection.scalar(
        select(subscriber.account_id).where(subscriber.subscriber_id == device.subscriber_id)
    )
    service_id = f"rent/{device.serial}/{device.movements}"
    parties = (device.branch_id, account_id or "", device.subscriber_id)
    start_service(connection, Sold(service_id, *parties, product_id or "", at))


def _rent_of(connection: Connection, serial: str) -> str:
    """Return the id of the service that asks for the rent since a device was issued last."""
    movement = tables.cable_movement.c
    query = select(func.max(movement.number)).where(
        movement.serial == serial, movement.action == stock.ISSUE
    )
    return f"rent/{serial}/{connection.scalar(query)}"
