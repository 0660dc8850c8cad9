"""The web process's application: /v1 and the pages, over one set of services."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import openapi, problems, tables
from api.ports import Services
from api.resources import (
    acting,
    audit,
    balances,
    bank,
    billing,
    cable,
    cash,
    deposits,
    discounts,
    dunning,
    instalments,
    keys,
    parties,
    payments,
    products,
    quotes,
    reports,
    statements,
    subscribers,
    taxes,
    usage,
    vouchers,
)
from api.web import pages
from api.web.live import LiveSamples
from billing.adapters.databases import take_schema_turn, writing

VERSION = "1.0.0"
"""Version of the interface /v1, not of the program."""


RESOURCES = (
    parties,
    subscribers,
    usage,
    billing,
    acting,
    keys,
    cable,
    payments,
    dunning,
    vouchers,
    audit,
    quotes,
    products,
    reports,
    cash,
    taxes,
    discounts,
    statements,
    bank,
    instalments,
    balances,
    deposits,
)
"""What /v1 has, in the order of its documentation."""


def create_app(services: Services) -> FastAPI:
    """Return the application. The database has its business tables; the API's own is created."""
    with writing(services.engine) as connection:
        take_schema_turn(connection)  # several processes may begin at once
        tables.metadata.create_all(connection)
    live = LiveSamples(services)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with live.sampling():
            yield

    app = FastAPI(
        title="Flowrate",
        version=VERSION,
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    app.state.live = live
    for module in RESOURCES:
        app.include_router(module.router, prefix="/v1")
    pages.install(app)
    problems.install(app)
    app.openapi = lambda: openapi.document_of(app)  # type: ignore[method-assign]
    app.add_middleware(BodyLimit, services=services)
    app.add_middleware(HeadAsGet)
    return app


class HeadAsGet:
    """Answers HEAD with the head of what GET would answer (RFC 9110 §9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an application."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on as GET and keep the body back."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self.app({**scope, "method": "GET"}, receive, send_head)


class BodyLimit:
    """Refuses request bodies above request_octets_max, declared or not, and counts requests."""

    def __init__(self, app: ASGIApp, services: Services) -> None:
        """Wrap an application."""
        self.app = app
        self.services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a limited body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        self.services.count("api_requests_total", 1)
        if "\0" in scope["path"]:
            await self._answer(problems.Problem("not-found", "No path holds a NUL."), scope, send)
            return
        left = self.services.config.request_octets_max
        headers = dict(scope["headers"])
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > left:
            self.services.count("api_bodies_refused_total", 1)
            limit = self.services.config.request_octets_max
            await self._answer(
                problems.Problem("too-large", f"At most {limit} octets."), scope, send
            )
            return

        async def limited() -> Message:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                self.services.count("api_bodies_refused_total", 1)
                raise HTTPException(413, f"At most {self.services.config.request_octets_max}.")
            return message

        await self.app(scope, limited, send)

    async def _answer(self, problem: problems.Problem, scope: Scope, send: Send) -> None:
        """Answer with a problem, without reading the body."""
        document: dict[str, Any] = problem.document(scope["path"])
        response = problems.json_response(document, problem.status)

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        await response(scope, receive, send)
