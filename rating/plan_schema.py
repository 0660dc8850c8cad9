"""The JSON Schema of plan documents, derived from the records that `rating.plans` reads into.

The published copy is `docs/plan.schema.json`. A document in TOML has the same shape; as TOML knows
no null, a last tier may leave `up_to` out.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec.inspect as types

from rating.curves.tiers import Tier
from rating.money import format_amount
from rating.plans import Plan

DIALECT = "https://json-schema.org/draft/2020-12/schema"

AMOUNT_SCHEMA: Mapping[str, Any] = {
    "type": "string",
    "pattern": r"^-?[0-9]{1,18}(\.[0-9]{1,18})?$",
    "description": 'An exact decimal as text, such as "12.50".',
}

OPTIONAL = {(Plan, "version"), (Tier, "up_to")}
"""Fields that a document may leave out, though the record has them: 1 and null."""


def plan_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a plan document."""
    schemas: dict[str, Any] = {}
    _schema_of(plan_type(), schemas)
    plan = schemas.pop("Plan")
    head = {"$schema": DIALECT, "title": "A rate plan of Flowrate"}
    return {**head, **plan, "$defs": {name: schemas[name] for name in sorted(schemas)}}


@functools.cache
def plan_type() -> types.Type:
    """Return what msgspec knows of the record of a plan."""
    return types.type_info(Plan)


def _schema_of(kind: types.Type, schemas: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; those of records go into schemas and are referred to."""
    if isinstance(kind, types.StructType):
        name = kind.cls.__name__
        if name not in schemas:
            schemas[name] = {}  # Holds the place while a record that refers to itself is read.
            schemas[name] = _struct_schema(kind, schemas)
        return {"$ref": f"#/$defs/{name}"}
    if isinstance(kind, types.UnionType):
        return {"anyOf": [_schema_of(one, schemas) for one in kind.types]}
    if isinstance(kind, types.VarTupleType):
        return {"type": "array", "items": _schema_of(kind.item_type, schemas)}
    if isinstance(kind, types.TupleType):
        items = [_schema_of(one, schemas) for one in kind.item_types]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "items": False}
    if isinstance(kind, types.DictType):
        values = _schema_of(kind.value_type, schemas)
        return {"type": "object", "additionalProperties": values}
    return _scalar_schema(kind)


def _scalar_schema(kind: types.Type) -> dict[str, Any]:
    if isinstance(kind, types.CustomType) and kind.cls is Fraction:
        return dict(AMOUNT_SCHEMA)
    if isinstance(kind, types.LiteralType):
        return {"enum": list(kind.values)}
    for known, name in (
        (types.IntType, "integer"),
        (types.StrType, "string"),
        (types.BoolType, "boolean"),
        (types.NoneType, "null"),
    ):
        if isinstance(kind, known):
            return {"type": name}
    raise TypeError(f"no schema for {kind!r}")


def _struct_schema(kind: types.StructType, schemas: dict[str, Any]) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    if kind.tag_field:
        properties[kind.tag_field] = {"const": kind.tag}
        required.append(kind.tag_field)
    for field in kind.fields:
        schema = _schema_of(field.type, schemas)
        if field.required and (kind.cls, field.name) not in OPTIONAL:
            required.append(field.name)
        elif isinstance(field.default, str | int | bool | Fraction):
            schema["default"] = _plain(field.default)
        properties[field.name] = schema
    return {
        "type": "object",
        "description": " ".join((inspect.getdoc(kind.cls) or "").split()),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _plain(value: object) -> object:
    return format_amount(value) if isinstance(value, Fraction) else value
