"""What `billing.gateways` says, as tests that each gateway inherits.

A gateway's test module subclasses `GatewayConformance` and gives a `gateway` over an engine with
the customer karim and his invoices (`payment_desk`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine

from billing.adapters.databases import writing
from billing.adapters.payments import in_flight
from billing.allocation import AllocationError, Wanted
from billing.gateways import Notice, PaymentGateway, PaymentOrder, RefundOrder
from billing.payments import PaymentRefusedError
from tests.billing.payment_desk import NOON, Desk, invoice_id

Open = Callable[[Connection], PaymentGateway]
ALL_OPEN = "sep 1150.00 open, oct 1150.00 open, nov 1150.00 open, credit 0.00"
PAID = "sep 1150.00 open, oct 1150.00 open, nov paid, credit 0.00"
ORDER = PaymentOrder(
    "pay-1", "dhk", "karim", 115000, "BDT", (Wanted(invoice_id("nov")),), NOON, "karim"
)


class GatewayConformance:
    """Order, repetition and failure, once for every gateway."""

    def call(self, engine: Engine, gateway: Open, method: str, *arguments: Any) -> Any:
        """Call a gateway in a transaction of its own."""
        with writing(engine) as connection:
            return getattr(gateway(connection), method)(*arguments)

    def say(self, engine: Engine, gateway: Open, outcome: str, **changes: Any) -> Any:
        """Start the order if need be, and say what became of it."""
        started = self.call(engine, gateway, "start", ORDER)
        notice = Notice(started.reference, outcome, 115000, "BDT", NOON, "why", "provider")
        return self.call(engine, gateway, "notify", "dhk", dataclasses.replace(notice, **changes))

    def test_an_order_is_in_flight_and_pays_nothing(self, engine: Engine, gateway: Open) -> None:
        started = self.call(engine, gateway, "start", ORDER)
        assert started.reference in started.instruction or started.redirect_url
        assert self.call(engine, gateway, "status", "pay-1") == "pending"
        assert Desk(engine).state() == ALL_OPEN
        with writing(engine) as connection:
            assert len(in_flight(connection, "karim")) == 1

    def test_the_same_order_again_is_the_same(self, engine: Engine, gateway: Open) -> None:
        first = self.call(engine, gateway, "start", ORDER)
        assert self.call(engine, gateway, "start", ORDER) == first
        other = dataclasses.replace(ORDER, amount_minor=1)
        with pytest.raises(PaymentRefusedError, match="expected the order that it stands for"):
            self.call(engine, gateway, "start", other)
        assert (
            self.call(engine, gateway, "start", dataclasses.replace(ORDER, payment_id="pay-2"))
            != first
        )

    @pytest.mark.parametrize(
        ("outcomes", "status", "state"),
        [
            (["settled"], "settled", PAID),
            (["settled", "settled"], "settled", PAID),
            (["failed"], "failed", ALL_OPEN),
            (["failed", "failed"], "failed", ALL_OPEN),
            (["failed", "settled"], "settled", PAID),
            (["settled", "failed"], "settled", PAID),
            (["settled", "reversed"], "reversed", ALL_OPEN),
            (["settled", "reversed", "reversed"], "reversed", ALL_OPEN),
            (["settled", "reversed", "settled", "failed"], "reversed", ALL_OPEN),
        ],
    )
    def test_notices_in_any_order_and_again(
        self, engine: Engine, gateway: Open, outcomes: list[str], status: str, state: str
    ) -> None:
        changed = [self.say(engine, gateway, outcome) for outcome in outcomes]
        assert self.call(engine, gateway, "status", "pay-1") == status
        assert Desk(engine).state() == state
        assert changed[0], "the first notice changes something"

    @pytest.mark.parametrize("changes", [{"amount_minor": 1}, {"currency": "USD"}])
    def test_another_amount_is_for_a_clerk(
        self, engine: Engine, gateway: Open, changes: dict[str, Any]
    ) -> None:
        with pytest.raises(PaymentRefusedError, match="expected 115000 BDT"):
            self.say(engine, gateway, "settled", **changes)
        assert self.call(engine, gateway, "status", "pay-1") == "pending"

    def test_what_was_never_settled_is_not_reversed(self, engine: Engine, gateway: Open) -> None:
        with pytest.raises(PaymentRefusedError, match="expected settled"):
            self.say(engine, gateway, "reversed")

    def test_what_nobody_ordered_is_not_found(self, engine: Engine, gateway: Open) -> None:
        with pytest.raises(LookupError):
            self.call(engine, gateway, "status", "pay-9")
        with pytest.raises(LookupError):
            self.say(engine, gateway, "settled", reference="FR0000000000")
        fresh = dataclasses.replace(ORDER, payment_id="pay-3")
        with pytest.raises(LookupError):
            self.call(engine, gateway, "start", dataclasses.replace(fresh, account_id="nobody"))
        wanted = (Wanted("inv_nothing"),)
        with pytest.raises(AllocationError):
            self.call(engine, gateway, "start", dataclasses.replace(fresh, wanted=wanted))

    def test_a_refund_gives_back_what_is_left_once(self, engine: Engine, gateway: Open) -> None:
        order = dataclasses.replace(ORDER, amount_minor=345500)
        started = self.call(engine, gateway, "start", order)
        notice = Notice(started.reference, "settled", 345500, "BDT", NOON)
        self.call(engine, gateway, "notify", "dhk", notice)
        back = RefundOrder("ref-1", "pay-1", 500, "paid too much", NOON, "clerk")
        with pytest.raises(PaymentRefusedError, match="expected at most 500"):
            self.call(engine, gateway, "refund", dataclasses.replace(back, amount_minor=501))
        assert self.call(engine, gateway, "refund", back)
        assert not self.call(engine, gateway, "refund", back)
        assert Desk(engine).state() == "sep paid, oct paid, nov paid, credit 0.00"
