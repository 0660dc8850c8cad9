"""One way to write a document as text, so that equal documents have equal hashes."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """Return JSON with sorted keys, no spaces and unescaped Unicode.

    Floats are refused (ValueError): no two machines need agree on how to write one.
    """
    _refuse_floats(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def content_hash(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(value).encode("utf-8")).hexdigest()


def _refuse_floats(value: Any) -> None:
    """Raise ValueError where a float hides anywhere inside lists and mappings."""
    if isinstance(value, float):
        raise ValueError(f"a document holds the float {value!r}; use an int or a string")
    if isinstance(value, dict):
        for member in value.values():
            _refuse_floats(member)
    elif isinstance(value, (list, tuple)):
        for member in value:
            _refuse_floats(member)
