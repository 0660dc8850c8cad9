"""Cable TV as a clerk tells it: what was done at the counter, what the card then shows, the bill.

Prices a month, in advance, before 15 % tax: Silver 300, Premium 450, Sports 150, rent of a box 60.
"""

from __future__ import annotations

import dataclasses
import datetime
import zoneinfo

import pytest
from sqlalchemy import insert, update

from billing.adapters import cable_tables, service_tables
from billing.adapters.billing_run import run_billing
from billing.adapters.cable_catalog import create_package
from billing.adapters.databases import writing
from billing.adapters.repositories import create
from billing.cable.catalog import ChannelPackage
from billing.config import BillingConfig
from billing.services import Product
from tests.billing import world
from tests.billing.cable import tv_world
from tests.billing.cable.head_end import HeadEnd
from tests.billing.conftest import NewDatabase, new_database
from tests.billing.world import add_subscription, close_month, home_plan

__all__ = ["new_database"]

DHAKA = zoneinfo.ZoneInfo(world.ZONE)
PRICES = {"silver": "300.00", "premium": "450.00", "sports": "150.00", "rent": "60.00"}


class Counter:
    """The counter of the cable operator: reads a story line by line and does what it says."""

    def __init__(self, end: HeadEnd) -> None:
        self.end = end
        self.pairing = ""
        with writing(end.engine) as connection:
            create(connection, home_plan())
            add_subscription(connection, "karim", "karim", since="2026-11-01")
            for name, price in PRICES.items():
                product = Product(
                    name, 1, "dhk", f"TV {name.title()}" if name != "rent" else "Box rent", "tv",
                    "BDT", price, "advance", "", "day", "15", False, 0,
                )  # fmt: skip
                connection.execute(insert(service_tables.product), [dataclasses.asdict(product)])
            for name, kind, channel in (
                ("silver", "base", "news"), ("premium", "base", "sport1"),
                ("sports", "addon", "sport2"),
            ):  # fmt: skip
                package = ChannelPackage(name, "dhk", kind, name.title(), name, name, (channel,))
                create_package(connection, package)
            model = cable_tables.cable_model
            statement = update(model).where(model.c.model_id == "box-1")
            connection.execute(statement.values(rent_product_id="rent"))
        tv_world.stock(end.engine, "C1", "C2", "B1", "B2", "B3", at=end.now)

    def tell(self, story: str) -> None:
        """Live through a story: when | what is done | what the card of the box shows then."""
        for line in story.strip().splitlines():
            when, what, shows = (part.strip() for part in line.split("|"))
            self._until(when)
            self._do(what)
            self.end.run(6)
            assert self._shows() == shows, f"{when}: {what}"

    def _until(self, when: str) -> None:
        """Let time pass; the office works on, a turn each hour."""
        at = datetime.datetime.fromisoformat(when).replace(tzinfo=DHAKA)
        instant = int(at.timestamp()) * 1000
        while self.end.now + 3_600_000 < instant:
            self.end.run(3_600, step=3_600)
        self.end.now = instant

    def _do(self, what: str) -> None:
        desk = self.end.desk
        match what.split():
            case ["gets", "card", card, "and", "box", box]:
                self.pairing = desk.pair("karim", card, box)
            case ["buys", *packages]:
                desk.change("karim", add=" ".join(packages))
            case ["changes", old, "to", new]:
                desk.change("karim", add=new, remove=old)
            case ["box", "is", reason, "gets", box]:
                self.pairing = desk.swap(self.pairing, reason, box=box)
            case ["is", "suspended"]:
                desk.restrict("karim", "block")
            case ["pays"]:
                desk.restrict("karim", "")
            case ["everything", "is", "stolen"]:
                card, box = self._devices()
                desk.end(self.pairing, "stolen", card, box)
            case ["returns", "everything", "and", "leaves"]:
                desk.end(self.pairing, "returned", *self._devices())
                desk.leave("karim")
            case ["the", "system", "goes", "down"]:
                self.end.is_down = True
            case ["the", "system", "is", "back"]:
                self.end.is_down = False
                self.end.run(120)
            case ["nothing"]:
                pass
            case other:
                raise AssertionError(f"what is {' '.join(other)!r}?")

    def _devices(self) -> tuple[str, str]:
        return self.end.desk.devices(self.pairing)

    def _shows(self) -> str:
        """Return what the customer's television shows, and in which box."""
        card, box = self._devices()
        paired, packages = self.end.has(card)
        return f"{box}: {' '.join(packages) or 'nothing'}" if paired == box else "no picture"

    def bill(self, month: str) -> list[str]:
        """Close a month of internet, let the office invoice it, and return the invoice's lines."""
        with writing(self.end.engine) as connection:
            close_month(connection, "karim", month, gigabytes=100, minor=0)
        now = world.at(world.following(month), 12)
        run_billing(self.end.engine, BillingConfig(), now)
        assert run_billing(self.end.engine, BillingConfig(), now) == {}, "once"
        return [
            f"{description}: {minor // 100}.{minor % 100:02d}"
            if minor >= 0
            else f"{description}: -{-minor // 100}.{-minor % 100:02d}"
            for _, description, minor in world.lines(self.end.engine, "karim", month)
        ]


@pytest.fixture
def counter(new_database: NewDatabase) -> Counter:
    end = HeadEnd(new_database())
    end.now = world.at("2026-11-01")
    return Counter(end)


def test_a_new_customer_with_internet_and_television(counter: Counter) -> None:
    counter.tell("""
        2026-11-16 12:00 | gets card C1 and box B1 | B1: nothing
        2026-11-16 12:05 | buys silver sports      | B1: silver sports
    """)
    assert counter.bill("2026-11") == [
        "Home 50, Karim: 1000.00",
        "Internet, Karim: 0.00",
        "Box rent 2026-11-01 to 2026-11-30 (15 of 30 days), Karim: 30.00",
        "TV Silver 2026-11-01 to 2026-11-30 (15 of 30 days), Karim: 150.00",
        "TV Sports 2026-11-01 to 2026-11-30 (15 of 30 days), Karim: 75.00",
        "Box rent 2026-12-01 to 2026-12-31, Karim: 60.00",
        "TV Silver 2026-12-01 to 2026-12-31, Karim: 300.00",
        "TV Sports 2026-12-01 to 2026-12-31, Karim: 150.00",
        "Tax 15 %: 264.75",
    ]


def test_a_change_of_package_in_mid_month(counter: Counter) -> None:
    """Silver was paid for December; from the 11th it is Premium: 21 of 31 days of each."""
    counter.tell("""
        2026-11-01 12:00 | gets card C1 and box B1     | B1: nothing
        2026-11-01 12:05 | buys silver                 | B1: silver
    """)
    counter.bill("2026-11")
    counter.tell("""
        2026-12-11 16:00 | changes silver to premium   | B1: premium
        2026-12-31 23:00 | nothing                     | B1: premium
    """)
    assert counter.bill("2026-12") == [
        "Home 50, Karim: 1000.00",
        "Internet, Karim: 0.00",
        "Correction: TV Silver 2026-12-01 to 2026-12-31 (10 of 31 days), Karim: -203.23",
        "TV Premium 2026-12-01 to 2026-12-31 (21 of 31 days), Karim: 304.84",
        "Box rent 2027-01-01 to 2027-01-31, Karim: 60.00",
        "TV Premium 2027-01-01 to 2027-01-31, Karim: 450.00",
        "Tax 15 %: 241.74",
    ]


def test_a_swapped_box_costs_nothing_and_changes_no_package(counter: Counter) -> None:
    counter.tell("""
        2026-11-01 12:00 | gets card C1 and box B1  | B1: nothing
        2026-11-01 12:05 | buys silver              | B1: silver
        2026-11-20 10:00 | box is faulty gets B2    | B2: silver
    """)
    assert counter.bill("2026-11")[2:-1] == [
        "Box rent 2026-11-01 to 2026-11-30 (19 of 30 days), Karim: 38.00",
        "Box rent 2026-11-01 to 2026-11-30 (11 of 30 days), Karim: 22.00",
        "TV Silver 2026-11-01 to 2026-11-30, Karim: 300.00",
        "Box rent 2026-12-01 to 2026-12-31, Karim: 60.00",
        "TV Silver 2026-12-01 to 2026-12-31, Karim: 300.00",
    ]


def test_a_stolen_box_goes_dark_and_a_new_one_shows_what_was_bought(counter: Counter) -> None:
    counter.tell("""
        2026-11-01 12:00 | gets card C1 and box B1  | B1: nothing
        2026-11-01 12:05 | buys silver              | B1: silver
        2026-11-07 03:00 | everything is stolen     | no picture
    """)
    assert counter.end.has("C1") == ("", [])
    counter.tell("""
        2026-11-09 10:00 | gets card C2 and box B2  | B2: silver
    """)


def test_who_does_not_pay_sees_nothing_until_he_does_and_may_leave(counter: Counter) -> None:
    """What was paid in advance beyond the day on which he leaves comes back."""
    counter.tell("""
        2026-11-01 12:00 | gets card C1 and box B1         | B1: nothing
        2026-11-01 12:05 | buys silver sports              | B1: silver sports
    """)
    counter.bill("2026-11")
    counter.tell("""
        2026-12-20 09:00 | is suspended                    | B1: nothing
        2026-12-21 18:30 | pays                            | B1: silver sports
        2026-12-28 10:00 | returns everything and leaves   | no picture
    """)
    assert counter.bill("2026-12") == [
        "Home 50, Karim: 1000.00",
        "Internet, Karim: 0.00",
        "Correction: Box rent 2026-12-01 to 2026-12-31 (27 of 31 days), Karim: -7.74",
        "Correction: TV Silver 2026-12-01 to 2026-12-31 (27 of 31 days), Karim: -38.71",
        "Correction: TV Sports 2026-12-01 to 2026-12-31 (27 of 31 days), Karim: -19.35",
        "Tax 15 %: 140.13",
    ]


def test_the_system_is_down_for_an_hour(counter: Counter) -> None:
    counter.tell("""
        2026-11-01 12:00 | gets card C1 and box B1    | B1: nothing
        2026-11-01 12:05 | buys silver                | B1: silver
        2026-11-02 20:00 | the system goes down       | B1: silver
        2026-11-02 20:10 | changes silver to premium  | B1: silver
        2026-11-02 20:30 | buys sports                | B1: silver
        2026-11-02 21:00 | the system is back         | B1: premium sports
    """)
