"""Statements of account, as data and as paper."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from api.models import statements as models
from api.models.values import Money
from api.problems import not_found
from api.reads.parties import get_account
from api.requests import CallerDep, DaysDep
from api.resources.answers import paper, problems
from api.resources.billing import pdf_response
from billing import accounts
from billing.adapters import pdf
from billing.adapters.databases import reading
from billing.adapters.repositories import find
from billing.adapters.statements import read_statements
from billing.printed_statements import print_statement
from billing.statements import Statement

router = APIRouter()


@router.get("/accounts/{account_id}/statement", tags=["accounts"], responses=problems(404))
def get_statement(caller: CallerDep, account_id: str, days: DaysDep) -> models.AccountStatement:
    """Get what an account owed, every invoice, note and payment, and what it owes."""
    first_on, last_on = (day.isoformat() for day in days)
    with reading(caller.services.engine) as connection:
        get_account(connection, caller.branch_id, account_id)
        found = read_statements(connection, account_id, first_on, last_on)
    return models.AccountStatement(
        account_id=account_id,
        first_on=first_on,
        last_on=last_on,
        statements=[_shown(statement) for statement in found],
    )


@router.get(
    "/accounts/{account_id}/statement/pdf",
    tags=["accounts"],
    response_class=Response,
    responses={**paper("The statement as it is given to the customer"), **problems(404)},
)
def get_statement_pdf(caller: CallerDep, account_id: str, days: DaysDep) -> Response:
    """Get the statement of account as PDF."""
    first_on, last_on = (day.isoformat() for day in days)
    with reading(caller.services.engine) as connection:
        get_account(connection, caller.branch_id, account_id)
        account = find(connection, accounts.Account, account_id)
        branch = find(connection, accounts.Branch, account.branch_id) if account else None
        if account is None or branch is None:
            raise not_found("account", account_id)
        found = read_statements(connection, account_id, first_on, last_on)
    printed = print_statement(branch, account, (first_on, last_on), found)
    content = pdf.render(printed, pdf.STATEMENT_TEMPLATE)
    return pdf_response(f"statement-{account_id}-{last_on}", content)


def _shown(statement: Statement) -> models.Statement:
    """Return a statement as the interface shows it."""
    currency = statement.currency
    return models.Statement(
        currency=currency,
        opening=Money.of(statement.opening_minor, currency),
        lines=[
            models.StatementLine(
                day=line.day,
                kind=line.kind,
                reference=line.reference,
                amount=Money.of(line.amount_minor, currency),
                balance=Money.of(line.balance_minor, currency),
                transaction_id=line.transaction_id,
            )
            for line in statement.lines
        ],
        debits=Money.of(statement.debits_minor, currency),
        credits=Money.of(statement.credits_minor, currency),
        closing=Money.of(statement.closing_minor, currency),
    )
