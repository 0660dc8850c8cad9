"""The pages of who owes: the list with what happens next, and one account's dunning."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query
from starlette.responses import RedirectResponse, Response

from api.commanding import Done
from api.cursors import Paging
from api.models.dunning import DunningHoldCreate, PromiseCreate
from api.models.values import minor_units
from api.reads import dunning as reads
from api.reads import parties
from api.web.rendering import HEADERS, page
from api.web.visitors import FormVisitorDep, VisitorDep
from api.writes import dunning as writes
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import reading

router = APIRouter(include_in_schema=False)

_LIST_ROWS = 50

Cursor = Annotated[str | None, Query(max_length=1000)]
Choice = Annotated[str, Query(max_length=20)]
Day = Annotated[str, Form(pattern=r"^(\d{4}-\d{2}-\d{2})?$")]
Words = Annotated[str, Form(max_length=200)]
Once = Annotated[str, Form(max_length=64)]


@router.get("/overdue")
def list_overdue(visitor: VisitorDep, cursor: Cursor = None) -> Response:
    """Show who owes past a due day, what happens to each next, and when."""
    now = visitor.services.now_ms()
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "overdue")
        paging = Paging(_LIST_ROWS, cursor)
        cut = reads.list_overdue(connection, visitor.principal.branch_id, paging, now)
    return page("overdue.html", context | {"accounts": cut.items, "next_cursor": cut.next_cursor})


@router.get("/overdue/{account_id}")
def show_dunning(visitor: VisitorDep, account_id: str, done: Choice = "") -> Response:
    """Show one account's dunning: what is owed, what holds it up, and what was done."""
    now, reach = visitor.services.now_ms(), visitor.principal.branch_id
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "overdue")
        context["dunning"] = reads.account_dunning(connection, reach, account_id, now)
        context["account"] = parties.get_account(connection, reach, account_id)
        branch = parties.get_branch(connection, None, context["account"].branch_id)
    return page("dunning.html", context | {"branch": branch, "done": done})


@router.post("/overdue/{account_id}/promises")
def add_promise(
    visitor: FormVisitorDep,
    account_id: str,
    amount: Annotated[str, Form(max_length=20)],
    until_on: Day,
    reason: Words = "",
    once: Once = "",
) -> Response:
    """Take a promise to pay, which restores the service meanwhile."""

    def take(transaction: CommandTransaction) -> Done:
        reach, connection = visitor.principal.branch_id, transaction.connection
        account = parties.get_account(connection, reach, account_id)
        currency = parties.get_branch(connection, None, account.branch_id).currency
        body = PromiseCreate.model_validate(
            {
                "amount_minor": minor_units(amount, currency),
                "currency": currency,
                "until_on": until_on,
                "reason": reason,
            }
        )
        return Done(writes.promise(transaction, account_id, body), 201)

    visitor.command(once, f"{account_id}/{amount}/{until_on}/{reason}").once(take)
    return _shown(account_id, "promise")


@router.post("/overdue/{account_id}/holds")
def add_hold(
    visitor: FormVisitorDep,
    account_id: str,
    reason: Words,
    invoice_id: Words = "",
    until_on: Day = "",
    once: Once = "",
) -> Response:
    """Hold dunning up: for the account, or for the invoice that is disputed."""
    body = DunningHoldCreate.model_validate(
        {
            "kind": "dispute" if invoice_id else "hold",
            "invoice_id": invoice_id,
            "until_on": until_on or None,
            "reason": reason,
        }
    )
    command = visitor.command(once, f"{account_id}/{invoice_id}/{until_on}/{reason}")
    command.once(lambda t: Done(writes.hold(t, account_id, body), 201))
    return _shown(account_id, "hold")


@router.post("/overdue/{account_id}/release")
def release(visitor: FormVisitorDep, account_id: str, pause_id: Words, once: Once = "") -> Response:
    """End what holds dunning up."""
    command = visitor.command(once, f"{account_id}/{pause_id}/release")
    command.once(lambda t: Done(writes.release(t, pause_id)))
    return _shown(account_id, "released")


def _shown(account_id: str, done: str) -> Response:
    """Return the way back to the account's page."""
    return RedirectResponse(f"/overdue/{account_id}?done={done}", 303, HEADERS)
