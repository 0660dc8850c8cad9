"""API keys: who is calling, and which branch the key reaches.

Only a SHA-256 of a key is stored: a key is 256 random bits, so there is nothing to guess that a
slow hash would protect.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
from collections.abc import Callable

from sqlalchemy import ColumnElement, Connection, insert, select, update

from api.problems import Problem
from billing.adapters import tables

TOKEN_OCTETS = 32
TOKEN_PREFIX = "frk_"
"""So that a leaked key can be found by a secret scanner."""


@dataclasses.dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: an API key. branch_id None reaches every branch."""

    key_id: str
    name: str
    branch_id: str | None


OPERATOR = Principal("operator", "Operator", None)
"""Who holds the installation's own key (`secrets` in the data directory)."""


@dataclasses.dataclass(frozen=True, slots=True)
class IssuedKey:
    """A fresh key; `token` is shown to its owner now and never again."""

    key_id: str
    token: str


def hash_of(token: str) -> str:
    """Return the hex SHA-256 under which a key is stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def issue_key(
    connection: Connection,
    principal: Principal,
    *,
    created_at: int,
    new_token: Callable[[int], bytes],
) -> IssuedKey:
    """Store a new key with the principal's id, name and branch, and return its token.

    ValueError where the principal has no branch: the one key that reaches all is not a row.
    """
    if principal.branch_id is None:
        raise ValueError(f"key {principal.key_id} needs a branch")
    random = base64.urlsafe_b64encode(new_token(TOKEN_OCTETS)).decode().rstrip("=")
    token = TOKEN_PREFIX + random
    row = {
        "key_id": principal.key_id,
        "branch_id": principal.branch_id,
        "hash": hash_of(token),
        "name": principal.name,
        "created_at": created_at,
    }
    connection.execute(insert(tables.api_key).values(row))
    return IssuedKey(principal.key_id, token)


def revoke_key(connection: Connection, key_id: str, *, revoked_at: int) -> None:
    """End a key at once; sessions of the pages that it opened end with it."""
    key = tables.api_key
    statement = update(key).where(key.c.key_id == key_id, key.c.revoked_at.is_(None))
    connection.execute(statement.values(revoked_at=revoked_at))


def find_principal(
    connection: Connection, token: str, *, operator_token: str = ""
) -> Principal | None:
    """Return whose key this is, or None where it is unknown or revoked.

    operator_token is the installation's own key; empty means that there is none.
    """
    if operator_token and hmac.compare_digest(token.encode(), operator_token.encode()):
        return OPERATOR
    return _principal(connection, tables.api_key.c.hash == hash_of(token))


def principal_of_key(connection: Connection, key_id: str) -> Principal | None:
    """Return the principal of a key that was checked before (a page's session)."""
    if key_id == OPERATOR.key_id:
        return OPERATOR
    return _principal(connection, tables.api_key.c.key_id == key_id)


def _principal(connection: Connection, condition: ColumnElement[bool]) -> Principal | None:
    key = tables.api_key
    statement = select(key.c.key_id, key.c.name, key.c.branch_id).where(
        condition, key.c.revoked_at.is_(None)
    )
    row = connection.execute(statement).one_or_none()
    return Principal(row.key_id, row.name, row.branch_id) if row else None


def branch_for(principal: Principal, branch_id: str | None) -> str:
    """Return the branch of something new: the key's own, or the one that is named.

    Raises a Problem: 403 where the key belongs to another branch, 422 where none is named.
    """
    if principal.branch_id is None:
        if branch_id is None:
            error = {"pointer": "#/branch_id", "value": None, "expected": "a branch_id"}
            raise Problem("invalid-request", "This key has no branch: name one.", [error])
        return branch_id
    if branch_id not in (None, principal.branch_id):
        raise Problem("forbidden", f"This key belongs to branch {principal.branch_id!r}.")
    return principal.branch_id
