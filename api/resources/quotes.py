"""Quotes: usage priced against a plan, kept nowhere."""

from __future__ import annotations

from fastapi import APIRouter

from api.models.quotes import Quote, QuoteCreate
from api.reads.quotes import quote_of
from api.requests import CallerDep
from api.resources.answers import problems
from billing.adapters.databases import reading

router = APIRouter()


@router.post("/quotes", tags=["plans"], responses=problems(404))
def create_quote(caller: CallerDep, body: QuoteCreate) -> Quote:
    """Price usage against a plan or a plan document, with every step; nothing is kept."""
    with reading(caller.services.engine) as connection:
        return quote_of(connection, caller.branch_id, body, caller.services.now_ms())
