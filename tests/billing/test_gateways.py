"""Every gateway that there is keeps the port's promises; a transfer settles the order it names."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import Connection, Engine

from billing.adapters.bank import import_entry
from billing.adapters.databases import writing
from billing.adapters.gateways import BANK, COUNTER, open_gateway
from billing.bank_statements import BankEntry
from billing.gateways import PaymentGateway, order_reference
from tests.billing.conftest import NewDatabase
from tests.billing.gateway_conformance import ALL_OPEN, ORDER, PAID, GatewayConformance, Open
from tests.billing.payment_desk import NOON, Desk, open_desk
from tests.billing.world import BRANCH


@pytest.fixture
def engine(new_database: NewDatabase) -> Engine:
    engine = new_database()
    open_desk(engine)
    return engine


def named(name: str, connection: Connection) -> PaymentGateway:
    return open_gateway(connection, name)


class TestCounter(GatewayConformance):
    """A clerk's counter."""

    @pytest.fixture
    def gateway(self) -> Open:
        return partial(named, COUNTER)


class TestBank(GatewayConformance):
    """A transfer to our bank account."""

    @pytest.fixture
    def gateway(self) -> Open:
        return partial(named, BANK)


def test_an_unknown_gateway_says_which_there_are(engine: Engine) -> None:
    with writing(engine) as connection, pytest.raises(LookupError, match="one of bank, counter"):
        open_gateway(connection, "wallet")


@pytest.mark.parametrize(
    ("text", "amount", "status", "state"),
    [
        ("{reference}", 115000, "matched", PAID),
        ("thanks, {reference}.", 115000, "matched", PAID),
        ("{reference}", 115001, "unmatched", ALL_OPEN),
    ],
)
def test_a_transfer_that_names_its_order_settles_it(
    engine: Engine, text: str, amount: int, status: str, state: str
) -> None:
    with writing(engine) as connection:
        open_gateway(connection, BANK).start(ORDER)
    words = text.format(reference=order_reference("pay-1").lower())
    entry = BankEntry("bnk-1", "BD1", "2026-12-01", amount, "BDT", "", "", words, "", "")
    with writing(engine) as connection:
        assert import_entry(connection, BRANCH, entry, "import", NOON) == status
    assert Desk(engine).state() == state
    with writing(engine) as connection:
        found = open_gateway(connection, BANK).status("pay-1")
    assert found == ("settled" if status == "matched" else "pending")
