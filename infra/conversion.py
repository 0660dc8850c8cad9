"""Values as written (TOML, text of a variable or flag) to typed config values.

A wrong value is a `Mismatch` that says what was expected; `infra.settings` adds where it stood.
"""

from __future__ import annotations

import collections.abc
import difflib
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.schema import Key, item_of, optional_of

PORT = re.compile(r"(^|_)port$")
"""A whole number under such a key is a UDP or TCP port."""


class Mismatch(Exception):  # noqa: N818 - a finding about the input, not a fault of the program
    """A value that is not what its key takes; `expected` completes "expected …".

    `at` is the path below the key where the value stood, for lists of tables.
    """

    def __init__(self, expected: str, *, at: str = "", value: Any = None, hint: str = "") -> None:
        """Say what was expected; at, value and hint where they differ from the key's own."""
        super().__init__(expected)
        self.expected = expected
        self.at = at
        self.value = value
        self.hint = hint


def to_value(hint: Any, written: Any, name: str) -> Any:
    """Return the value typed as the annotation says; Mismatch where it cannot be.

    name is the key's name: its unit (`_seconds`, `_port`) bounds a number.
    """
    inner, is_optional = optional_of(hint)
    if is_optional and written is None:
        return None
    item = item_of(inner)
    if item is not None:
        return _to_sequence(inner, item, written, name)
    origin = typing.get_origin(inner)
    if origin is typing.Literal:
        return _to_choice(written, typing.get_args(inner))
    if origin in (dict, collections.abc.Mapping):
        return _to_mapping(typing.get_args(inner), written, name)
    if origin in (typing.Union, types.UnionType):
        return _to_first(typing.get_args(inner), written, name)
    reader = SCALARS.get(inner)
    if reader is None:
        raise TypeError(f"no conversion to {inner!r}: add one to infra.conversion.SCALARS")
    return reader(written, name)


def from_text(hint: Any, text: str) -> Any:
    """Return the written value that a variable's or flag's text stands for.

    Text is taken literally where the key takes text; an empty text means "unset" where the key
    may be unset; a list is TOML (``["a", "b"]``) or plain items between commas; all else is TOML.
    """
    inner, is_optional = optional_of(hint)
    if is_optional and text == "":
        return None
    is_literal_text = typing.get_origin(inner) is typing.Literal and all(
        isinstance(choice, str) for choice in typing.get_args(inner)
    )
    if inner in (str, Path) or is_literal_text:
        return text
    item = item_of(inner)
    if item is not None and not text.lstrip().startswith("["):
        return [from_text(item, part.strip()) for part in text.split(",") if part.strip()]
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that a misspelt one most likely meant, or None."""
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def shown(key: Key | None, written: Any) -> str:
    """Return a value as a message may show it: short, on one line, a secret never."""
    if key is not None and key.is_secret:
        return "(hidden)"
    text = str(written).lower() if isinstance(written, bool) else repr(written)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _to_sequence(hint: Any, item: Any, written: Any, name: str) -> Any:
    if not isinstance(written, Sequence) or isinstance(written, str | bytes):
        raise Mismatch(f"a list of {expectation(item, name)}")
    values = []
    for index, element in enumerate(written):
        try:
            values.append(to_value(item, element, name))
        except Mismatch as mismatch:
            raise Mismatch(
                mismatch.expected, at=f"[{index}]{mismatch.at}", value=element, hint=mismatch.hint
            ) from None
    return values if typing.get_origin(hint) is list else tuple(values)


def _to_mapping(arguments: tuple[Any, ...], written: Any, name: str) -> dict[str, Any]:
    if not isinstance(written, Mapping):
        raise Mismatch("a table")
    values = {}
    for key, element in written.items():
        try:
            values[str(key)] = to_value(arguments[1], element, name)
        except Mismatch as mismatch:
            raise Mismatch(mismatch.expected, at=f".{key}{mismatch.at}", value=element) from None
    return values


def _to_choice(written: Any, choices: Sequence[Any]) -> Any:
    if written in choices and not isinstance(written, bool):
        return written
    wanted = ", ".join(repr(choice) for choice in choices)
    texts = [choice for choice in choices if isinstance(choice, str)]
    guess = nearest(written, texts) if isinstance(written, str) else None
    raise Mismatch(f"one of {wanted}", hint=f"did you mean {guess!r}?" if guess else "")


def _to_first(members: Sequence[Any], written: Any, name: str) -> Any:
    if written is None and type(None) in members:
        return None
    wanted = []
    for member in members:
        if member is type(None):
            continue
        try:
            return to_value(member, written, name)
        except Mismatch as mismatch:
            wanted.append(mismatch.expected)
    raise Mismatch(" or ".join(wanted))


def _to_bool(written: Any, name: str) -> bool:
    if isinstance(written, bool):
        return written
    raise Mismatch("true or false")


def _to_int(written: Any, name: str) -> int:
    if isinstance(written, bool) or not isinstance(written, int):
        raise Mismatch(expectation(int, name))
    low, high = _bounds(name)
    if not low <= written <= high:
        raise Mismatch(expectation(int, name))
    return written


def _to_float(written: Any, name: str) -> float:
    if isinstance(written, bool) or not isinstance(written, int | float):
        raise Mismatch(expectation(float, name))
    if not math.isfinite(written) or not _bounds(name)[0] <= written:
        raise Mismatch(expectation(float, name))
    return float(written)


def _to_str(written: Any, name: str) -> str:
    if isinstance(written, str):
        return written
    raise Mismatch("text")


def _to_path(written: Any, name: str) -> Path:
    if isinstance(written, str) and written:
        return Path(written)
    raise Mismatch("a path")


def expectation(hint: Any, name: str) -> str:
    """Return what a key of this type and name takes, to complete "expected …"."""
    inner, _ = optional_of(hint)
    if inner is int and PORT.search(name):
        return "a port, 0 to 65535"
    if inner is int:
        return "a whole number, 0 or more"
    if inner is float:
        return "a number, 0 or more"
    item = item_of(inner)
    if item is not None:
        return f"a list of {expectation(item, name)}"
    if isinstance(inner, type) and inner in NAMES:
        return NAMES[inner]
    return "a table"


def _bounds(name: str) -> tuple[float, float]:
    if PORT.search(name):
        return 0, 65_535
    return 0, math.inf  # Every number here counts, measures or names something: none is negative.


SCALARS: dict[Any, Callable[[Any, str], Any]] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_str,
    Path: _to_path,
}

NAMES: dict[type, str] = {bool: "true or false", str: "text", Path: "a path"}
