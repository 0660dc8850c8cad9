"""The style's numbers and names as functions: a source in, one sentence per finding out."""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Callable, Iterator

from tests.tidy.sources import Function, Source, definitions, imports

LINE_CHARACTERS_MAX = 100
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600
PARAMETERS_MAX = 6

EMPTY_WORDS = frozenset({"manager", "helper", "helpers", "util", "utils", "base", "common"})
"""Names that say nothing about what a thing does."""

IMPURE_MODULES = frozenset(
    [
        "asyncio",
        "glob",
        "http",
        "logging",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "secrets",
        "select",
        "selectors",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "syslog",
        "tempfile",
        "threading",
        "time",
        "urllib",
        "uuid",
    ]
) | frozenset(
    [
        "aiokafka",
        "alembic",
        "chdb",
        "clickhouse_connect",
        "fastapi",
        "faust",
        "httpx",
        "jinja2",
        "kafka",
        "prometheus_client",
        "pyrad",
        "requests",
        "sqlalchemy",
        "typst",
        "uvicorn",
    ]
)
"""What a pure module may not import: IO, clock, randomness, logging, processes."""

IMPURE_CALLS = frozenset(
    [
        "open",
        "io.open",
        "print",
        "input",
        "datetime.now",
        "datetime.utcnow",
        "datetime.today",
        "date.today",
        "datetime.datetime.now",
        "datetime.datetime.utcnow",
        "datetime.date.today",
    ]
)
"""Builtins and methods that do IO or read the clock without an import that gives them away."""

MACHINE_PATH = re.compile(r"(?<![\w.}/:])/(?:home|Users|root|work|mnt|media)/\w|[A-Z]:\\\\")
"""Paths of somebody's machine."""

UNFINISHED = re.compile(r"\b(?:TODO|FIXME)\b")


def long_lines(source: Source) -> Iterator[str]:
    """Find lines above LINE_CHARACTERS_MAX."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        if len(line) > LINE_CHARACTERS_MAX:
            yield f"{source.path}:{number}: line of {len(line)} characters"


def long_functions(source: Source) -> Iterator[str]:
    """Find functions above FUNCTION_LINES_MAX, decorators not counted."""
    for name, node in definitions(source):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if isinstance(node, Function) and lines > FUNCTION_LINES_MAX:
            yield f"{source.path}:{node.lineno}: {name} has {lines} lines"


def long_modules(source: Source) -> Iterator[str]:
    """Find modules above MODULE_LINES_MAX."""
    lines = source.text.count("\n")
    if lines > MODULE_LINES_MAX:
        yield f"{source.path}: module of {lines} lines"


def many_parameters(source: Source) -> Iterator[str]:
    """Find functions above PARAMETERS_MAX; self and cls are not counted."""
    for name, node in definitions(source):
        if not isinstance(node, Function):
            continue
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        count = len([argument for argument in named if argument.arg not in ("self", "cls")])
        count += (arguments.vararg is not None) + (arguments.kwarg is not None)
        if count > PARAMETERS_MAX:
            yield f"{source.path}:{node.lineno}: {name} has {count} parameters"


def undocumented_names(source: Source) -> Iterator[str]:
    """Find public modules, classes, functions and methods without a sentence."""
    if not _is_sentence(ast.get_docstring(source.tree)) and source.text.strip():
        yield f"{source.path}:1: module without a sentence"
    local = {
        inner
        for _, outer in definitions(source)
        if isinstance(outer, Function)
        for inner in ast.walk(outer)
        if inner is not outer
    }
    for name, node in definitions(source):
        is_private = any(part.startswith("_") for part in name.split("."))
        if is_private or node in local or _is_overload(node):
            continue
        if not _is_sentence(ast.get_docstring(node)):
            yield f"{source.path}:{node.lineno}: {name} without a sentence"


def empty_names(source: Source) -> Iterator[str]:
    """Find modules and classes called Manager, Helper, Util, Base or Common, and such functions.

    In a function's name, base and common may mean what they say (a percentage's base).
    """
    for part in source.module.split("."):
        if EMPTY_WORDS & set(words_of(part)):
            yield f"{source.path}:1: the name {part} does not say what it is"
    for name, node in definitions(source):
        own = name.rpartition(".")[2]
        words = EMPTY_WORDS if isinstance(node, ast.ClassDef) else EMPTY_WORDS - {"base", "common"}
        if words & set(words_of(own)) and not own.startswith("test_"):
            yield f"{source.path}:{node.lineno}: the name {own} does not say what it is"


def impure_code(source: Source) -> Iterator[str]:
    """Find imports and calls that a pure module may not have."""
    for line, name in imports(source):
        if name.partition(".")[0] in IMPURE_MODULES:
            yield f"{source.path}:{line}: pure code imports {name}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in IMPURE_CALLS:
            yield f"{source.path}:{node.lineno}: pure code calls {ast.unparse(node.func)}"


def machine_paths(source: Source) -> Iterator[str]:
    """Find absolute paths of a developer's machine."""
    return find_in_text(str(source.path), source.text, MACHINE_PATH, "path of one machine")


def unfinished_places(source: Source) -> Iterator[str]:
    """Find marks of unfinished work."""
    return find_in_text(str(source.path), source.text, UNFINISHED, "mark of unfinished work")


def clashing_log_facts(source: Source) -> Iterator[str]:
    """Find `extra={"name": …}`: logging raises KeyError for its own attributes' names."""
    taken = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
    for node in ast.walk(source.tree):
        if not (isinstance(node, ast.keyword) and node.arg == "extra"):
            continue
        for literal in ast.walk(node.value):
            keys = literal.keys if isinstance(literal, ast.Dict) else []
            for key in keys:
                if isinstance(key, ast.Constant) and key.value in taken:
                    yield f"{source.path}:{node.value.lineno}: logging owns the name {key.value}"


def find_in_text(path: str, text: str, pattern: re.Pattern[str], what: str) -> Iterator[str]:
    """Find a pattern line by line."""
    for number, line in enumerate(text.splitlines(), start=1):
        for found in pattern.finditer(line):
            yield f"{path}:{number}: {what}: {found.group()}"


def words_of(name: str) -> list[str]:
    """Return the lower-case words of a snake_case or CamelCase name."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def is_pure(source: Source) -> bool:
    """Return whether a module must be pure: rating throughout, billing's root and cable TV."""
    parts = source.path.parts
    is_root = len(parts) == 2 or parts[1] == "cable"
    return parts[0] == "rating" or (parts[0] == "billing" and is_root)


def _is_sentence(docstring: str | None) -> bool:
    """A sentence has two words, and an end."""
    if not docstring:
        return False
    first = docstring.partition("\n\n")[0].strip()
    return len(first.split()) >= 2 and first[-1] in ".:!?)" and not UNFINISHED.search(first)


def _is_overload(node: ast.AST) -> bool:
    decorators = getattr(node, "decorator_list", [])
    return any(ast.unparse(decorator).endswith("overload") for decorator in decorators)


Rule = Callable[[Source], Iterator[str]]

EVERYWHERE: tuple[Rule, ...] = (
    long_lines,
    long_functions,
    long_modules,
    machine_paths,
    unfinished_places,
    empty_names,
    clashing_log_facts,
)
"""Rules for the product and its tests."""

PRODUCT: tuple[Rule, ...] = (undocumented_names, many_parameters)
"""Further rules for the product. (A test's builder of records may take each field by keyword.)"""

PURE: tuple[Rule, ...] = (impure_code,)
"""Further rules for the pure modules."""
