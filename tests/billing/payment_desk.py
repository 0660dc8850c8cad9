"""A clerk's desk for tests: an account with monthly invoices, and words for what happens to it."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import Engine, select

from billing.adapters import ledger, tables
from billing.adapters.allocations import credit_of, find_credit
from billing.adapters.billing_run import run_billing
from billing.adapters.databases import reading, writing
from billing.adapters.payments import (
    fail_payment,
    reallocate_payment,
    record_payment,
    record_refund,
    reverse_payment,
    settle_payment,
    write_off_invoice,
)
from billing.adapters.repositories import create
from billing.allocation import Wanted
from billing.config import BillingConfig
from billing.payments import Payment, Refund
from tests.billing.world import BRANCH, add_customer, at, close_month, home_plan

MONTHS = {"sep": "2026-09", "oct": "2026-10", "nov": "2026-11", "dec": "2026-12"}
NOON = at("2026-12-01", 12)
CLERK = "Front desk"


def minor(text: str) -> int:
    """Return minor units of ``1150`` or ``-3.50``."""
    whole, _, part = text.partition(".")
    return int(whole + (part or "0").ljust(2, "0")[:2])


def open_desk(engine: Engine, customers: tuple[str, ...] = ("karim",)) -> None:
    """Create the branch and customers with invoices of 1,150.00 for September to November."""
    with writing(engine) as connection:
        create(connection, BRANCH)
        create(connection, home_plan())
        for name in customers:
            add_customer(connection, name, since="2026-09-01")
    for month in ("sep", "oct", "nov"):
        bill(engine, month, customers)


def bill(engine: Engine, month: str, customers: tuple[str, ...] = ("karim",)) -> None:
    """Close a month and finalize its invoices."""
    with writing(engine) as connection:
        for name in customers:
            close_month(connection, name, MONTHS[month], gigabytes=1, minor=0)
    run_billing(engine, BillingConfig(), NOON)


def invoice_id(month: str, customer: str = "karim") -> str:
    """Return the id of a month's invoice."""
    return f"inv_{customer}_{MONTHS[month]}-01_BDT"


@dataclasses.dataclass
class Desk:
    """Does what a line of words says, such as ``pay 1150 for nov as r1``."""

    engine: Engine
    customer: str = "karim"
    now: int = NOON

    def do(self, words: str) -> Any:
        """Do one line in a transaction of its own; what is refused is raised."""
        verb, *rest = words.split()
        with writing(self.engine) as connection:
            return getattr(self, f"_{verb}")(connection, rest)

    def _pay(self, connection: Any, words: list[str], status: str = "settled") -> Any:
        amount, options = words[0], dict(zip(words[1::2], words[2::2], strict=False))
        named = [
            Wanted(invoice_id(m, self.customer)) for m in options.get("for", "").split(",") if m
        ]
        reference = options.get("as", f"r{amount}")
        payment = Payment(
            reference, "dhk", self.customer, None, options.get("by", "card"), reference,
            minor(amount), "BDT", self.now, CLERK, status,
            shift_id=options.get("in", ""),
            keeps_rest=options.get("rest") == "kept",
        )  # fmt: skip
        return record_payment(connection, payment, self.now, named)

    def _pending(self, connection: Any, words: list[str]) -> Any:
        return self._pay(connection, words, "pending")

    def _settle(self, connection: Any, words: list[str]) -> Any:
        return settle_payment(connection, words[0], self.now, self.now)

    def _fail(self, connection: Any, words: list[str]) -> Any:
        return fail_payment(connection, words[0], "no answer")

    def _bounce(self, connection: Any, words: list[str]) -> Any:
        return reverse_payment(connection, words[0], "account closed", CLERK, self.now)

    def _move(self, connection: Any, words: list[str]) -> Any:
        named = [Wanted(invoice_id(m, self.customer)) for m in words[1].split(",") if m != "credit"]
        return reallocate_payment(
            connection, words[0], named, CLERK, self.now, keeps_rest="credit" in words[1]
        )

    def _refund(self, connection: Any, words: list[str]) -> Any:
        amount, options = words[0], dict(zip(words[1::2], words[2::2], strict=False))
        refund = Refund(
            f"refund-{amount}", "dhk", self.customer, "bank", options.get("as", f"out-{amount}"),
            minor(amount), "BDT", self.now, CLERK, "paid twice",
        )  # fmt: skip
        return record_refund(connection, refund, self.now, options.get("of", ""))

    def _give_up(self, connection: Any, words: list[str]) -> Any:
        return write_off_invoice(
            connection, invoice_id(words[0], self.customer), "moved away", CLERK, self.now
        )

    def state(self) -> str:
        """Return ``sep paid, oct 150.00 open, credit 20.00``; the ledger must agree with it."""
        invoice = tables.invoice.c
        with reading(self.engine) as connection:
            rows = connection.execute(
                select(tables.invoice)
                .where(invoice.account_id == self.customer)
                .order_by(invoice.period_start_at)
            ).all()
            credit = credit_of(connection, self.customer).get("BDT", 0)
            books = ledger.customer_balance(connection, self.customer, "customer_credit")
            owed = ledger.customer_balance(connection, self.customer, "receivable").get("BDT", 0)
            total = sum(ledger.trial_balance(connection, "dhk").values())
            assert ledger.broken_link(connection, "dhk") is None
        left = {r.invoice_id: r.total_minor - r.paid_minor - r.written_off_minor for r in rows}
        assert total == 0, "the trial balance is zero"
        assert books.get("BDT", 0) == -credit, "the ledger owes what the credits have left"
        assert owed == sum(left.values()), "the receivable is what invoices ask for"
        names = {month: name for name, month in MONTHS.items()}
        words = []
        for row in rows:
            name = names[row.invoice_id.split("_")[2][:7]]
            money = left[row.invoice_id]
            word = "given up" if row.written_off_minor else "paid"
            words.append(f"{name} {money / 100:.2f} open" if money else f"{name} {word}")
        return ", ".join([*words, f"credit {credit / 100:.2f}"])

    def books(self) -> dict[str, int]:
        """Return the branch's trial balance in whole units of money, zeros left out."""
        with reading(self.engine) as connection:
            found = ledger.trial_balance(connection, "dhk")
        return {code: amount // 100 for (code, _), amount in found.items() if amount}

    def credit_left(self, credit_id: str) -> int:
        """Return what a credit has left."""
        with reading(self.engine) as connection:
            found = find_credit(connection, credit_id)
        assert found is not None
        return found.left_minor
