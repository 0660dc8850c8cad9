"""The port of payment gateways: whoever takes money for us, from the counter to a mobile wallet.

What every gateway promises (`tests/billing/gateway_conformance.py` is run on each):

- **Order.** `start` comes first and leaves a payment in flight: it posts nothing, pays nothing, and
  keeps dunning from acting. `notify` then says what became of it. Notices may come in any order,
  late, or never; `status` answers what is known now.
- **Repetition.** The same payment_id started again is the same order and the same answer; the same
  notice again changes nothing; the same refund_id again is the same refund. With other amounts each
  is refused.
- **Failure.** A call that raises has changed nothing: it is part of the caller's transaction.
  Failed is not final, since providers say failed and then pay: settled wins over failed, whichever
  comes first, and only reversed takes it back. An amount that is not the order's is refused, for a
  clerk to decide. A refund never gives back more than the payment has left as credit.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Protocol

from billing.allocation import Wanted


@dataclasses.dataclass(frozen=True, slots=True)
class PaymentOrder:
    """Money that a customer is about to pay; payment_id is the caller's, fresh for each order."""

    payment_id: str
    branch_id: str
    account_id: str
    amount_minor: int
    currency: str
    wanted: tuple[Wanted, ...]
    started_at: int
    started_by: str


@dataclasses.dataclass(frozen=True, slots=True)
class Started:
    """How to pay an order: what to name, what to do, or where to go (empty: nowhere)."""

    payment_id: str
    reference: str
    instruction: str
    redirect_url: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Notice:
    """What a provider says became of an order; outcome is settled, failed or reversed."""

    reference: str
    outcome: str
    amount_minor: int
    currency: str
    occurred_at: int
    reason: str = ""
    said_by: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class RefundOrder:
    """Money of a settled payment to give back; refund_id is the caller's, fresh for each."""

    refund_id: str
    payment_id: str
    amount_minor: int
    reason: str
    refunded_at: int
    refunded_by: str


class PaymentGateway(Protocol):
    """A way to be paid; see the module for order, repetition and failure."""

    @property
    def method(self) -> str:
        """Return the method that its payments and refunds have."""
        ...

    def start(self, order: PaymentOrder) -> Started:
        """Begin an order. PaymentRefusedError: the id stands for another one. LookupError: no such
        account. AllocationError: a named invoice cannot be paid so."""
        ...

    def status(self, payment_id: str) -> str:
        """Return pending, settled, failed or reversed. LookupError: no such order."""
        ...

    def notify(self, branch_id: str, notice: Notice) -> bool:
        """Take a notice; False where it changes nothing. LookupError: it names no order.
        PaymentRefusedError: another amount, or what cannot be (reversed before it settled)."""
        ...

    def refund(self, order: RefundOrder) -> bool:
        """Give money back; False for a repeat. PaymentRefusedError: less is there. LookupError: no
        such payment."""
        ...


def order_reference(payment_id: str) -> str:
    """Return what a customer writes on a transfer or says at a counter: ``FR0123456789``.

    Made of the order's id; letters and digits alone, which every bank's form takes.
    """
    number = int(hashlib.sha256(payment_id.encode()).hexdigest()[:15], 16) % 10**10
    return f"FR{number:010d}"
