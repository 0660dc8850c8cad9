"""The one owner of a chDB directory: a fresh connection per statement.

A chDB connection keeps state that must not pass from one request to the next: settings, the
current database, and after a failed query the rows it had already produced, which the *next* query
on the connection returns as its own (docs/decisions/0401). Opening one takes 0.2 ms, so every
statement gets its own. The directory is locked by the first connection until `close`; a second
process is refused. Never fork a process that has opened an engine: the child hangs.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import chdb

from warehouse.config import EndpointConfig
from warehouse.statements import Token, refused_words

_CODE = re.compile(r"Code: (\d+)")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)")
_SETTINGS = re.compile(r"\sSETTINGS\s", re.IGNORECASE)
_SETTING_NAME = re.compile(r"\A[A-Za-z_][A-Za-z0-9_.]*\Z")


class EngineError(Exception):
    """The engine's own error: ClickHouse's code, its name and its message."""

    def __init__(self, code: int, name: str, message: str) -> None:
        """Keep code and name beside the message."""
        super().__init__(message)
        self.code = code
        self.name = name


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave: its body in the asked format, and the engine's counts."""

    body: bytes
    rows_read: int
    octets_read: int
    rows_written: int
    elapsed_seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Session:
    """Under what one statement runs: database, settings before it, and whether it may write."""

    database: str
    settings: Mapping[str, str]
    may_write: bool


def reader_limits(config: EndpointConfig) -> dict[str, str]:
    """Return the engine settings that bound one reader's query."""
    return {
        "max_execution_time": str(config.execution_seconds),
        "max_result_rows": str(config.result_rows),
        "max_result_bytes": str(config.result_octets),
        "result_overflow_mode": "throw",
        "max_memory_usage": str(config.memory_octets),
        "max_threads": str(config.threads_per_query),
    }


class Engine:
    """An open chDB directory. Statements may run from several threads at once."""

    def __init__(self, directory: Path) -> None:
        """Open, and create where absent. RuntimeError where another process holds it.

        Sets the process's time zone to UTC first: the engine takes its server zone from it.
        """
        os.environ["TZ"] = "UTC"
        time.tzset()
        directory.mkdir(parents=True, exist_ok=True)
        self.path = str(directory.resolve())
        self._incoming = directory.resolve().parent
        self._anchor = chdb.connect(self.path)
        self.version = self._text("SELECT version()")
        self.words = refused_words(
            self._text("SELECT name FROM system.table_functions").split(),
            self._text("SELECT name FROM system.functions").split(),
        )
        self.tokens: Callable[[str], tuple[Token, ...]] = functools.lru_cache(256)(self._tokens)

    def close(self) -> None:
        """Close the directory once the statements that run have ended."""
        self._anchor.close()

    def query(
        self, statement: str, format_: str, session: Session, parameters: Mapping[str, str]
    ) -> Answer:
        """Run one statement and return its whole result. Raises EngineError.

        parameters are values of `{name:Type}`, escaped as in the HTTP interface (TabSeparated).
        """
        return self._run(
            session,
            lambda connection: _answer(
                connection.query(statement, format_, params=dict(parameters))
            ),
        )

    def insert(self, statement: str, format_: str, data: bytes, session: Session) -> Answer:
        """Insert data in a format; returns once the rows are in the table. Raises EngineError."""

        # Not by `send_insert`: it answers well and counts the rows where a constraint, a view or a
        # full disk has refused them, and nothing is in the table (chDB 4.4).
        with tempfile.NamedTemporaryFile(dir=self._incoming, suffix=".insert") as file:
            file.write(data)
            file.flush()
            written = _with_file(statement, file.name, format_)
            return self._run(session, lambda connection: _answer(connection.query(written, "CSV")))

    def _run(self, session: Session, work: Callable[[Any], Answer]) -> Answer:
        connection = None
        try:
            connection = chdb.connect(self.path)
            if session.database and session.database != "default":
                connection.query(f"USE {_quote_name(session.database)}")
            settings = [f"{_setting_name(n)} = {_quote(v)}" for n, v in session.settings.items()]
            if settings:
                connection.query(f"SET {', '.join(settings)}")
            if not session.may_write:
                connection.query("SET readonly = 1")
            return work(connection)
        except RuntimeError as error:  # chDB's own errors are RuntimeErrors too.
            raise _engine_error(str(error)) from None
        finally:
            if connection is not None:
                connection.close()

    def _text(self, statement: str) -> str:
        body: bytes = self._anchor.query(statement, "TabSeparatedRaw").bytes()
        return body.decode().strip()

    def _tokens(self, statement: str) -> tuple[Token, ...]:
        """Return the statement's tokens as the engine's own lexer sees them."""
        session = Session("", {}, may_write=True)
        found = self.query(
            "SELECT arrayMap(t -> (t.1, t.2, toString(t.3)), tokenizeQuery({statement:String}))"
            " SETTINGS output_format_json_named_tuples_as_objects = 0,"
            " output_format_json_quote_64bit_integers = 0",
            "JSONCompactEachRow",
            session,
            {"statement": escape_parameter(statement)},
        )
        octets = statement.encode()
        (tokens,) = json.loads(found.body)
        return tuple(
            Token(str(kind), octets[int(start) : int(end)].decode(errors="replace"))
            for start, end, kind in tokens
        )


def _with_file(statement: str, path: str, format_: str) -> str:
    """Return an INSERT with its data in a file; SETTINGS stand behind the file's name."""
    before, settings, rest = statement, "", ""
    found = _SETTINGS.search(statement)
    if found:
        before, settings, rest = statement[: found.start()], " SETTINGS ", statement[found.end() :]
    return f"{before} FROM INFILE {_quote(path)}{settings}{rest} FORMAT {format_}"


def escape_parameter(value: str) -> str:
    r"""Return a text as the value of a String parameter: TabSeparated escapes (\\, \t, \n, …)."""
    for plain, escaped in (
        ("\\", "\\\\"),
        ("\t", "\\t"),
        ("\n", "\\n"),
        ("\r", "\\r"),
        ("\0", "\\0"),
        ("'", "\\'"),
    ):
        value = value.replace(plain, escaped)
    return value


def _answer(result: Any) -> Answer:
    return Answer(
        bytes(result.bytes() or b""),
        int(result.rows_read()),
        int(result.bytes_read()),
        int(result.rows_written()),
        float(result.elapsed()),
    )


def _engine_error(message: str) -> EngineError:
    text = message[message.find("Code: ") :] if "Code: " in message else message
    code = _CODE.search(text)
    name = _NAME.findall(text)
    return EngineError(int(code.group(1)) if code else 1001, name[-1] if name else "", text.strip())


def _setting_name(name: str) -> str:
    if not _SETTING_NAME.match(name):
        raise EngineError(115, "UNKNOWN_SETTING", f"Code: 115. Unknown setting {name!r}")
    return name


def _quote(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _quote_name(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
