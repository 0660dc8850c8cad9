"""The two gateways without a provider: a clerk's counter, and a transfer to our bank account.

Both keep their orders as payments in flight. The counter's notice is a clerk's word; the bank's is
an entry of a statement that names the order (`billing.adapters.bank`).
"""

from __future__ import annotations

import dataclasses

from sqlalchemy import ColumnElement, Connection, select

from billing.adapters import tables
from billing.adapters.payments import (
    encode_wanted,
    fail_payment,
    find_payment,
    record_payment,
    record_refund,
    reverse_payment,
    settle_payment,
)
from billing.gateways import (
    Notice,
    PaymentGateway,
    PaymentOrder,
    RefundOrder,
    Started,
    order_reference,
)
from billing.payments import (
    BANK_METHOD,
    FAILED,
    PENDING,
    REVERSED,
    SETTLED,
    Payment,
    PaymentRefusedError,
    Refund,
)
from rating.money import format_minor


@dataclasses.dataclass(frozen=True, slots=True)
class OrderGateway:
    """A gateway whose orders are payments of one method; instruction has {amount}, {reference}."""

    connection: Connection
    method: str
    instruction: str

    def start(self, order: PaymentOrder) -> Started:
        """See `PaymentGateway.start`."""
        payment = Payment(
            order.payment_id,
            order.branch_id,
            order.account_id,
            None,
            self.method,
            order_reference(order.payment_id),
            order.amount_minor,
            order.currency,
            order.started_at,
            order.started_by,
            PENDING,
        )
        if record_payment(self.connection, payment, order.started_at, order.wanted) is None:
            known = find_payment(self.connection, order.payment_id)
            same = known is not None and _order_of(known) == (
                *_order_of(payment)[:-1],
                encode_wanted(order.wanted),
            )
            if not same:
                raise PaymentRefusedError(
                    f"payment {order.payment_id}: expected the order that it stands for"
                )
        amount = f"{format_minor(order.amount_minor, order.currency)} {order.currency}"
        words = self.instruction.format(amount=amount, reference=payment.reference)
        return Started(order.payment_id, payment.reference, words)

    def status(self, payment_id: str) -> str:
        """See `PaymentGateway.status`."""
        return self._order(tables.payment.c.payment_id == payment_id, payment_id).status

    def notify(self, branch_id: str, notice: Notice) -> bool:
        """See `PaymentGateway.notify`."""
        table = tables.payment.c
        named = (table.branch_id == branch_id) & (table.reference == notice.reference)
        payment = self._order(named, notice.reference)
        if (payment.amount_minor, payment.currency) != (notice.amount_minor, notice.currency):
            expected = f"{payment.amount_minor} {payment.currency}"
            got = f"{notice.amount_minor} {notice.currency}"
            raise PaymentRefusedError(
                f"order {notice.reference}: expected {expected} (minor units), got {got}"
            )
        key, at = payment.payment_id, notice.occurred_at
        if notice.outcome == SETTLED:
            if payment.status == REVERSED:
                return False  # the notice is older than the reversal
            return settle_payment(self.connection, key, at, at) is not None
        if notice.outcome == FAILED:
            if payment.status in (SETTLED, REVERSED):
                return False
            return fail_payment(self.connection, key, notice.reason)
        if notice.outcome == REVERSED:
            return reverse_payment(self.connection, key, notice.reason, notice.said_by, at)
        raise ValueError(f"outcome: expected settled, failed or reversed, got {notice.outcome!r}")

    def refund(self, order: RefundOrder) -> bool:
        """See `PaymentGateway.refund`."""
        paid = self._order(tables.payment.c.payment_id == order.payment_id, order.payment_id)
        refund = Refund(
            order.refund_id,
            paid.branch_id,
            paid.account_id,
            self.method,
            order.refund_id,
            order.amount_minor,
            paid.currency,
            order.refunded_at,
            order.refunded_by,
            order.reason,
        )
        return record_refund(self.connection, refund, order.refunded_at, order.payment_id)

    def _order(self, condition: ColumnElement[bool], name: str) -> Payment:
        """Return the order that a condition finds. LookupError: none of this gateway's."""
        query = select(tables.payment.c.payment_id).where(
            condition,
            tables.payment.c.method == self.method,
        )
        payment_id = self.connection.scalar(query)
        found = find_payment(self.connection, payment_id) if payment_id else None
        if found is None:
            raise LookupError(f"no order {name} of gateway {self.method}")
        return found


def _order_of(payment: Payment) -> tuple[object, ...]:
    """Return what makes an order the same."""
    return (
        payment.branch_id,
        payment.account_id,
        payment.method,
        payment.amount_minor,
        payment.currency,
        payment.wanted,
    )


COUNTER = "counter"
BANK = BANK_METHOD


def open_gateway(connection: Connection, name: str) -> PaymentGateway:
    """Return a gateway over a connection, part of its transaction. LookupError: no such gateway."""
    instructions = {
        COUNTER: "Pay {amount} at a counter and say {reference}.",
        BANK: "Transfer {amount} to our bank account and write {reference} as its text.",
    }
    if name not in instructions:
        known = ", ".join(sorted(instructions))
        raise LookupError(f"gateway {name!r}: expected one of {known}")
    return OrderGateway(connection, name, instructions[name])
