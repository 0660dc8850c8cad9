"""Money: top-ups, balances, invoices with their evidence, the ledger."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.instants import Instant, InstantIn
from api.models.usage import FlowQuality
from api.models.values import (
    EVENT_EXAMPLE,
    MONEY_EXAMPLE,
    EventStatus,
    Identity,
    Model,
    Money,
    example,
)


class TopUpCreate(Model):
    """Money onto a prepaid balance. `reference` is the till's or wallet's own receipt number:
    the same reference twice is one top-up."""

    model_config = example(
        {
            "rating_key": "sub_01J9Z2",
            "amount_minor": 50_000,
            "currency": "BDT",
            "reference": "bkash-9HG3K2",
        }
    )

    rating_key: Identity
    amount_minor: int = Field(gt=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    reference: str | None = Field(default=None, min_length=1, max_length=64)
    effective_at: InstantIn | None = None


class TopUp(Model):
    """A top-up and what rating said to it; balance is there once it is applied."""

    model_config = example(
        {
            "rating_key": "sub_01J9Z2",
            "amount": MONEY_EXAMPLE,
            "event": EVENT_EXAMPLE,
            "balance": MONEY_EXAMPLE,
        }
    )

    rating_key: str
    amount: Money
    event: EventStatus
    balance: Money | None = None


class Balance(Model):
    """A prepaid balance as rating keeps it: credits minus charges."""

    model_config = example(
        {
            "rating_key": "sub_01J9Z2",
            "amount": MONEY_EXAMPLE,
            "updated_at": "2026-11-21T10:15:02Z",
        }
    )

    rating_key: str
    amount: Money
    updated_at: Instant


INVOICE_EXAMPLE = {
    "invoice_id": "inv_acc_01J9Z1_2026-11",
    "branch_id": "dhanmondi",
    "account_id": "acc_01J9Z1",
    "account_name": "Rahman family",
    "series": "INV",
    "number": "DHM-2026-000412",
    "status": "finalized",
    "period_start_at": "2026-10-31T18:00:00Z",
    "period_end_at": "2026-11-30T18:00:00Z",
    "issued_at": "2026-11-30T20:00:00Z",
    "due_on": "2026-12-10",
    "subtotal": {"amount_minor": 77_333, "currency": "BDT", "text": "773.33"},
    "tax": {"amount_minor": 3_867, "currency": "BDT", "text": "38.67"},
    "total": MONEY_EXAMPLE,
    "paid": {"amount_minor": 0, "currency": "BDT", "text": "0.00"},
    "written_off": {"amount_minor": 0, "currency": "BDT", "text": "0.00"},
    "open": MONEY_EXAMPLE,
    "hold_reason": "",
    "pdf_url": "/v1/invoices/inv_acc_01J9Z1_2026-11/pdf",
}
_LINE = {
    "line": 2,
    "kind": "usage",
    "description": "Family 100: Data, Rahman family",
    "rating_key": "pool_01J9Z3",
    "meter_id": "data",
    "quantity": 107_400_000_000,
    "unit": "octets",
    "amount": {"amount_minor": 7_400, "currency": "BDT", "text": "74.00"},
    "tax_rate": "5",
    "evidence": {
        "rating_key": "pool_01J9Z3",
        "period_start_at": 1_793_469_600_000,
        "period_end_at": 1_796_061_600_000,
        "segment_number": 0,
        "meter_id": "data",
        "revision": 0,
        "quantity": 107_400_000_000,
        "allowance": 100_000_000_000,
        "amount_exact": "74/1",
        "plan_id": "family-100",
        "plan_version": 1,
        "octets_per_gigabyte": 1_000_000_000,
    },
    "evidence_url": "/v1/invoices/inv_acc_01J9Z1_2026-11/lines/2/evidence?level=day",
}


class Invoice(Model):
    """An invoice's head; number and due_on are null while it is a draft. `open` is yet to be paid;
    `written_off` was given up as bad debt.

    series INV is an invoice; DBN, a debit note, and CRN, a credit note, correct the invoices of
    an account that has left, and their period is the one in which the late usage came.
    A draft with a hold_reason waits for a clerk's decision; release lets it be finalized.
    """

    model_config = example(INVOICE_EXAMPLE)

    invoice_id: str
    branch_id: str
    account_id: str
    account_name: str
    series: str
    number: str | None = None
    status: str
    period_start_at: Instant
    period_end_at: Instant
    issued_at: Instant | None = None
    due_on: str | None = None
    subtotal: Money
    tax: Money
    total: Money
    paid: Money
    written_off: Money
    open: Money
    hold_reason: str = ""
    pdf_url: str


class InvoiceLine(Model):
    """One line, and where its evidence is: down to days, sessions and minutes."""

    model_config = example(_LINE)

    line: int
    kind: str
    description: str
    rating_key: str
    meter_id: str
    quantity: int
    unit: str
    amount: Money
    tax_rate: str
    evidence: Any
    evidence_url: str | None = None


class InvoiceDetail(Invoice):
    """An invoice with its lines."""

    model_config = example({**INVOICE_EXAMPLE, "lines": [_LINE]})

    lines: list[InvoiceLine]


_EVIDENCE = {
    "key": "2026-11-21",
    "first_at": "2026-11-20T18:00:00Z",
    "last_at": "2026-11-21T10:14:00Z",
    "octets_up": 410_000_000,
    "octets_down": 6_200_000_000,
    "quantity": 6_610_000_000,
    "rows": 912,
    "amount": {"amount_minor": 6_610, "currency": "BDT", "text": "66.10"},
    "next_url": "/v1/invoices/inv_1/lines/2/evidence?level=session&on=2026-11-21",
}


class EvidencePiece(Model):
    """A day, a session or a minute of the line's usage; next_url goes one level deeper.

    `quantity` is what the meter counted, null where it counts the sessions of a minute together;
    `amount` is what the ledger posted for the line that day. Sessions and minutes have no amount:
    the price is worked out on the sum.
    """

    model_config = example(_EVIDENCE)

    key: str
    first_at: Instant
    last_at: Instant
    octets_up: int
    octets_down: int
    quantity: int | None
    rows: int
    amount: Money | None = None
    next_url: str | None = None


_ROW = {
    "minute_at": "2026-11-21T10:14:00Z",
    "subscriber_id": "sub_01J9Z2",
    "session_id": "nas1/81a0f3/1",
    "source": "accounting",
    "traffic_class": "cdn",
    "meter_id": "volume",
    "octets_up": 120_000,
    "octets_down": 4_100_000,
    "quantity": 0,
    "charge": "0",
    "is_late": False,
    "received_at": "2026-11-21T10:15:01.204Z",
    "log_partition": 3,
    "log_position": 81_204,
}


class RatedUsage(Model):
    """A rated row: a class's octets (meter_id `volume`), or a meter's quantity and charge.

    It stands at `log_position` of partition `log_partition` of the log of rated usage, for good.
    """

    model_config = example(_ROW)

    minute_at: Instant
    subscriber_id: str
    session_id: str
    source: str
    traffic_class: str
    meter_id: str
    octets_up: int
    octets_down: int
    quantity: int
    charge: str
    is_late: bool
    received_at: Instant
    log_partition: int
    log_position: int


class PriceStep(Model):
    """One step of a price in words, and the exact amount that it adds, if any."""

    model_config = example({"text": "58 MB × 4.00 per 10 MB", "amount": "23.20"})

    text: str
    amount: str | None = None


_PRICE = {
    "plan_id": "home-40",
    "plan_version": 3,
    "plan_name": "Home 40",
    "from_at": "2026-11-29T18:00:00Z",
    "until_at": "2026-11-30T18:00:00Z",
    "quantity": 60_000_000,
    "unit": "octets",
    "steps": [
        {"text": "60 MB used", "amount": None},
        {"text": "2 MB included (1 of 30 days of 60 MB)", "amount": None},
        {"text": "58 MB × 4.00 per 10 MB", "amount": "23.20"},
    ],
    "amount_exact": "23.20",
    "rounded": {"amount_minor": 2320, "currency": "BDT", "text": "23.20"},
    "billed_before": None,
}


class Price(Model):
    """How the line's price comes about: the plan's curve over what was counted, step by step.

    The steps' amounts sum to amount_exact, which is rounded once. A late line bills what is more
    (or less) than billed_before.
    """

    model_config = example(_PRICE)

    plan_id: str
    plan_version: int
    plan_name: str
    from_at: Instant
    until_at: Instant
    quantity: int
    unit: str
    steps: list[PriceStep]
    amount_exact: str
    rounded: Money
    billed_before: Money | None = None


class Evidence(Model):
    """What a line is made of: its price, then pieces, one level deeper each, down to the rows.

    `price` is there at level day; `rows` instead of pieces at level row. `flow_quality` is there at
    level day where flows measured the line: how sure its octets are, over the whole line.
    """

    model_config = example(
        {
            "invoice_id": "inv_1",
            "line": 2,
            "level": "day",
            "price": _PRICE,
            "pieces": [_EVIDENCE],
            "rows": [],
        }
    )

    invoice_id: str
    line: int
    level: Literal["day", "session", "minute", "row"]
    price: Price | None = None
    pieces: list[EvidencePiece] = Field(default_factory=list)
    rows: list[RatedUsage] = Field(default_factory=list)
    flow_quality: FlowQuality | None = None


PAYMENT_EXAMPLE = {
    "payment_id": "pay_01J9ZA",
    "invoice_id": "inv_acc_01J9Z1_2026-11",
    "account_id": "acc_01J9Z1",
    "method": "cash",
    "reference": "receipt-2291",
    "amount": MONEY_EXAMPLE,
    "received_at": "2026-12-03T08:12:40Z",
    "recorded_by": "Front desk",
    "status": "settled",
    "settled_at": "2026-12-03T08:12:40Z",
    "reason": "",
    "payer": "",
}


class PaymentCreate(Model):
    """Money received for an invoice. `reference` is the receipt's or the provider's own number:
    with the same method it is one payment, however often it is sent."""

    model_config = example(
        {"method": "cash", "amount_minor": 81_200, "currency": "BDT", "reference": "receipt-2291"}
    )

    method: Identity = "cash"
    amount_minor: int = Field(gt=0, le=10**15)
    currency: str = Field(pattern=r"^[A-Z]{3}$")
    reference: str | None = Field(default=None, min_length=1, max_length=64)
    received_at: InstantIn | None = None


class Payment(Model):
    """Money of an account; invoice_id is the invoice that the payer named first, if any.

    status: `pending` (in flight: it pays nothing yet), `settled`, `failed`, or `reversed` (it
    bounced). reason says why it failed or was reversed.
    """

    model_config = example(PAYMENT_EXAMPLE)

    payment_id: str
    invoice_id: str | None
    account_id: str
    method: str
    reference: str
    amount: Money
    received_at: Instant
    recorded_by: str
    status: str
    settled_at: Instant | None = None
    reason: str = ""
    payer: str = ""


class RecordedPayment(Payment):
    """A payment and what it did: what no invoice asks for becomes the account's credit."""

    model_config = example(
        {
            **PAYMENT_EXAMPLE,
            "excess": {"amount_minor": 0, "currency": "BDT", "text": "0.00"},
            "invoice": {
                **INVOICE_EXAMPLE,
                "status": "paid",
                "paid": MONEY_EXAMPLE,
                "open": {"amount_minor": 0, "currency": "BDT", "text": "0.00"},
            },
        }
    )

    excess: Money
    invoice: Invoice


class LedgerBalance(Model):
    """One ledger account's sum: debits positive, credits negative."""

    model_config = example(
        {
            "ledger_account_id": "dhanmondi/receivable/acc_01J9Z1",
            "code": "receivable",
            "kind": "asset",
            "name": "Trade receivables",
            "amount": MONEY_EXAMPLE,
        }
    )

    ledger_account_id: str
    code: str
    kind: str
    name: str
    amount: Money


class TrialBalance(Model):
    """Every account's sum per currency; balanced says that they add up to zero."""

    model_config = example({"balanced": True, "accounts": [], "sums": [MONEY_EXAMPLE]})

    balanced: bool
    accounts: list[LedgerBalance]
    sums: list[Money]
