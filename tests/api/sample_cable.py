"""Cable TV of the sample: each branch has packages, boxes and cards, and a customer who watches."""

from __future__ import annotations

from sqlalchemy import Connection, insert, update

from billing.adapters import cable_tables as tables
from billing.adapters.cable_catalog import (
    Change,
    Whose,
    change_packages,
    create_channel,
    create_package,
)
from billing.adapters.cable_stock import move_device, pair, receive_device
from billing.cable.catalog import Channel, ChannelPackage
from billing.cable.pairings import Pairing
from billing.cable.stock import Order

_CHANNELS = ("BTV", "Somoy", "T Sports", "Star Sports", "Duronto", "HBO")
_CUSTOMERS = {"dhanmondi": ("dhm", "1"), "pokhara": ("pkr", "43")}
"""Branch to the prefix of its serials and the number of its customer."""


def fill_cable(connection: Connection, now: int) -> None:
    """Write the catalog, the stock, an outlet that is right and commands that say so."""
    for branch_id, (prefix, number) in _CUSTOMERS.items():
        _fill_branch(connection, branch_id, prefix, f"{int(number):04d}", now)


def _fill_branch(
    connection: Connection, branch_id: str, prefix: str, number: str, now: int
) -> None:
    ids = [f"{prefix}-{name.lower().replace(' ', '-')}" for name in _CHANNELS]
    for place, (channel_id, name) in enumerate(zip(ids, _CHANNELS, strict=True), start=1):
        create_channel(connection, Channel(channel_id, branch_id, place, name))
    for name, kind, channels in (
        ("Basic", "base", ids[:2]),
        ("Gold", "base", ids[:3]),
        ("Sports", "addon", ids[3:4]),
        ("HBO", "a_la_carte", ids[5:]),
    ):
        package_id = f"{prefix}-{name.lower()}"
        entitlement = f"P-{package_id}".upper()
        create_package(
            connection,
            ChannelPackage(package_id, branch_id, kind, name, entitlement, "", tuple(channels)),
        )
    asked = now - 3_600_000
    for kind, name in (("box", "Zapper HD"), ("card", "Card 5")):
        row = {"model_id": f"{prefix}-{kind}", "branch_id": branch_id, "kind": kind, "name": name}
        connection.execute(insert(tables.cable_model), [row])
        for count in range(1, 4):
            serial = f"{prefix}-{kind[0]}{count}".upper()
            order = Order("receive", asked, "Front desk", "", branch_id)
            receive_device(connection, serial, f"{prefix}-{kind}", order)
            move_device(connection, serial, Order("store", asked, "Front desk"))
    customer, card, box = f"sub_{number}a", f"{prefix}-C1".upper(), f"{prefix}-B1".upper()
    pair(
        connection,
        Pairing(f"pair-{branch_id}", branch_id, customer, 1, card, box, asked, "Front desk"),
    )
    counted = iter(range(1, 9))
    change_packages(
        connection,
        Whose(branch_id, f"acc_{number}", customer, "Asia/Dhaka"),
        Change(asked, [f"{prefix}-basic", f"{prefix}-sports"]),
        lambda kind: f"{kind}-{branch_id}-{next(counted)}",
    )
    _answer(connection, branch_id, customer, (card, box), asked)


def _answer(
    connection: Connection, branch_id: str, customer: str, devices: tuple[str, str], asked: int
) -> None:
    """Write what the office and the CAS made of it."""
    card, box = devices
    prefix = _CUSTOMERS[branch_id][0].upper()
    far = asked + 40 * 86_400_000
    names = [f"P-{prefix}-BASIC", f"P-{prefix}-SPORTS"]
    done = [("pair", box, ""), *(("entitle", "", name) for name in names)]
    for number, (operation, paired, name) in enumerate(done, start=1):
        row = {
            "command_id": f"{card}/{number}",
            "card_serial": card,
            "number": number,
            "branch_id": branch_id,
            "subscriber_id": customer,
            "operation": operation,
            "box_serial": paired,
            "entitlement": name,
            "expires_at": far if name else 0,
            "message": "",
            "request_id": "",
            "outcome": "verified" if number < 3 else "acknowledged",
            "attempts": 1,
            "round": 0,
            "reason": "",
            "requested_at": asked + number,
            "next_attempt_at": asked,
            "sent_at": asked + 20,
            "acknowledged_at": asked + 60,
            "verified_at": asked + 900 if number < 3 else None,
            "settled_at": asked + 900 if number < 3 else None,
        }
        connection.execute(insert(tables.cas_command), [row])
    entitlements = ", ".join(f'"{name}": {far}' for name in names)
    connection.execute(
        update(tables.cable_card)
        .where(tables.cable_card.c.card_serial == card)
        .values(
            box_serial=box,
            entitlements=f"{{{entitlements}}}",
            commands=3,
            due_at=None,
            checked_at=asked + 900,
        )
    )
