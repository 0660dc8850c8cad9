"""Config dataclasses as a description: every key with its type, default and documentation.

One source serves all readers: the loader of `infra.settings` (what may be written) and the
commented example of `infra.init` (what it means). The documentation of a field is the string
literal under it, which Python throws away, so it is read from the source with `ast`.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from typing import Any

SECRET = re.compile(r"(^|_)(secret|password|token)$")


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One key of a section: a leaf that takes a value, or a nested section.

    type is the resolved annotation. section is the dataclass of a nested section, else None;
    row is the dataclass of a list of tables (``tuple[NasConfig, ...]``), else None. A secret (a
    field declared with ``repr=False``, or called so) is never shown in a message.
    """

    name: str
    type: Any
    doc: str
    default: Any
    is_required: bool
    is_secret: bool
    section: type | None
    row: type | None


@functools.cache
def keys_of(section: type) -> dict[str, Key]:
    """Return the keys of one config dataclass in the order they are declared."""
    hints = typing.get_type_hints(section)
    docs = field_docs(section)
    keys = {}
    for field in dataclasses.fields(section):
        hint = hints[field.name]
        default, is_required = _default_of(field)
        keys[field.name] = Key(
            name=field.name,
            type=hint,
            doc=docs.get(field.name, ""),
            default=default,
            is_required=is_required,
            is_secret=not field.repr or bool(SECRET.search(field.name)),
            section=hint if dataclasses.is_dataclass(hint) and isinstance(hint, type) else None,
            row=_row_type(hint),
        )
    return keys


def field_docs(section: type) -> dict[str, str]:
    """Return the string literal under each field, its line breaks folded into spaces."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(section)))
    declaration = tree.body[0]
    assert isinstance(declaration, ast.ClassDef)
    docs = {}
    for statement, following in zip(declaration.body, declaration.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            docs[statement.target.id] = " ".join(following.value.value.split()).replace("``", "`")
    return docs


def section_doc(section: type) -> str:
    """Return the class's docstring with its line breaks folded; empty where it has none."""
    doc = section.__doc__ or ""
    return (
        "" if doc.startswith(f"{section.__name__}(") else " ".join(doc.split()).replace("``", "`")
    )


def walk(section: type, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Key]]:
    """Yield (path, key) of every leaf under a section, depth first, as declared."""
    for key in keys_of(section).values():
        if key.section is None:
            yield (*path, key.name), key
        else:
            yield from walk(key.section, (*path, key.name))


def optional_of(hint: Any) -> tuple[Any, bool]:
    """Return the type without ``| None``, and whether None was allowed."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        if len(members) == 1 and len(typing.get_args(hint)) == 2:
            return members[0], True
    return hint, False


def item_of(hint: Any) -> Any | None:
    """Return the element type of ``tuple[X, ...]`` or ``list[X]``, else None."""
    arguments = typing.get_args(hint)
    origin = typing.get_origin(hint)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return arguments[0]
    if origin is list and len(arguments) == 1:
        return arguments[0]
    return None


def _row_type(hint: Any) -> type | None:
    item = item_of(hint)
    return item if isinstance(item, type) and dataclasses.is_dataclass(item) else None


def _default_of(field: dataclasses.Field[Any]) -> tuple[Any, bool]:
    if field.default is not dataclasses.MISSING:
        return field.default, False
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory(), False
    return None, True
