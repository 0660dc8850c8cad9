"""The store's HTTP endpoint: an ASGI application over the engine, served by uvicorn in a thread.

Every wait is bounded: requests at once, octets of a body before and after decompression, rows and
octets of a result, and a query's time (`warehouse.config.EndpointConfig`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn

from warehouse.compression import CodingError, OversizeError, choose_coding, compress, decompress
from warehouse.config import WarehouseConfig
from warehouse.engine import Answer, Engine, EngineError
from warehouse.http_protocol import (
    HttpRequest,
    HttpResponse,
    ProtocolError,
    Work,
    answer_response,
    authenticate,
    empty_native_block,
    error_response,
    host_allowed,
    lacks_header,
    url_parameters,
    work_of,
)
from warehouse.metrics import Counters
from warehouse.statements import judge, judge_values, without_format

LOG = logging.getLogger(__name__)

Message = MutableMapping[str, Any]

COMPRESS_FROM_OCTETS = 1024
"""Shorter answers are sent plain."""


class Endpoint:
    """The ASGI application."""

    def __init__(self, config: WarehouseConfig, engine: Engine, counters: Counters) -> None:
        """ValueError where a user has no password."""
        if not config.reader_password or not config.sink_password:
            raise ValueError("warehouse: reader_password and sink_password must be set")
        self._config = config
        self._engine = engine
        self._counters = counters
        self._workers = ThreadPoolExecutor(config.endpoint.workers, "store-query")
        self._running = 0

    def close(self) -> None:
        """Wait for the statements that run."""
        self._workers.shutdown(wait=True, cancel_futures=True)

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Serve one HTTP request (ASGI)."""
        if scope["type"] != "http":
            return
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        self._counters.add("warehouse_requests")
        try:
            response = await self._respond(scope, headers, receive)
        except ProtocolError as error:
            response = error_response(error, self._engine.version, "")
        await _send(send, response, scope["method"])

    async def _respond(
        self,
        scope: Message,
        headers: dict[str, str],
        receive: Callable[[], Awaitable[Message]],
    ) -> HttpResponse:
        config = self._config.endpoint
        if not host_allowed(config, headers.get("host", "")):
            self._counters.add("warehouse_requests_unauthorized")
            raise ProtocolError(36, "BAD_ARGUMENTS", "Host header is not this server's", 421)
        if scope["path"] in ("/ping", "/replicas_status"):
            return HttpResponse(200, (("Content-Type", "text/html; charset=UTF-8"),), b"Ok.\n")
        request = HttpRequest(scope["method"], scope["path"], scope["query_string"], headers, b"")
        if request.method not in ("GET", "POST", "HEAD") or request.path not in ("/", "/query"):
            raise ProtocolError(36, "BAD_ARGUMENTS", "There is no handle here", 404)
        url = url_parameters(request)
        try:
            may_write = authenticate(self._config, headers, url)
        except ProtocolError:
            self._counters.add("warehouse_requests_unauthorized")
            raise
        if not url and request.method == "GET":
            return HttpResponse(200, (("Content-Type", "text/html; charset=UTF-8"),), b"Ok.\n")
        limit = config.insert_octets if may_write else config.statement_octets
        body = await _read_body(receive, limit)
        if self._running >= config.workers + config.waiting_requests:
            self._counters.add("warehouse_requests_overflow")
            raise ProtocolError(202, "TOO_MANY_SIMULTANEOUS_QUERIES", "Too many queries", 503)
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._workers, self._serve, request, url, body, may_write
            )
        finally:
            self._running -= 1

    def _serve(
        self, request: HttpRequest, url: dict[str, str], body: bytes, may_write: bool
    ) -> HttpResponse:
        """Run one request to its response; runs in a worker thread."""
        query_id = url.get("query_id", "")
        try:
            limit = (
                self._config.endpoint.insert_octets
                if may_write
                else (self._config.endpoint.statement_octets)
            )
            plain = decompress(body, request.headers.get("content-encoding", ""), limit)
            work = work_of(self._config, request, url, plain, may_write)
            self._refuse(work)
            response = answer_response(work, self._run(work))
        except OversizeError as error:
            refused = ProtocolError(307, "TOO_MANY_BYTES", str(error), 413)
            return error_response(refused, self._engine.version, query_id)
        except CodingError as error:
            refused = ProtocolError(271, "CANNOT_DECOMPRESS", str(error), 400)
            return error_response(refused, self._engine.version, query_id)
        except ProtocolError as error:
            self._counters.add("warehouse_requests_refused")
            return error_response(error, self._engine.version, query_id)
        except EngineError as error:
            self._counters.add("warehouse_requests_failed")
            return error_response(error, self._engine.version, query_id)
        accepted = request.headers.get("accept-encoding", "") if work.wants_compression else ""
        return _compressed(response, choose_coding(accepted))

    def _refuse(self, work: Work) -> None:
        """Raise ProtocolError where the statement may not run."""
        tokens = self._engine.tokens(work.statement)
        refusal = judge(tokens, self._engine.words, may_write=work.session.may_write)
        refusal = refusal or judge_values(tokens, work.parameters, self._engine.words)
        if refusal is not None:
            raise ProtocolError(refusal.code, refusal.name, refusal.reason)

    def _run(self, work: Work) -> Answer:
        if work.insert is not None:
            return self._engine.insert(
                work.insert.statement, work.insert.format, work.insert.data, work.session
            )
        answer = self._engine.query(work.statement, work.format, work.session, work.parameters)
        if answer.body or not lacks_header(work):
            return answer
        # chDB sends nothing at all for no rows in Native, where a server sends the columns.
        described = self._engine.query(
            without_format(work.statement), "JSONCompact", work.session, work.parameters
        )
        return dataclasses.replace(answer, body=empty_native_block(described.body))


def _compressed(response: HttpResponse, coding: str) -> HttpResponse:
    if not coding or len(response.body) < COMPRESS_FROM_OCTETS:
        return response
    headers = (*response.headers, ("Content-Encoding", coding))
    return HttpResponse(response.status, headers, compress(response.body, coding))


async def _read_body(receive: Callable[[], Awaitable[Message]], limit_octets: int) -> bytes:
    """Return the request's body. Raises ProtocolError as soon as it exceeds the limit."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProtocolError(210, "NETWORK_ERROR", "client went away", 400)
        part = message.get("body", b"")
        size += len(part)
        if size > limit_octets:
            raise ProtocolError(307, "TOO_MANY_BYTES", f"body exceeds {limit_octets} octets", 413)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _send(
    send: Callable[[Message], Awaitable[None]], response: HttpResponse, method: str
) -> None:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.headers]
    headers.append((b"content-length", str(len(response.body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    body = b"" if method == "HEAD" else response.body
    await send({"type": "http.response.body", "body": body})


class EndpointServer:
    """Serves an endpoint from a thread of its own."""

    def __init__(self, config: WarehouseConfig, endpoint: Endpoint) -> None:
        """Bind the socket; OSError where the address is taken."""
        where = config.endpoint
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        # asyncio turns Nagle's algorithm off only where the protocol is named: without it an
        # answer waits 40 ms for the client's delayed acknowledgement.
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((where.host, where.port))
            self._socket.listen(128)  # From here on connections wait instead of being refused.
        except OSError as error:
            self._socket.close()
            raise OSError(
                error.errno, f"store endpoint {where.host}:{where.port}: {error.strerror}"
            ) from error
        self.port = int(self._socket.getsockname()[1])
        self._server = uvicorn.Server(
            uvicorn.Config(
                endpoint,
                lifespan="off",
                access_log=False,
                log_config=None,
                timeout_keep_alive=75,
                backlog=128,
                server_header=False,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="store-endpoint", daemon=True)

    def start(self) -> None:
        """Accept requests from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop accepting, let the running requests end, and close the socket."""
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    @property
    def is_alive(self) -> bool:
        """Whether the serving thread runs."""
        return self._thread.is_alive()

    def _serve(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))
