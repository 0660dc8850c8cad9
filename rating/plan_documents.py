"""Plans as people write them: a document in TOML or JSON becomes a `Plan`, or a named fault.

TOML and JSON have the same shape (`rating.plan_schema`). Two things may be left out that the
record has: the version, which is 1 unless the database gives another, and the open end of the last
tier, because TOML knows no null.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any, Literal

from rating.document_errors import DocumentError, fault_of
from rating.plan_schema import plan_type
from rating.plans import Plan, PlanError, plan_from

Format = Literal["toml", "json"]


def read_document(text: str, form: Format) -> dict[str, Any]:
    """Return the members of a TOML or JSON text; DocumentError says where it cannot be read."""
    try:
        members = tomllib.loads(text) if form == "toml" else json.loads(text)
    except ValueError as error:
        raise DocumentError("", "", f"the text is not {form.upper()}: {error}") from None
    if not isinstance(members, dict):
        raise DocumentError("", "", "expected an object with the plan's members")
    return members


def plan_of_text(text: str, form: Format) -> Plan:
    """Return the plan of a TOML or JSON text; DocumentError names the field that is wrong."""
    return plan_of_document(read_document(text, form))


def plan_of_document(document: Mapping[str, Any]) -> Plan:
    """Return the plan of a document's members; DocumentError as `plan_of_text`."""
    whole = {"version": 1, **_with_open_tiers(document)}
    try:
        return plan_from(whole)
    except PlanError as error:
        raise fault_of(str(error), whole, plan_type()) from None


def _with_open_tiers(node: Any) -> Any:
    """Return a document whose last tiers say that they are open where they say nothing."""
    if isinstance(node, Mapping):
        opened = {name: _with_open_tiers(value) for name, value in node.items()}
        tiers = opened.get("tiers")
        if isinstance(tiers, list) and tiers and isinstance(tiers[-1], dict):
            opened["tiers"] = [*tiers[:-1], {"up_to": None, **tiers[-1]}]
        return opened
    return [_with_open_tiers(value) for value in node] if isinstance(node, list) else node
