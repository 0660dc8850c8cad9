"""The OpenAPI document: FastAPI's, with an example on every operation."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.problems import MEDIA_TYPE

DESCRIPTION = """
Usage, prices and invoices of an internet service provider.

* **Keys**: `Authorization: Bearer frk_…` or `X-API-Key`. A key of a branch sees that branch only.
* **Errors** are problem details (RFC 9457, `application/problem+json`); `errors` names each wrong
  member by JSON Pointer with the value and what was expected.
* **Retries**: send `Idempotency-Key` with a POST, and a repeat gets the first answer again.
* **Lists** are pages: pass `next_cursor` back as `cursor` until it is null.
* **Instants** are RFC 3339 with an offset; effective times are whole minutes, not in the past.
* **Money** is an integer of minor units beside its currency; **octets** are whole octets.
""".strip()

TAGS = [
    {"name": "subscribers", "description": "Who uses"},
    {"name": "accounts", "description": "Who owes"},
    {"name": "branches", "description": "The ISP's offices"},
    {"name": "plans", "description": "What is sold; a version never changes"},
    {"name": "subscriptions", "description": "Who is on which plan, and when"},
    {"name": "services", "description": "What is sold beside plans: products, charges, holds"},
    {"name": "pools", "description": "Subscribers who share one allowance"},
    {"name": "usage", "description": "Now, over time, by class, against the allowance"},
    {"name": "sessions", "description": "Accounting sessions, live and past"},
    {"name": "balances", "description": "Prepaid money and account events"},
    {"name": "dunning", "description": "When invoices are due, and what happens if unpaid"},
    {"name": "vouchers", "description": "Codes that are worth money once"},
    {"name": "invoices", "description": "With evidence down to the minute"},
    {"name": "payments", "description": "What an account paid, and which invoices took it"},
    {"name": "taxes", "description": "Rates from a day on, certificates, the report to the office"},
    {"name": "ledger", "description": "Double entry"},
    {"name": "cash", "description": "Tills: shifts, X and Z reports, receipts"},
    {"name": "audit", "description": "Who changed what"},
    {"name": "reports", "description": "Sums that tie out to the ledger, and the rows behind them"},
    {"name": "alerts", "description": "Thresholds crossed"},
    {"name": "commands", "description": "Throttle, restore, disconnect"},
    {"name": "tv", "description": "Channels, packages, boxes and cards, and what a card may show"},
    {"name": "keys", "description": "Who may call"},
    {"name": "status", "description": "How the installation is"},
]


def document_of(app: FastAPI) -> dict[str, Any]:
    """Return the application's OpenAPI document, built once."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title,
            version=app.version,
            description=DESCRIPTION,
            routes=app.routes,
            tags=TAGS,
        )
        _add_examples(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def by_tag(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the document's tags, each with its operations: method, path, description."""
    found: dict[str, list[dict[str, str]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            shown = {"method": method.upper(), "path": path}
            for tag in operation["tags"]:
                found[tag].append({**shown, "description": operation["description"]})
    return [{**tag, "operations": found[tag["name"]]} for tag in document["tags"]]


def _add_examples(schema: dict[str, Any]) -> None:
    components = schema["components"]["schemas"]
    for operations in schema["paths"].values():
        for operation in operations.values():
            bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
            for body in bodies:
                content = body.get("content", {})
                if MEDIA_TYPE in content:
                    content.pop("application/json", None)
                for media in content.values():
                    found = example_of(media.get("schema", {}), components)
                    if found is not None:
                        media["example"] = found


def example_of(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    """Return a schema's example, or one made of its parts; None where there is none."""
    if "$ref" in schema:
        return example_of(components[schema["$ref"].rsplit("/", 1)[1]], components)
    if schema.get("examples"):
        return schema["examples"][0]
    if schema.get("format") == "binary":
        return "%PDF-1.7 …"
    properties = schema.get("properties", {})
    if "items" in properties and "next_cursor" in properties:
        item = example_of(properties["items"]["items"], components)
        return {"items": [item], "next_cursor": "WyJzdWJfMDAxMiJd"}
    return None
