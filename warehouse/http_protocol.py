"""The ClickHouse HTTP interface without IO: a request in, what to run; an answer out, a response.

What clickhouse-connect, Grafana's plugin in HTTP mode and curl send: the statement in the body, in
`query=` or both (then the body is the insert's data), `param_<name>` values, settings as further
URL parameters, form fields in the place of URL parameters. Sessions are accepted and have no
effect: no statement sees a SET or a temporary table of another.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hmac
import json
from collections.abc import Mapping
from email.parser import BytesParser
from email.policy import HTTP
from urllib.parse import parse_qsl

from warehouse.config import EndpointConfig, WarehouseConfig
from warehouse.engine import Answer, EngineError, Session, reader_limits
from warehouse.statements import InsertParts, result_format, returns_rows, split_insert

EXCEPTION_CODE = "X-ClickHouse-Exception-Code"
AUTHENTICATION_FAILED = 516

TRANSPORT_PARAMETERS = frozenset({
    "buffer_size", "cancel_http_readonly_queries_on_client_close",
    "client_protocol_version", "compress", "database", "decompress", "default_format",
    "enable_http_compression", "http_headers_progress_interval_ms",
    "http_write_exception_in_output_format", "password", "query", "query_id", "quota_key",
    "role", "send_progress_in_http_headers", "session_check", "session_id",
    "session_timeout", "user", "wait_end_of_query",
})  # fmt: skip
"""URL parameters that are no settings of the engine."""

CLAMPED_SETTINGS = frozenset({
    "max_execution_time", "max_memory_usage", "max_result_bytes", "max_result_rows",
    "max_threads",
})  # fmt: skip
"""Limits that a reader may lower, never raise."""

READER_SETTINGS = frozenset({
    "aggregate_functions_null_for_empty", "date_time_output_format", "extremes",
    "group_by_use_nulls", "join_use_nulls", "limit", "log_comment", "max_block_size",
    "max_bytes_to_read", "max_rows_to_read", "offset", "session_timezone",
    "use_client_time_zone",
})  # fmt: skip
"""Settings that a reader may give per query, beside those whose names begin as below."""

READER_SETTING_PREFIXES = ("output_format_",)

_STATUS = {
    62: 400, 6: 400, 36: 400, 41: 400, 43: 400, 47: 404, 46: 404, 53: 400, 60: 404, 81: 404,
    115: 400, 117: 400, 159: 408, 164: 403, 202: 503, 241: 500, 396: 413, 456: 400, 457: 400,
    497: 403, 516: 401, 48: 501,
}  # fmt: skip


class ProtocolError(Exception):
    """A request that is answered without the engine: ClickHouse's code, its name, the reason."""

    def __init__(self, code: int, name: str, reason: str, status: int | None = None) -> None:
        """status overrides the HTTP status that the code maps to."""
        super().__init__(reason)
        self.code = code
        self.name = name
        self.status = status or _STATUS.get(code, 500)


@dataclasses.dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request as received: header names in lower case, body not yet decompressed."""

    method: str
    path: str
    query_string: bytes
    headers: Mapping[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What a request wants run. Exactly one of statement (a query) and insert is to be run."""

    statement: str
    insert: InsertParts | None
    format: str
    session: Session
    parameters: Mapping[str, str]
    query_id: str
    wants_compression: bool


@dataclasses.dataclass(frozen=True, slots=True)
class HttpResponse:
    """Status, headers in order, body."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def host_allowed(config: EndpointConfig, host: str) -> bool:
    """Whether a Host header names this endpoint: its name without the port is allowed."""
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name.lower() in config.allowed_hosts


def authenticate(
    config: WarehouseConfig, headers: Mapping[str, str], url: Mapping[str, str]
) -> bool:
    """Return whether the request's user may write; ProtocolError 516 for any other than the two.

    Looks at Basic, then X-ClickHouse-User and -Key, then `user` and `password` in the URL, as
    the ClickHouse server does.
    """
    user, password = url.get("user", ""), url.get("password", "")
    if "x-clickhouse-user" in headers:
        user, password = headers["x-clickhouse-user"], headers.get("x-clickhouse-key", "")
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            decoded = ""
        user, _, password = decoded.partition(":")
    for known, secret, may_write in (
        (config.sink_user, config.sink_password, True),
        (config.reader_user, config.reader_password, False),
    ):
        right = hmac.compare_digest(password.encode(), secret.encode())
        if hmac.compare_digest(user.encode(), known.encode()) and right and secret:
            return may_write
    raise ProtocolError(
        AUTHENTICATION_FAILED,
        "AUTHENTICATION_FAILED",
        f"{user or 'default'}: Authentication failed: password is incorrect, or there is no user"
        " with such name.",
    )


def url_parameters(request: HttpRequest) -> dict[str, str]:
    """Return the URL's parameters; ProtocolError where they are not UTF-8 or repeat too often."""
    try:
        pairs = parse_qsl(
            request.query_string.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=1000,
            errors="strict",
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise ProtocolError(36, "BAD_ARGUMENTS", f"URL parameters: {error}", 400) from None
    return dict(pairs)


def work_of(
    config: WarehouseConfig,
    request: HttpRequest,
    url: Mapping[str, str],
    body: bytes,
    may_write: bool,
) -> Work:
    """Return what to run. body is decompressed. Raises ProtocolError for what is not understood."""
    given = dict(url)
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        given |= _form_fields(request.headers["content-type"], body)
        body = b""
    for coding in ("compress", "decompress"):
        if given.get(coding, "0") not in ("0", "false", ""):
            raise ProtocolError(48, "NOT_IMPLEMENTED", f"{coding}=1 (native block compression)")
    query = given.get("query", "")
    insert = split_insert(query, body) if may_write else None
    statement = insert.statement if insert else _statement(query, body)
    if len(statement) > config.endpoint.statement_octets:
        raise ProtocolError(
            307,
            "TOO_MANY_BYTES",
            f"statement exceeds {config.endpoint.statement_octets} octets",
            413,
        )
    if request.method == "GET" and may_write and not returns_rows(statement):
        raise ProtocolError(164, "READONLY", "Cannot execute query in readonly mode: use POST")
    default = request.headers.get("x-clickhouse-format", given.get("default_format", ""))
    return Work(
        statement=statement,
        insert=insert,
        format=default or "TabSeparated",
        session=Session(
            database=given.get("database")
            or request.headers.get("x-clickhouse-database")
            or config.database,
            settings=_settings(config.endpoint, given, may_write),
            may_write=may_write,
        ),
        parameters={
            name.removeprefix("param_"): value
            for name, value in given.items()
            if name.startswith("param_")
        },
        query_id=given.get("query_id", ""),
        wants_compression=given.get("enable_http_compression", "0") in ("1", "true"),
    )


def _statement(query: str, body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise ProtocolError(62, "SYNTAX_ERROR", "statement is not UTF-8") from None
    return f"{query}\n{text}" if query and text else query or text


def _settings(config: EndpointConfig, given: Mapping[str, str], may_write: bool) -> dict[str, str]:
    """Return the settings to SET before the statement. ProtocolError for one not allowed."""
    asked = {
        name: value
        for name, value in given.items()
        if name not in TRANSPORT_PARAMETERS and not name.startswith("param_")
    }
    if may_write:
        return asked
    settings = reader_limits(config)
    for name, value in asked.items():
        if name in CLAMPED_SETTINGS:
            settings[name] = _lower(name, value, settings[name])
        elif name in READER_SETTINGS or name.startswith(READER_SETTING_PREFIXES):
            settings[name] = value
        elif name == "readonly" and value in ("1", "2"):
            continue
        else:
            raise ProtocolError(164, "READONLY", f"Cannot modify '{name}' setting in readonly mode")
    return settings


def _lower(name: str, asked: str, limit: str) -> str:
    try:
        value = int(float(asked))
    except (ValueError, OverflowError):
        raise ProtocolError(36, "BAD_ARGUMENTS", f"{name}: {asked!r} is not a number") from None
    return str(value) if 0 < value < int(limit) else limit


def _form_fields(content_type: str, body: bytes) -> dict[str, str]:
    message = BytesParser(policy=HTTP).parsebytes(
        b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body
    )
    fields = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None:
            raise ProtocolError(48, "NOT_IMPLEMENTED", "external data (files in a form)")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields[name] = payload.decode(errors="replace")
    return fields


def answer_response(work: Work, answer: Answer) -> HttpResponse:
    """Return the response to a statement that the engine ran."""
    summary = {
        "read_rows": str(answer.rows_read),
        "read_bytes": str(answer.octets_read),
        "written_rows": str(answer.rows_written),
        "written_bytes": "0",
        "total_rows_to_read": "0",
        "result_rows": "0",
        "result_bytes": str(len(answer.body)),
        "elapsed_ns": str(int(answer.elapsed_seconds * 1e9)),
    }
    headers = [*_server_headers(work.query_id), ("X-ClickHouse-Summary", json.dumps(summary))]
    if work.insert is None and returns_rows(work.statement):
        format_ = result_format(work.statement, work.format)
        headers.append(("X-ClickHouse-Format", format_))
        json_like = format_.startswith("JSON")
        headers.append(
            ("Content-Type", "application/json" if json_like else "application/octet-stream")
        )
    else:
        headers.append(("Content-Type", "text/plain; charset=UTF-8"))
    return HttpResponse(200, tuple(headers), answer.body)


def lacks_header(work: Work) -> bool:
    """Whether an empty answer to this work lacks the block that names its columns."""
    return returns_rows(work.statement) and result_format(work.statement, work.format) == "Native"


def empty_native_block(described: bytes) -> bytes:
    """Return the Native block of no rows for a result described as JSONCompact."""
    columns = [(str(c["name"]), str(c["type"])) for c in json.loads(described)["meta"]]
    parts = [_variable_int(len(columns)), b"\x00"]
    for text in (text for column in columns for text in column):
        parts += [_variable_int(len(text.encode())), text.encode()]
    return b"".join(parts)


def _variable_int(value: int) -> bytes:
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])


def error_response(error: EngineError | ProtocolError, version: str, query_id: str) -> HttpResponse:
    """Return the response to a statement that was refused or failed."""
    status = error.status if isinstance(error, ProtocolError) else _STATUS.get(error.code, 500)
    text = str(error)
    if not text.startswith("Code: "):
        text = f"Code: {error.code}. DB::Exception: {text} ({error.name})"
    if "(version " not in text:
        text = f"{text} (version {version})"
    headers = [
        *_server_headers(query_id),
        (EXCEPTION_CODE, str(error.code)),
        ("Content-Type", "text/plain; charset=UTF-8"),
    ]
    if status == 401:
        headers.append(("WWW-Authenticate", 'Basic realm="ClickHouse server HTTP API"'))
    return HttpResponse(status, tuple(headers), text.encode() + b"\n")


def _server_headers(query_id: str) -> list[tuple[str, str]]:
    shown = "".join(letter for letter in query_id if letter.isprintable() and letter.isascii())
    return [
        ("X-ClickHouse-Server-Display-Name", "flowrate-store"),
        ("X-ClickHouse-Timezone", "UTC"),
        ("X-ClickHouse-Query-Id", shown[:128]),
    ]
