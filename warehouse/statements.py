"""What a statement may do, judged from the engine's own tokens before it runs.

`readonly = 1` on a connection stops writes, SET and table functions, but not everything: under it
the engine still writes INTO OUTFILE, reads host files through the scalar function `file` (also
without a call: `arrayMap(file, ['/etc/passwd'])`, `* APPLY file`), opens URLs in DESCRIBE, runs
KILL QUERY, and runs several statements (docs/decisions/0402). So a reader's statement must begin
as a query does, and no statement may contain a word that reaches the host or the network, wherever
it stands outside a string. Names of table functions come from the engine, so that one added by a
new engine is refused until it is listed here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence

READ_KEYWORDS = frozenset(
    {"select", "with", "from", "show", "describe", "desc", "exists", "explain"}
)
"""First words of the statements that a reader may send."""

HARMLESS_TABLE_FUNCTIONS = frozenset({
    "dictionary", "format", "generate_series", "generaterandom", "generateseries",
    "merge", "null", "numbers", "numbers_mt", "primes", "values", "view", "zeros",
    "zeros_mt",
})  # fmt: skip
"""Table functions that touch neither host nor network. All others of the engine are refused."""

ALWAYS_REFUSED = frozenset({
    "addresstoline", "catboostevaluate", "distributed", "executable", "executablepool",
    "file", "filesystem", "hdfs", "http", "infile", "jdbc", "kafka", "mongodb", "mysql",
    "nats", "odbc", "outfile", "postgresql", "python", "rabbitmq", "redis", "remote",
    "remotesecure", "s3", "sqlite", "url",
})  # fmt: skip
"""Words refused whatever the engine lists: host, network, table engines and dictionary sources."""

ALSO_FORMATS = frozenset({"arrowstream"})
"""Words that are refused as table functions and allowed behind FORMAT."""

NETWORK_PREFIX = "ai"
"""Prefix of the engine's functions that call a language model: aiGenerate, AIEmbed, …"""

_IGNORED = frozenset({"Whitespace", "Comment"})
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INSERT_WITH_DATA = re.compile(
    rb"\s*INSERT\s+INTO\s(?:[^'\";]|'(?:[^'\\]|\\.)*'|\"[^\"]*\")*?"
    rb"\bFORMAT\s+(\w+)[ \t]*(?:\r?\n|;|$)",
    re.IGNORECASE,
)
_RESULT_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Token:
    """One token as the engine's lexer names it (`BareWord`, `Semicolon`, …), with its text."""

    kind: str
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Refusal:
    """Why a statement does not reach the engine: ClickHouse's error code, its name, the reason."""

    code: int
    name: str
    reason: str


@dataclasses.dataclass(frozen=True, slots=True)
class InsertParts:
    """An INSERT that carries data: the statement up to its format, the format, the data."""

    statement: str
    format: str
    data: bytes


def refused_words(table_functions: Iterable[str], functions: Iterable[str]) -> frozenset[str]:
    """Return the lower-case words that no statement may contain, for one engine.

    table_functions and functions are the names the engine lists in its system tables.
    """
    tables = {name.lower() for name in table_functions} - HARMLESS_TABLE_FUNCTIONS
    network = {name.lower() for name in functions if name.lower().startswith(NETWORK_PREFIX)}
    return frozenset(tables | network | ALWAYS_REFUSED)


def judge(tokens: Sequence[Token], words: frozenset[str], *, may_write: bool) -> Refusal | None:
    """Return why a statement is refused, or None where the engine may run it.

    words are those of `refused_words`. The writer may begin a statement with any keyword.
    """
    significant = [token for token in tokens if token.kind not in _IGNORED]
    while significant and significant[-1].kind == "Semicolon":
        significant.pop()
    if not significant:
        return Refusal(62, "SYNTAX_ERROR", "Empty query")
    if any(token.kind == "Semicolon" for token in significant):
        return Refusal(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
    if any(token.kind.startswith("Error") for token in significant):
        return Refusal(62, "SYNTAX_ERROR", "Unrecognized token")
    for before, token in zip([None, *significant], significant, strict=False):
        word = _name_of(token)
        is_format = word in ALSO_FORMATS and before is not None and _name_of(before) == "format"
        if word in words and not is_format:
            return Refusal(497, "ACCESS_DENIED", f"Not allowed here: {token.text}")
    first = next(
        (token for token in significant if token.kind != "OpeningRoundBracket"), significant[0]
    )
    if not may_write and first.text.lower() not in READ_KEYWORDS:
        return Refusal(
            164, "READONLY", f"Cannot execute query in readonly mode: {first.text.upper()}"
        )
    return None


def judge_values(
    tokens: Sequence[Token], parameters: Mapping[str, str], words: frozenset[str]
) -> Refusal | None:
    """Return why bound values are refused: an Identifier parameter may not name what is refused."""
    if not any(_name_of(token) == "identifier" for token in tokens):
        return None
    for name, value in parameters.items():
        found = {word.lower() for word in _WORD.findall(value)} & words
        if found:
            return Refusal(497, "ACCESS_DENIED", f"Not allowed in {name}: {sorted(found)[0]}")
    return None


def _name_of(token: Token) -> str:
    if token.kind == "BareWord":
        return token.text.lower()
    if token.kind == "QuotedIdentifier":
        return token.text[1:-1].strip().lower()
    return ""


def returns_rows(statement: str) -> bool:
    """Whether a statement answers with a result set (then the response names its format)."""
    bare = re.sub(r"\A(?:\s|\(|--[^\n]*\n|/\*.*?\*/)+", "", statement, flags=re.DOTALL)
    first = _WORD.match(bare)
    return first is not None and first.group().lower() in {*READ_KEYWORDS, "check", "kill"}


def result_format(statement: str, default: str) -> str:
    """Return the format that a statement asks for at its end, else the default."""
    found = _RESULT_FORMAT.search(statement)
    return found.group(1) if found else default


def without_format(statement: str) -> str:
    """Return a statement without the format that it asks for at its end."""
    return _RESULT_FORMAT.sub("", statement)


def split_insert(query: str, body: bytes) -> InsertParts | None:
    """Return the parts of an INSERT with data in a named format, or None for anything else.

    query is the URL's; where it is empty the statement is the body's head. An INSERT of VALUES or
    of a SELECT is anything else: it goes to the engine as a whole.
    """
    whole = query.encode() if query else body
    found = _INSERT_WITH_DATA.match(whole[: 1 << 16])
    if found is None:
        return None
    head = whole[: found.end(1)].decode(errors="replace")
    statement = re.sub(r"\s+FORMAT\s+\w+\Z", "", head, flags=re.IGNORECASE)
    data = whole[found.end() :] + (body if query else b"")
    return InsertParts(statement, found.group(1).decode(), data)
