"""A cable operator for tests: a branch, two customers, channels, packages, boxes, cards."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

from sqlalchemy import Connection, Engine, delete, insert, update

from billing.accounts import Account, Branch, Subscriber
from billing.adapters import cable_tables, dunning_tables, tables
from billing.adapters.cable_catalog import (
    Change,
    Whose,
    change_packages,
    create_channel,
    create_package,
    end_outlet,
)
from billing.adapters.cable_stock import (
    Ending,
    end_pairing,
    find_pairing,
    move_device,
    pair,
    receive_device,
    touch,
)
from billing.adapters.cable_stock import swap as swap_devices
from billing.adapters.databases import reading, writing
from billing.adapters.repositories import create
from billing.cable.catalog import Channel, ChannelPackage
from billing.cable.pairings import Pairing
from billing.cable.stock import Order
from tests.billing.world import BRANCH, ZONE

__all__ = ["Desk", "found", "move", "stock", "touch"]

CHANNELS = ("news", "btv", "sport1", "sport2", "kids")
PACKAGES = (
    ChannelPackage("basic", "dhk", "base", "Basic", "P-BASIC", "", ("news", "btv")),
    ChannelPackage("gold", "dhk", "base", "Gold", "P-GOLD", "", ("news", "btv", "sport1")),
    ChannelPackage("sport", "dhk", "addon", "Sport", "P-SPORT", "", ("sport2",)),
    ChannelPackage("kids", "dhk", "a_la_carte", "Kids", "C-KIDS", "", ("kids",)),
)


def found(engine: Engine) -> None:
    """Open the branch with two customers, its packages, and two models."""
    with writing(engine) as connection:
        create(connection, BRANCH)
        create(connection, Branch("ctg", "Chattogram Cable", ZONE, "BDT", "CTG"))
        for name in ("karim", "rahim"):
            create(connection, Account(name, "dhk", name.title(), "person", "", "", 0))
            create(connection, Subscriber(name, "dhk", name, name, name.title(), "active", 0))
        for number, name in enumerate(CHANNELS, start=1):
            create_channel(connection, Channel(name, "dhk", number, name.title()))
        for package in PACKAGES:
            create_package(connection, package)
        for kind in ("box", "card"):
            row = {"model_id": f"{kind}-1", "branch_id": "dhk", "kind": kind, "name": kind}
            connection.execute(insert(cable_tables.cable_model), [row])


def stock(engine: Engine, *serials: str, at: int = 0) -> None:
    """Take boxes (B…) and cards (C…) into the store."""
    with writing(engine) as connection:
        for serial in serials:
            model = "card-1" if serial.startswith("C") else "box-1"
            receive_device(connection, serial, model, Order("receive", at, "clerk", "", "dhk"))
            move_device(connection, serial, Order("store", at, "clerk"))


@dataclasses.dataclass
class Desk:
    """What a clerk does, each in one transaction, at the clock's time."""

    engine: Engine
    now_ms: Callable[[], int]
    ids: Callable[[], int] = dataclasses.field(default_factory=lambda: itertools.count(1).__next__)

    def new_id(self, prefix: str) -> str:
        """Return the next id."""
        return f"{prefix}_{self.ids():04d}"

    def pair(self, who: str, card: str, box: str, outlet: int = 1) -> str:
        """Give a customer a box with a card; return the pairing's id."""
        pairing = Pairing(
            self.new_id("pair"), "dhk", who, outlet, card, box, self.now_ms(), "clerk"
        )
        with writing(self.engine) as connection:
            pair(connection, pairing)
        return pairing.pairing_id

    def end(self, pairing_id: str, reason: str, *devices: str) -> None:
        """Take a pairing apart; the devices named move as the reason says."""
        with writing(self.engine) as connection:
            end_pairing(connection, pairing_id, Ending(reason, self.now_ms(), "clerk", devices))

    def swap(self, pairing_id: str, reason: str, *, card: str = "", box: str = "") -> str:
        """Replace a card, a box or both; return the new pairing's id."""
        new = Pairing(self.new_id("pair"), "", "", 1, card, box, self.now_ms(), "clerk")
        with writing(self.engine) as connection:
            ending = Ending(reason, self.now_ms(), "clerk", ())
            return swap_devices(connection, pairing_id, ending, new).pairing_id

    def devices(self, pairing_id: str) -> tuple[str, str]:
        """Return the card and the box of a pairing."""
        with reading(self.engine) as connection:
            pairing = find_pairing(connection, pairing_id)
        assert pairing is not None
        return pairing.card_serial, pairing.box_serial

    def leave(self, who: str) -> None:
        """End everything that a customer has at the first outlet."""
        with writing(self.engine) as connection:
            end_outlet(connection, Whose("dhk", who, who, ZONE), self.now_ms())

    def change(self, who: str, add: str = "", remove: str = "", at: int | None = None) -> None:
        """Change what a customer has at the first outlet."""
        whose = Whose("dhk", who, who, ZONE)
        change = Change(self.now_ms() if at is None else at, add.split(), remove.split())
        with writing(self.engine) as connection:
            change_packages(connection, whose, change, self.new_id)

    def restrict(self, who: str, action: str, reason: str = "invoice DHK-1 is overdue") -> None:
        """Hold an account to something, or (empty) to nothing, as dunning does."""
        table = dunning_tables.dunning_restriction
        row = {
            "account_id": who, "branch_id": "dhk", "action": action, "profile": "",
            "item_id": "i", "step_id": "s", "reason": reason, "decided_at": self.now_ms(),
        }  # fmt: skip
        with writing(self.engine) as connection:
            connection.execute(delete(table).where(table.c.account_id == who))
            if action:
                connection.execute(insert(table), [row])

    def set_status(self, who: str, status: str) -> None:
        """Suspend, end or resume a customer, as the API and dunning do."""
        table = tables.subscriber
        with writing(self.engine) as connection:
            connection.execute(
                update(table).where(table.c.subscriber_id == who).values(status=status)
            )


def move(connection: Connection, serial: str, action: str, **target: str) -> None:
    """Move a device in stock."""
    move_device(connection, serial, Order(action, 1, "clerk", **target))
