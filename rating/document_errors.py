"""What is wrong with a document that people wrote: field, value, and what was expected.

msgspec and the checks of a record (`__post_init__`) say what they do not like in a sentence that
ends with a path; here it becomes a fault that names the field as it stands in the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec.inspect as types

_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_PART = re.compile(r"\.?([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]")
_NAMED = re.compile(r"(?P<field>[a-z_]\w*(?:\[\d+\]|\.[A-Za-z_]\w*)*): (?P<expected>.+)", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(?P<name>[^`]*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_NOTHING = object()


class DocumentError(ValueError):
    """What is wrong with a document: field (a path), value, and what was expected, in words.

    value is "" where there is none to show: a field is missing, or the text cannot be read at all.
    """

    def __init__(self, field: str, value: str, expected: str) -> None:
        """Keep the three, which together are the message."""
        shown = f" = {value}" if value else ""
        super().__init__(f"{field}{shown}: {expected}" if field else expected)
        self.field = field
        self.value = value
        self.expected = expected


def fault_of(message: str, document: Mapping[str, Any], root: types.Type) -> DocumentError:
    """Return the fault that a message means in a document that should be a root."""
    at = _AT.search(message)
    words = message[: at.start()] if at else message
    path = _parts(at["path"]) if at else []
    if found := _MISSING.fullmatch(words):
        return DocumentError(
            _text_of([*path, found["name"]]), "", "expected this field, which is missing"
        )
    if found := _UNKNOWN.fullmatch(words):
        place = [*path, found["name"]]
        known = ", ".join(_fields(path, document, root))
        return _fault(place, document, f"unknown; expected one of the fields {known}")
    if found := _NAMED.fullmatch(words):
        return _fault([*path, *_parts(found["field"])], document, _expected(found["expected"]))
    choices = _choices(path, document, root)
    if choices and words.startswith("Invalid"):
        words = f"expected one of {', '.join(choices)}"
    return _fault(path, document, _expected(words))


def _expected(words: str) -> str:
    """Return what was expected in the words of a message, without what was got instead."""
    words = words.replace("`", "").replace("Expected ", "expected ")
    return re.sub(r",? got .*$", "", words, flags=re.DOTALL)


def _fault(path: Sequence[str | int], document: Mapping[str, Any], expected: str) -> DocumentError:
    value = _value_at(path, document)
    shown = "" if value is _NOTHING else json.dumps(value, default=str, ensure_ascii=False)
    return DocumentError(_text_of(path), shown if len(shown) <= 80 else f"{shown[:79]}…", expected)


def _parts(path: str) -> list[str | int]:
    """Return ``.meters[0].curve`` as parts; what msgspec leaves open (``[...]``) ends them."""
    parts: list[str | int] = []
    for name, index in _PART.findall(path):
        if index == "...":
            break
        parts.append(name or int(index))
    return parts


def _text_of(path: Sequence[str | int]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _value_at(path: Sequence[str | int], document: Any) -> Any:
    node = document
    for part in path:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return _NOTHING
    return node


def _type_at(path: Sequence[str | int], document: Any, root: types.Type) -> types.Type | None:
    """Return which type a path leads to, None where it leads to none."""
    kind, node = root, document
    for part in path:
        kind = struct_in(kind, node)
        if isinstance(kind, types.StructType):
            found = next((field.type for field in kind.fields if field.name == part), None)
            if found is None:
                return None
            kind = found
        elif isinstance(kind, types.VarTupleType):
            kind = kind.item_type
        elif isinstance(kind, types.DictType):
            kind = kind.value_type
        else:
            return None
        node = _value_at([part], node)
    return struct_in(kind, node)


def _fields(path: Sequence[str | int], document: Mapping[str, Any], root: types.Type) -> list[str]:
    kind = _type_at(path, document, root)
    if not isinstance(kind, types.StructType):
        return []
    tag = [kind.tag_field] if kind.tag_field else []
    return [*tag, *(field.name for field in kind.fields)]


def _choices(path: Sequence[str | int], document: Mapping[str, Any], root: types.Type) -> list[str]:
    """Return what may stand at a path where that is one of a few words."""
    kind = _type_at(path, document, root)
    members = kind.types if isinstance(kind, types.UnionType) else (kind,)
    choices = [str(v) for one in members if isinstance(one, types.LiteralType) for v in one.values]
    if choices or not path:
        return choices
    owner = _type_at(path[:-1], document, root)
    tagged = owner.types if isinstance(owner, types.UnionType) else ()
    return [
        str(one.tag)
        for one in tagged
        if isinstance(one, types.StructType) and one.tag_field == path[-1]
    ]


def struct_in(kind: types.Type, node: object) -> types.Type:
    """Return the one of a union's types that a document's node is meant to be; else the type.

    A record in a union is told by its tag; without tags there is one besides null.
    """
    if not isinstance(kind, types.UnionType):
        return kind
    structs = [one for one in kind.types if isinstance(one, types.StructType)]
    if isinstance(node, Mapping):
        for one in structs:
            if one.tag_field and node.get(one.tag_field) == one.tag:
                return one
    others = [one for one in kind.types if not isinstance(one, types.NoneType)]
    return others[0] if len(others) == 1 else kind
