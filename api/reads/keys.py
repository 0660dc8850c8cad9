"""The keys of branches, without what they open."""

from __future__ import annotations

from sqlalchemy import Connection, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.keys import ApiKey
from api.problems import not_found
from api.reads.parties import scoped
from billing.adapters import tables

_KEY = [tables.api_key.c[name] for name in ApiKey.model_fields]


def list_keys(connection: Connection, branch_id: str | None, paging: Paging) -> Slice[ApiKey]:
    """Return the keys in reach, revoked ones too, by id."""
    statement = scoped(select(*_KEY), tables.api_key, branch_id)
    rows = connection.execute(paged(statement, [tables.api_key.c.key_id], paging, [str]))
    keys = [ApiKey(**row._mapping) for row in rows]
    return slice_of(keys, paging, lambda key: [key.key_id])


def get_key(connection: Connection, branch_id: str | None, key_id: str) -> ApiKey:
    """Return one key, or raise a 404 Problem."""
    statement = select(*_KEY).where(tables.api_key.c.key_id == key_id)
    row = connection.execute(scoped(statement, tables.api_key, branch_id)).one_or_none()
    if row is None:
        raise not_found("API key", key_id)
    return ApiKey(**row._mapping)
