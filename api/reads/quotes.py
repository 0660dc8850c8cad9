"""Quotes over the plans that are kept: the endpoint and the page ask here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from api.models.quotes import Quote, QuoteCreate
from api.models.values import Money
from api.problems import invalid_field
from api.reads import parties
from billing.quoted_usage import usage_of_document
from billing.quotes import quote, quote_document
from rating.document_errors import DocumentError
from rating.periods import MINUTE_MS, local_day, zone
from rating.plan_documents import plan_of_document


def quote_of(
    connection: Connection, branch_id: str | None, body: QuoteCreate, now_at: int
) -> Quote:
    """Return what a plan would charge for the usage of a request.

    Raises a Problem: 404 for a plan out of reach, 422 naming the member that cannot be used.
    """
    usage = dict(body.usage)
    if body.document is not None:
        members: Mapping[str, Any] = body.document
    else:
        assert body.plan_id is not None
        kept = parties.get_plan(connection, branch_id, body.plan_id, body.plan_version)
        members = {
            **kept.document,
            "plan_id": kept.plan_id,
            "version": kept.version,
            "name": kept.name,
        }
        branch = parties.get_branch(connection, None, kept.branch_id)
        usage.setdefault("timezone", branch.timezone)
    try:
        plan = plan_of_document({"plan_id": "draft", "name": "Draft", **members})
    except DocumentError as error:
        raise _problem("/document", error) from None
    _start_today(usage, now_at)
    try:
        return _model(quote_document(quote(plan, usage_of_document(usage))))
    except DocumentError as error:
        raise _problem("/usage", error) from None


def _start_today(usage: dict[str, Any], now_at: int) -> None:
    """Let usage that says nothing of its time start today."""
    uses = usage.get("usage")
    known = any(isinstance(one, dict) and one.get("at") for one in uses or ())
    if usage.get("starts_on") or known:
        return
    try:
        timezone = zone(str(usage.get("timezone", "UTC"))).key
    except ValueError:
        return  # The document's own check names the field.
    usage["starts_on"] = str(local_day(timezone, now_at // MINUTE_MS))


def _problem(pointer: str, error: DocumentError) -> Exception:
    path = re.sub(r"[.\[]+", "/", error.field.replace("]", ""))
    return invalid_field(f"{pointer}/{path}" if path else pointer, error.value, error.expected)


def _model(document: dict[str, Any]) -> Quote:
    """Return a quote's document as the API shows it: money with its currency and text."""
    currency = document["currency"]

    def money(minor: int) -> Money:
        return Money.of(minor, currency)

    periods = [
        {
            **{name: period[name] for name in ("start_on", "end_on")},
            "lines": [
                {
                    **{name: value for name, value in line.items() if name != "amount_minor"},
                    "amount": money(line["amount_minor"]),
                }
                for line in period["lines"]
            ],
            "taxes": [
                {
                    "percent": tax["percent"],
                    "is_inclusive": tax["is_inclusive"],
                    "net": money(tax["net_minor"]),
                    "tax": money(tax["tax_minor"]),
                }
                for tax in period["taxes"]
            ],
            **{name: money(period[f"{name}_minor"]) for name in ("net", "tax", "total")},
        }
        for period in document["periods"]
    ]
    head = ("plan_id", "plan_name", "currency", "timezone", "pays", "happenings")
    total = money(document["total_minor"])
    kept = {name: document[name] for name in head}
    return Quote.model_validate({**kept, "periods": periods, "total": total})
