"""Top-ups and balances, invoices with their evidence and PDF, the ledger."""

from __future__ import annotations

import asyncio
import datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from api.commanding import Answer, Command, CommandDep, Done
from api.instants import InstantIn
from api.models.billing import (
    Balance,
    Evidence,
    Invoice,
    InvoiceDetail,
    Payment,
    PaymentCreate,
    RecordedPayment,
    TopUp,
    TopUpCreate,
    TrialBalance,
)
from api.models.values import EventStatus, Model, Page
from api.models.vouchers import Redemption
from api.ports import Services
from api.problems import Problem
from api.reads import acting, parties
from api.reads import billing as reads
from api.reads.evidence import EvidencePlace, Level, evidence_of, plan_evidence
from api.reads.usage import balances
from api.requests import CallerDep, PagingDep
from api.resources.answers import paper, problems, unanswered
from api.writes.acting import top_up
from api.writes.billing import record_payment, release_invoice
from api.writes.transaction import CommandTransaction
from billing.adapters import pdf
from billing.adapters.databases import reading

router = APIRouter()


@router.post(
    "/top-ups",
    tags=["balances"],
    status_code=201,
    response_model=TopUp,
    responses={**unanswered(TopUp), **problems(404, 409)},
)
async def create_top_up(command: CommandDep, body: TopUpCreate) -> Response:
    """Put money onto a prepaid balance and wait for rating's answer."""
    answer = await run_in_threadpool(command.once, lambda t: Done(top_up(t, body), 201))
    return await answer_with_balance(command, answer, TopUp.model_validate_json(answer.body))


M = TypeVar("M", TopUp, Redemption)


async def answer_with_balance(command: Command, answer: Answer, sent: M) -> Response:
    """Return what was sent to a balance with rating's answer and the new balance.

    202 while rating has not answered; a Problem where it refused.
    """
    status = await accepted_event(command.services, sent.event.event_id)
    balance = None
    if status.outcome != "pending":
        balance = await run_in_threadpool(
            _balance, command.services, sent.rating_key, sent.amount.currency
        )
    sent = sent.model_copy(update={"event": status, "balance": balance})
    return event_response(answer, sent, status)


def event_response(answer: Answer, sent: Model, status: EventStatus) -> Response:
    """Return what was sent as a response: 201, or 202 while rating has not answered."""
    headers = {"Location": status.status_url}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    code = 202 if status.outcome == "pending" else 201
    return JSONResponse(sent.model_dump(mode="json"), code, headers)


def _balance(services: Services, rating_key: str, currency: str) -> Any:
    with reading(services.engine) as connection:
        known = balances(connection, rating_key)
    return next((b.amount for b in known if b.amount.currency == currency), None)


async def accepted_event(services: Services, event_id: str) -> EventStatus:
    """Return rate's answer, or pending as long as it has none; a Problem where it refused."""
    status = await _await_event(services, event_id)
    if status.outcome == "refused":
        raise Problem("event-refused", status.reason or "Rating gave no reason.")
    return status


async def _await_event(services: Services, event_id: str) -> EventStatus:
    """Return rate's answer, or pending after account_event_wait_seconds."""
    pause = services.config.account_event_poll_seconds
    looks = max(1, round(services.config.account_event_wait_seconds / pause))
    for _ in range(looks):
        status = await run_in_threadpool(_event_status, services, event_id)
        if status.outcome != "pending":
            return status
        await asyncio.sleep(pause)
    services.count("api_account_events_unanswered_total", 1)
    return EventStatus.pending(event_id)


def _event_status(services: Services, event_id: str) -> EventStatus:
    with reading(services.engine) as connection:
        return acting.event_status(connection, event_id)


@router.get("/account-events/{event_id}", tags=["balances"], responses=problems(404))
def get_account_event(caller: CallerDep, event_id: str) -> EventStatus:
    """Get what rating answered to an account event; pending where it has not yet."""
    with reading(caller.services.engine) as connection:
        return acting.find_event_status(connection, caller.branch_id, event_id)


@router.get("/balances/{rating_key}", tags=["balances"], responses=problems(404))
def list_balances(caller: CallerDep, rating_key: str) -> Page[Balance]:
    """List the prepaid balances of a subscriber or pool, one per currency."""
    with reading(caller.services.engine) as connection:
        parties.rating_key_branch(connection, caller.branch_id, rating_key)
        return Page(items=balances(connection, rating_key))


@router.get("/invoices", tags=["invoices"], responses=problems())
def list_invoices(
    caller: CallerDep,
    paging: PagingDep,
    account_id: Annotated[str | None, Query(description="Only of this account")] = None,
    status: Annotated[
        str | None,
        Query(pattern="^(draft|finalized|paid|void)$", description="Only in this state"),
    ] = None,
) -> Page[Invoice]:
    """List invoices, the latest period first."""
    given = {"account_id": account_id, "status": status}
    filters = {name: value for name, value in given.items() if value}
    with reading(caller.services.engine) as connection:
        cut = reads.list_invoices(connection, caller.branch_id, paging, filters)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/invoices/{invoice_id}", tags=["invoices"], responses=problems(404))
def get_invoice(caller: CallerDep, invoice_id: str) -> InvoiceDetail:
    """Get one invoice with its lines and where each line's evidence is."""
    with reading(caller.services.engine) as connection:
        return reads.get_invoice(connection, caller.branch_id, invoice_id)


def _evidence_place(
    invoice_id: str,
    line: int,
    level: Annotated[Level, Query(description="What the pieces are")] = "day",
    on: Annotated[
        datetime.date | None, Query(description="Only this local day", examples=["2026-11-21"])
    ] = None,
    session_id: Annotated[
        str | None, Query(max_length=200, description="Only this session")
    ] = None,
    minute: Annotated[
        InstantIn | None,
        Query(description="Only this minute; needed at level row", examples=["2026-11-21T10:14Z"]),
    ] = None,
) -> EvidencePlace:
    return EvidencePlace(invoice_id, line, level, on, session_id, minute)


EvidencePlaceDep = Annotated[EvidencePlace, Depends(_evidence_place)]
"""Which piece of which line a request asks about."""


@router.get(
    "/invoices/{invoice_id}/lines/{line}/evidence",
    tags=["invoices"],
    responses=problems(404, 503),
)
def get_line_evidence(caller: CallerDep, place: EvidencePlaceDep) -> Evidence:
    """Explain a line: its price and days, their sessions, minutes, and the rated rows."""
    with reading(caller.services.engine) as connection:
        plan = plan_evidence(connection, caller.branch_id, place)
    return evidence_of(caller.services, plan)


@router.get(
    "/invoices/{invoice_id}/pdf",
    tags=["invoices"],
    response_class=Response,
    responses={**paper("The invoice as it is sent to the customer"), **problems(404)},
)
def get_invoice_pdf(caller: CallerDep, invoice_id: str) -> Response:
    """Get the invoice as PDF."""
    with reading(caller.services.engine) as connection:
        name, printed = reads.printed_invoice(connection, caller.branch_id, invoice_id)
    return pdf_response(name, pdf.render(printed))


def pdf_response(name: str, content: bytes) -> Response:
    """Return a PDF that a browser shows and saves under `name`."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    headers = {"Content-Disposition": f'inline; filename="{safe}.pdf"'}
    return Response(content, media_type="application/pdf", headers=headers)


@router.get("/invoices/{invoice_id}/payments", tags=["invoices"], responses=problems(404))
def list_payments(caller: CallerDep, invoice_id: str) -> Page[Payment]:
    """List an invoice's payments, the oldest first."""
    with reading(caller.services.engine) as connection:
        reads.get_invoice(connection, caller.branch_id, invoice_id)
        return Page(items=reads.list_payments(connection, invoice_id))


@router.post(
    "/invoices/{invoice_id}/payments",
    tags=["invoices"],
    status_code=201,
    response_model=RecordedPayment,
    responses=problems(404, 409),
)
def create_payment(command: CommandDep, invoice_id: str, body: PaymentCreate) -> Response:
    """Record money received for an invoice; what is too much becomes a prepaid balance."""

    def record(transaction: CommandTransaction) -> Done:
        recorded = record_payment(transaction, invoice_id, body)
        return Done(recorded, 201, f"/v1/invoices/{invoice_id}/payments")

    return command.once(record).response()


@router.post(
    "/invoices/{invoice_id}/release",
    tags=["invoices"],
    response_model=Invoice,
    responses=problems(404, 409),
)
def release_held_invoice(command: CommandDep, invoice_id: str) -> Response:
    """Let a held draft be finalized as it is; the office does so within its interval."""
    return command.once(lambda t: Done(release_invoice(t, invoice_id))).response()


@router.get("/ledger/trial-balance", tags=["ledger"], responses=problems())
def get_trial_balance(caller: CallerDep) -> TrialBalance:
    """Get every ledger account's sum; each currency adds up to zero."""
    with reading(caller.services.engine) as connection:
        return reads.trial_balance(connection, caller.branch_id)
