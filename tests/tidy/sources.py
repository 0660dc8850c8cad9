"""The project's Python files, parsed once for the tidy rules."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("rating", "billing", "collectors", "streams", "warehouse", "api", "dashboards", "infra")
"""The product's top-level packages, in the order of the import rule, lowest first."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclasses.dataclass(frozen=True)
class Source:
    """One module: its path below the root, its text and its syntax tree."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """The dotted name: ``rating.curves.flat``."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def parse(text: str, path: str = "rating/example.py") -> Source:
    """Return a source of this text, as if it stood at the path."""
    return Source(Path(path), text, ast.parse(text))


@functools.cache
def product_sources() -> tuple[Source, ...]:
    """Return every module of the product's packages."""
    return tuple(_read(path) for package in PACKAGES for path in _files(package))


@functools.cache
def all_sources() -> tuple[Source, ...]:
    """Return every module of the product and of its tests."""
    return (*product_sources(), *(_read(path) for path in _files("tests")))


def definitions(source: Source) -> Iterator[tuple[str, Definition]]:
    """Yield (qualified name, definition) of every class, function and method, nested ones too."""
    pending: list[tuple[str, ast.AST]] = [("", source.tree)]
    while pending:
        prefix, node = pending.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, Definition):
                yield prefix + child.name, child
                pending.append((f"{prefix}{child.name}.", child))
            else:
                pending.append((prefix, child))


def imports(source: Source) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) of everything a module imports, wherever in it."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def _files(package: str) -> list[Path]:
    return sorted(
        path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts
    )


def _read(path: Path) -> Source:
    return parse(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
