"""Commands of cable TV: the catalog, stock, pairings, packages, messages."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import insert, select

from api.models.cable import (
    SubscriberTv,
    TvCardAccepted,
    TvCardRequest,
    TvChannel,
    TvChannelCreate,
    TvDevice,
    TvModel,
    TvModelCreate,
    TvMoveRequest,
    TvPackage,
    TvPackageCreate,
    TvPackagePatch,
    TvPackagesChange,
    TvPairing,
    TvPairingCreate,
    TvPairingEnding,
    TvStock,
    TvStockCreate,
    TvSwapRequest,
)
from api.problems import Problem, not_found
from api.reads import cable as reads
from api.reads import parties
from api.writes.transaction import CommandTransaction
from billing.adapters import cable_catalog, cable_stock, cable_tables
from billing.adapters.cable_services import check_product
from billing.adapters.cable_stock import CABLE, Ending, touch
from billing.adapters.databases import take_turns
from billing.cable import stock
from billing.cable.catalog import Channel, ChannelPackage
from billing.cable.pairings import Pairing
from billing.cable.refusals import RefusedError
from billing.cable.stock import Order


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what cable TV refuses into a 409 Problem."""
    try:
        yield
    except RefusedError as error:
        raise Problem("conflict", f"{error}.") from None


def create_channel(transaction: CommandTransaction, body: TvChannelCreate) -> TvChannel:
    """Add a channel to a branch's list."""
    branch_id = transaction.branch_of(body.branch_id).branch_id
    values = body.model_dump() | {"branch_id": branch_id}
    with _refusals():
        cable_catalog.create_channel(transaction.connection, Channel(**values))
    return TvChannel(**values)


def create_package(transaction: CommandTransaction, body: TvPackageCreate) -> TvPackage:
    """Put a package on sale."""
    package = ChannelPackage(
        body.package_id,
        transaction.branch_of(body.branch_id).branch_id,
        body.kind,
        body.name,
        body.entitlement,
        body.product_id or "",
        tuple(body.channels),
        tuple(body.requires),
        tuple(body.excludes),
        body.offered_from_on or "",
        body.offered_until_on,
        body.shown_until_on,
    )
    with _refusals():
        cable_catalog.create_package(transaction.connection, package)
    return reads.package_model(package)


def limit_package(
    transaction: CommandTransaction, package_id: str, body: TvPackagePatch
) -> TvPackage:
    """Change until when a package is sold or shown."""
    connection = transaction.connection
    package = reads.get_package(connection, transaction.principal.branch_id, package_id)
    days = {name: getattr(body, name) for name in body.model_fields_set}
    if not days:
        return reads.package_model(package)
    with _refusals():
        changed = cable_catalog.limit_package(connection, package, days)
    return reads.package_model(changed)


def create_model(transaction: CommandTransaction, body: TvModelCreate) -> TvModel:
    """Add a make of box or card."""
    connection = transaction.connection
    branch_id = transaction.branch_of(body.branch_id).branch_id
    take_turns(connection, CABLE)
    known = cable_tables.cable_model.c
    if connection.scalar(select(known.name).where(known.model_id == body.model_id)) is not None:
        raise Problem("conflict", f"There is a model {body.model_id!r} already.")
    values = body.model_dump() | {"branch_id": branch_id}
    values["rent_product_id"] = body.rent_product_id or ""
    with _refusals():
        check_product(connection, branch_id, values["rent_product_id"], body.name)
    transaction.add(cable_tables.cable_model, values)
    return TvModel(**values)


def receive_stock(transaction: CommandTransaction, body: TvStockCreate) -> TvStock:
    """Take boxes or cards into the stock of their model's branch, all or none."""
    connection = transaction.connection
    model = cable_tables.cable_model.c
    branch_id = connection.scalar(select(model.branch_id).where(model.model_id == body.model_id))
    if branch_id is None or transaction.principal.branch_id not in (None, branch_id):
        raise not_found("model", body.model_id)
    order = _order(transaction, stock.RECEIVE, body.note)
    devices = []
    with _refusals():
        for serial in body.serials:
            device, _ = cable_stock.receive_device(
                connection, serial, body.model_id, dataclasses.replace(order, branch_id=branch_id)
            )
            if body.into_store:
                device = cable_stock.move_device(
                    connection, serial, _order(transaction, stock.STORE)
                )
            devices.append(reads.device_model(device))
    return TvStock(devices=devices)


def move_device(transaction: CommandTransaction, serial: str, body: TvMoveRequest) -> TvDevice:
    """Move a box or card that is in no pairing."""
    connection, reach = transaction.connection, transaction.principal.branch_id
    reads.get_device(connection, reach, serial)
    order = _order(transaction, body.action, body.note)
    if body.branch_id is not None:
        parties.get_branch(connection, None, body.branch_id)
        order = dataclasses.replace(order, branch_id=body.branch_id)
    with _refusals():
        return reads.device_model(cable_stock.move_device(connection, serial, order))


def pair(transaction: CommandTransaction, subscriber_id: str, body: TvPairingCreate) -> TvPairing:
    """Give a subscriber a card in a box at an outlet."""
    connection = transaction.connection
    subscriber = parties.get_subscriber(
        connection, transaction.principal.branch_id, subscriber_id, transaction.now_at
    )
    if subscriber.status == "ended":
        raise Problem("conflict", "An ended subscriber gets no box.")
    pairing = Pairing(
        transaction.services.new_id("pair"),
        subscriber.branch_id,
        subscriber_id,
        body.outlet,
        body.card_serial,
        body.box_serial,
        transaction.now_at,
        transaction.principal.name,
    )
    with _refusals():
        cable_stock.pair(connection, pairing)
    return reads.pairing_model(pairing)


def swap(transaction: CommandTransaction, pairing_id: str, body: TvSwapRequest) -> TvPairing:
    """Replace the card, the box or both of a pairing."""
    connection, now = transaction.connection, transaction.now_at
    reads.get_pairing(connection, transaction.principal.branch_id, pairing_id)
    by = transaction.principal.name
    new = Pairing(
        transaction.services.new_id("pair"),
        "",
        "",
        0,
        body.card_serial or "",
        body.box_serial or "",
        now,
        by,
    )
    with _refusals():
        ending = Ending(body.reason, now, by, (), body.note)
        return reads.pairing_model(cable_stock.swap(connection, pairing_id, ending, new))


def end_pairing(
    transaction: CommandTransaction, pairing_id: str, body: TvPairingEnding
) -> TvPairing:
    """End a pairing, and perhaps what its outlet has bought."""
    connection, now = transaction.connection, transaction.now_at
    pairing = reads.get_pairing(connection, transaction.principal.branch_id, pairing_id)
    devices = (pairing.card_serial, pairing.box_serial)
    if body.devices is not None:
        devices = tuple(dict.fromkeys(body.devices))  # type: ignore[assignment]
    ending = Ending(body.reason, now, transaction.principal.name, devices, body.note)
    with _refusals():
        ended = cable_stock.end_pairing(connection, pairing_id, ending)
        if body.end_packages:
            whose = _whose(transaction, pairing.subscriber_id, pairing.outlet)
            cable_catalog.end_outlet(connection, whose, now)
    return reads.pairing_model(ended)


def change_packages(
    transaction: CommandTransaction, subscriber_id: str, body: TvPackagesChange
) -> SubscriberTv:
    """Change what an outlet has, now or later."""
    now = transaction.now_at
    whose = _whose(transaction, subscriber_id, body.outlet)
    subscriber = parties.get_subscriber(transaction.connection, None, subscriber_id, now)
    if subscriber.status == "ended" and body.add:
        raise Problem("conflict", "An ended subscriber gets no packages.")
    at = now if body.effective_at is None else transaction.effective_at(body.effective_at)
    change = cable_catalog.Change(at, body.add, body.remove)
    with _refusals():
        cable_catalog.change_packages(
            transaction.connection, whose, change, transaction.services.new_id
        )
    return reads.subscriber_tv(transaction.connection, None, subscriber_id, now)


def request_card(
    transaction: CommandTransaction, serial: str, body: TvCardRequest
) -> TvCardAccepted:
    """Have the office send a message to a card's screen, or send it again what it has."""
    connection = transaction.connection
    card = reads.get_device(connection, transaction.principal.branch_id, serial)
    if card.kind != stock.CARD:
        raise Problem("conflict", f"{serial!r} is a {stock.DEVICE_KINDS[card.kind]}, not a card.")
    take_turns(connection, CABLE)
    request_id = transaction.services.new_id("tvr")
    row = {
        "request_id": request_id,
        "branch_id": card.branch_id,
        "card_serial": serial,
        "operation": body.operation,
        "message": body.text.strip(),
        "requested_by": transaction.principal.name,
        "requested_at": transaction.now_at,
    }
    connection.execute(insert(cable_tables.cable_request), [row])
    touch(connection, [serial])
    return TvCardAccepted(
        request_id=request_id,
        card_serial=serial,
        operation=body.operation,
        commands_url=f"/v1/tv/commands?card_serial={serial}",
    )


def _order(transaction: CommandTransaction, action: str, note: str = "") -> Order:
    return Order(action, transaction.now_at, transaction.principal.name, note)


def _whose(transaction: CommandTransaction, subscriber_id: str, outlet: int) -> cable_catalog.Whose:
    """Return whose outlet it is; a 404 Problem for an unknown subscriber."""
    connection = transaction.connection
    subscriber = parties.get_subscriber(
        connection, transaction.principal.branch_id, subscriber_id, transaction.now_at
    )
    branch = parties.get_branch(connection, None, subscriber.branch_id)
    return cable_catalog.Whose(
        subscriber.branch_id, subscriber.account_id, subscriber_id, branch.timezone, outlet
    )
