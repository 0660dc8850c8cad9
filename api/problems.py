"""Errors as problem details (RFC 9457): every error the API answers with has this one shape."""

from __future__ import annotations

import http
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, OperationalError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from api.ports import WarehouseUnavailableError
from billing.adapters.databases import is_unavailable

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

TYPES: dict[str, tuple[int, str]] = {
    "invalid-request": (422, "The request is not valid"),
    "unauthenticated": (401, "A valid API key is needed"),
    "forbidden": (403, "This key may not do that"),
    "not-found": (404, "There is no such resource"),
    "conflict": (409, "The request conflicts with the present state"),
    "idempotency-key-reused": (422, "The Idempotency-Key was used for another request"),
    "event-refused": (409, "Rating refused the account event"),
    "too-many-attempts": (429, "Too many wrong codes have come"),
    "too-large": (413, "The request body is too large"),
    "method-not-allowed": (405, "The resource has no such method"),
    "warehouse-unavailable": (503, "The usage warehouse does not answer"),
    "database-unavailable": (503, "The database does not answer"),
    "internal": (500, "An error of ours"),
}
"""Problem type (the last part of its URN) → status and title."""


class Problem(Exception):  # noqa: N818 (the word of RFC 9457)
    """An error the client is told about; kind is a key of TYPES, extra are further members."""

    def __init__(
        self,
        kind: str,
        detail: str,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Keep what to answer with; KeyError where kind is unknown (our fault)."""
        super().__init__(detail)
        self.status, self.title = TYPES[kind]
        self.kind = kind
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def document(self, instance: str) -> dict[str, Any]:
        """Return the problem details object; instance is the request's path."""
        body: dict[str, Any] = {
            "type": f"urn:flowrate:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.errors:
            body["errors"] = self.errors
        return body


def invalid_field(pointer: str, value: Any, expected: str) -> Problem:
    """Return a 422 about one member of the body; pointer is a JSON Pointer (RFC 6901)."""
    error = {"pointer": f"#{pointer}", "value": value, "expected": expected}
    return Problem("invalid-request", f"{pointer}: expected {expected}", [error])


def problem_of_field(error: ValueError) -> Problem:
    """Return a 422 of an error whose text is ``field: expected …``, as billing's records say it."""
    field, _, expected = str(error).partition(": ")
    return invalid_field(f"/{field}", None, expected.removeprefix("expected "))


def invalid_parameter(name: str, value: Any, expected: str) -> Problem:
    """Return a 422 about one query parameter."""
    error = {"parameter": name, "value": value, "expected": expected}
    return Problem("invalid-request", f"{name}: expected {expected}", [error])


def not_found(what: str, identity: str) -> Problem:
    """Return a 404; the same answer whether it does not exist or belongs to another branch."""
    return Problem("not-found", f"There is no {what} {identity!r} within this key's reach.")


def respond(request: Request, problem: Problem) -> Response:
    """Return the problem as a response with its media type."""
    count = request.app.state.services.count
    count("api_problems_total", 1)
    if problem.status == 401:
        count("api_unauthenticated_total", 1)
    document = problem.document(request.url.path)
    page = getattr(request.app.state, "error_page", None)
    if page is not None and not request.url.path.startswith("/v1"):
        shown: Response = page(request, document)
        return shown
    return json_response(document, problem.status, problem.headers)


def json_response(
    document: Mapping[str, Any], status: int, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a problem details object as an HTTP response."""
    return JSONResponse(document, status, headers, MEDIA_TYPE)


def _validation(error: RequestValidationError) -> Problem:
    errors = [_validation_item(item) for item in error.errors()]
    first = errors[0]
    where = first.get("pointer") or first.get("parameter")
    return Problem("invalid-request", f"{where}: {first['expected']}", errors)


def _validation_item(item: Mapping[str, Any]) -> dict[str, Any]:
    place, *path = item["loc"]
    expected = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "json_invalid":
        return {"pointer": "#", "value": None, "expected": "a JSON document"}
    if item["type"] == "model_attributes_type" and not path:
        expected = "a JSON object, sent with Content-Type: application/json"
    value = item.get("input")
    if item["type"] == "missing":
        value = None
    if place == "body":
        pointer = "".join("/" + _escaped(part) for part in path)
        return {"pointer": f"#{pointer}", "value": _showable(value), "expected": expected}
    name = ".".join(str(part) for part in path)
    return {"parameter": name, "in": place, "value": _showable(value), "expected": expected}


def _escaped(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _showable(value: Any) -> Any:
    """Return the refused value for the answer: JSON as it is, at most 200 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        return str(value)[:200]
    return value if len(text) <= 200 else text[:200] + "…"


_KIND_OF_STATUS = {status: kind for kind, (status, _) in reversed(TYPES.items())}


def install(app: FastAPI) -> None:
    """Make every error of the application a problem+json answer."""

    @app.exception_handler(Problem)
    async def _problem(request: Request, error: Problem) -> Response:
        return respond(request, error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        return respond(request, _validation(error))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        kind = _KIND_OF_STATUS.get(error.status_code)
        phrase = http.HTTPStatus(error.status_code).phrase
        problem = Problem(kind or "invalid-request", str(error.detail or phrase))
        problem.status = error.status_code
        problem.headers.update(error.headers or {})
        return respond(request, problem)

    @app.exception_handler(WarehouseUnavailableError)
    async def _warehouse(request: Request, error: WarehouseUnavailableError) -> Response:
        request.app.state.services.count("api_warehouse_failures_total", 1)
        log.warning("warehouse query failed: %s", error.__cause__ or error)
        detail = "Usage is counted on; ask again in a few seconds."
        return respond(
            request, Problem("warehouse-unavailable", detail, headers={"Retry-After": "5"})
        )

    @app.exception_handler(DataError)
    async def _unfit(request: Request, error: DataError) -> Response:
        # PostgreSQL keeps no NUL in text and no number beyond 64 bits, whoever let it through.
        log.warning("a value that cannot be kept: %s", error.orig)
        return respond(request, Problem("invalid-request", "A value here cannot be kept."))

    @app.exception_handler(OperationalError)
    async def _database(request: Request, error: OperationalError) -> Response:
        if not is_unavailable(error):
            return await _failure(request, error)
        return await _no_connection(request, error)

    @app.exception_handler(TimeoutError)
    async def _no_connection(request: Request, error: Exception) -> Response:
        request.app.state.services.count("api_database_failures_total", 1)
        log.warning("the database does not answer: %s", error)
        detail = "Send it again in a few seconds; with an Idempotency-Key it is done once."
        return respond(
            request, Problem("database-unavailable", detail, headers={"Retry-After": "5"})
        )

    @app.exception_handler(Exception)
    async def _failure(request: Request, error: Exception) -> Response:
        request.app.state.services.count("api_failures_total", 1)
        log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        return respond(request, Problem("internal", "The cause is in the web process's log."))
