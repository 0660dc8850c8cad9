"""API keys of branches."""

from __future__ import annotations

from api.instants import Instant
from api.models.values import Identity, Model, Text, example

_KEY = {
    "key_id": "key_01J9ZB",
    "branch_id": "dhanmondi",
    "name": "Front desk",
    "created_at": "2026-11-21T10:15:02Z",
    "revoked_at": None,
}


class ApiKeyCreate(Model):
    """A key of a branch; branch_id may be left out by a key that has a branch itself."""

    model_config = example({"name": "Front desk", "branch_id": "dhanmondi"})

    name: Text
    branch_id: Identity | None = None


class ApiKey(Model):
    """A key without its secret, which is not kept. It reaches its branch and no other."""

    model_config = example(_KEY)

    key_id: str
    branch_id: str
    name: str
    created_at: Instant
    revoked_at: Instant | None = None


class IssuedApiKey(ApiKey):
    """A fresh key. `token` is shown now and never again: null in a repeated answer."""

    model_config = example({**_KEY, "token": "frk_3q2-7w0Z…"})

    token: str | None
