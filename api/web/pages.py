"""The pages: what each address shows, and what its forms do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from api.commanding import Done
from api.cursors import Paging
from api.models.acting import CommandRequest
from api.models.billing import PaymentCreate, TopUpCreate
from api.models.values import minor_units
from api.openapi import by_tag
from api.reads import billing as invoices
from api.reads import parties
from api.reads.evidence import find_line, plan_evidence
from api.resources.billing import EvidencePlaceDep, accepted_event, pdf_response
from api.web import calculator, charts, logins, overdue, panels, report_pages, television, views
from api.web.rendering import HEADERS, HERE, page
from api.web.visitors import FormVisitorDep, LoginNeededError, Visitor, VisitorDep
from api.writes.acting import request_command, top_up
from api.writes.billing import record_payment, release_invoice
from api.writes.transaction import CommandTransaction
from billing.adapters import pdf
from billing.adapters.databases import reading

router = APIRouter(include_in_schema=False)

_LIST_ROWS = 50
_FEW = Paging(views.PANEL_ROWS)

Cursor = Annotated[str | None, Query(max_length=1000)]
Choice = Annotated[str, Query(max_length=20)]


@router.get("/")
def show_overview(visitor: VisitorDep) -> Response:
    """Show what moves now and what happened last."""
    services = visitor.services
    with reading(services.engine) as connection:
        context = visitor.context(connection, "overview")
        place = context["place"]
        context |= views.key_figures(connection, services, place)
        for name, make in panels.PANELS.items():
            context[name] = make(connection, services, place)
    return page("overview.html", context | {"ranges": charts.RANGES})


@router.get("/subscribers")
def list_subscribers(
    visitor: VisitorDep,
    q: Annotated[str, Query(max_length=100, pattern=r"^[^\x00-\x1f]*$")] = "",
    status: Choice = "",
    cursor: Cursor = None,
) -> Response:
    """Show subscribers, or those that a search finds."""
    services = visitor.services
    given = {"search": q.strip(), "status": status}
    filters = {name: value for name, value in given.items() if value}
    now = services.now_ms()
    with reading(services.engine) as connection:
        context = visitor.context(connection, "subscribers")
        reach, paging = visitor.principal.branch_id, Paging(_LIST_ROWS, cursor)
        cut = parties.list_subscribers(connection, reach, paging, now, filters)
        online = views.online_rates(connection, [s.subscriber_id for s in cut.items])
        used = views.fullest_counters(connection, {s.rating_key for s in cut.items}, now)
    shown = {
        "subscribers": cut.items,
        "next_cursor": cut.next_cursor,
        "online": online,
        "used": used,
        "q": q,
        "status": status,
    }
    return page("subscribers.html", context | shown)


@router.get("/subscribers/{subscriber_id}")
def show_subscriber(visitor: VisitorDep, subscriber_id: str, done: Choice = "") -> Response:
    """Show everything about one subscriber."""
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "subscribers")
        context |= views.subscriber_context(
            connection, visitor.services, context["place"], subscriber_id
        )
    context |= views.flows_context(visitor.services, subscriber_id)
    return page("subscriber.html", context | {"done": done, "ranges": charts.RANGES})


@router.post("/subscribers/{subscriber_id}/commands")
def request_action(
    visitor: FormVisitorDep,
    subscriber_id: str,
    action: Annotated[str, Form(pattern="^(throttle|restore|disconnect)$")],
    profile: Annotated[str, Form(max_length=64)] = "",
    once: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Ask for a throttle, a restore or a disconnect."""
    wanted = CommandRequest.model_validate(
        {"action": action, "profile": profile if action == "throttle" else None}
    )
    command = visitor.command(once, f"{subscriber_id}/{action}/{profile}")
    command.once(lambda t: Done(request_command(t, subscriber_id, wanted), 202))
    return RedirectResponse(f"/subscribers/{subscriber_id}?done={action}", 303, HEADERS)


@router.post("/subscribers/{subscriber_id}/top-ups")
async def add_top_up(
    visitor: FormVisitorDep,
    subscriber_id: str,
    amount: Annotated[str, Form(max_length=20)],
    reference: Annotated[str, Form(max_length=64)] = "",
    once: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Take money onto the balance, and wait for rating's answer."""
    body = await run_in_threadpool(_top_up_of, visitor, subscriber_id, amount, reference)
    command = visitor.command(once, f"{subscriber_id}/{amount}/{reference}")
    answer = await run_in_threadpool(command.once, lambda t: Done(top_up(t, body), 201))
    event_id = answer.document()["event"]["event_id"]
    status = await accepted_event(visitor.services, event_id)
    done = "top-up-pending" if status.outcome == "pending" else "top-up"
    return RedirectResponse(f"/subscribers/{subscriber_id}?done={done}", 303, HEADERS)


def _top_up_of(visitor: Visitor, subscriber_id: str, amount: str, reference: str) -> TopUpCreate:
    now = visitor.services.now_ms()
    with reading(visitor.services.engine) as connection:
        reach = visitor.principal.branch_id
        found = parties.get_subscriber(connection, reach, subscriber_id, now)
        currency = parties.get_branch(connection, None, found.branch_id).currency
    return TopUpCreate(
        rating_key=found.rating_key,
        amount_minor=minor_units(amount, currency),
        currency=currency,
        reference=reference.strip() or None,
    )


@router.get("/invoices")
def list_invoices(visitor: VisitorDep, status: Choice = "", cursor: Cursor = None) -> Response:
    """Show invoices, the latest period first."""
    filters = {"status": status} if status else {}
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "invoices")
        context |= views.invoices_context(
            connection,
            visitor.services,
            context["place"],
            Paging(_LIST_ROWS, cursor),
            filters,
        )
    return page("invoices.html", context | {"status": status})


@router.get("/invoices/{invoice_id}")
def show_invoice(visitor: VisitorDep, invoice_id: str, done: Choice = "") -> Response:
    """Show one invoice, each line with the way to its evidence, and its payments."""
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "invoices")
        reach = visitor.principal.branch_id
        invoice = invoices.get_invoice(connection, reach, invoice_id)
        context["invoice"] = invoice
        context["account"] = parties.get_account(connection, None, invoice.account_id)
        context["branch"] = parties.get_branch(connection, None, invoice.branch_id)
        context["payments"] = invoices.list_payments(connection, invoice_id)
        context["names"] = views.key_names(connection, {line.rating_key for line in invoice.lines})
    days = views.due_days(invoice.due_on, context["now"], context["branch"].timezone)
    return page("invoice.html", context | {"due_days": days, "done": done})


@router.post("/invoices/{invoice_id}/payments")
def add_payment(
    visitor: FormVisitorDep,
    invoice_id: str,
    amount: Annotated[str, Form(max_length=20)],
    method: Annotated[str, Form(pattern="^(cash|card|bank|mobile)$")] = "cash",
    reference: Annotated[str, Form(max_length=64)] = "",
    once: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Record money taken at the counter."""

    def record(transaction: CommandTransaction) -> Done:
        reach = visitor.principal.branch_id
        invoice = invoices.get_invoice(transaction.connection, reach, invoice_id)
        currency = invoice.total.currency
        body = PaymentCreate(
            method=method,
            amount_minor=minor_units(amount, currency),
            currency=currency,
            reference=reference.strip() or None,
        )
        return Done(record_payment(transaction, invoice_id, body), 201)

    command = visitor.command(once, f"{invoice_id}/{amount}/{method}/{reference}")
    answer = command.once(record).document()
    done = "overpaid" if answer["excess"]["amount_minor"] else "payment"
    return RedirectResponse(f"/invoices/{invoice_id}?done={done}", 303, HEADERS)


@router.post("/invoices/{invoice_id}/release")
def release(
    visitor: FormVisitorDep,
    invoice_id: str,
    once: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Let a held draft be finalized."""
    command = visitor.command(once, f"{invoice_id}/release")
    command.once(lambda t: Done(release_invoice(t, invoice_id)))
    return RedirectResponse(f"/invoices/{invoice_id}?done=released", 303, HEADERS)


@router.get("/invoices/{invoice_id}/lines/{line}")
def show_evidence(visitor: VisitorDep, place: EvidencePlaceDep) -> Response:
    """Explain a line: its price and days, a day's sessions, their minutes, a minute's rows."""
    reach = visitor.principal.branch_id
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "invoices")
        invoice = invoices.get_invoice(connection, reach, place.invoice_id)
        plan = plan_evidence(connection, reach, place)
    context |= views.evidence_context(visitor.services, plan)
    context |= {"invoice": invoice, "line": find_line(invoice, place.line)}
    return page("evidence.html", context)


@router.get("/invoices/{invoice_id}/pdf")
def show_invoice_pdf(visitor: VisitorDep, invoice_id: str) -> Response:
    """Show the invoice as PDF."""
    with reading(visitor.services.engine) as connection:
        reach = visitor.principal.branch_id
        name, printed = invoices.printed_invoice(connection, reach, invoice_id)
    return pdf_response(name, pdf.render(printed))


@router.get("/alerts")
def list_alerts(visitor: VisitorDep, cursor: Cursor = None) -> Response:
    """Show alerts, the newest first."""
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "alerts")
        paging = Paging(_LIST_ROWS, cursor)
        context |= views.alerts_context(connection, visitor.services, context["place"], paging)
    return page("alerts.html", context)


@router.get("/commands")
def list_commands(visitor: VisitorDep, outcome: Choice = "", cursor: Cursor = None) -> Response:
    """Show commands, the newest first, with what became of each."""
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "commands")
        paging = Paging(_LIST_ROWS, cursor)
        context |= views.commands_context(
            connection, visitor.services, context["place"], paging, outcome or None
        )
    return page("commands.html", context | {"outcome": outcome})


@router.get("/status")
def show_status(visitor: VisitorDep) -> Response:
    """Show the processes, the watermarks and what matched nobody."""
    services = visitor.services
    with reading(services.engine) as connection:
        context = visitor.context(connection, "status")
        context["processes"] = views.processes_context(connection, services, context["place"])
        context["unattributed"] = views.unattributed(connection, services, context["place"])
    return page("status.html", context)


@router.get("/v1/docs")
def show_operations(request: Request) -> Response:
    """Show every operation of the interface; needs no key, as its OpenAPI document."""
    document = request.app.openapi()
    return page("docs.html", {"version": document["info"]["version"], "tags": by_tag(document)})


def error_page(request: Request, document: Mapping[str, Any]) -> Response:
    """Return a problem as a page, or as JSON where a script asked."""
    if request.url.path.endswith(".json"):
        return JSONResponse(document, document["status"], HEADERS)
    members = {name: document[name] for name in ("status", "title", "detail")}
    return page("error.html", members, document["status"])


def install(app: FastAPI) -> None:
    """Add the pages, their static files and their errors to the application."""
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    for module in (logins, panels, calculator, overdue, report_pages):
        app.include_router(module.router)
    app.include_router(television.router)
    app.include_router(router)
    app.state.error_page = error_page

    @app.exception_handler(LoginNeededError)
    async def _login(request: Request, error: LoginNeededError) -> Response:
        if error.is_panel:
            return Response(status_code=401, headers={**HEADERS, "HX-Redirect": "/login"})
        if request.url.path.endswith(".json"):
            return Response(status_code=401, headers=HEADERS)
        return RedirectResponse(error.login_url, 303, HEADERS)
