"""The audit log as the API shows it."""

from __future__ import annotations

from typing import Any

from api.instants import Instant
from api.models.values import Model, example

_CHANGE = {
    "table": "account",
    "key": {"account_id": "acc_01J9Z1"},
    "before": {"phone": "+8801700000000"},
    "after": {"phone": "+8801711111111"},
}


class AuditChange(Model):
    """One row that a command changed: before is null where it was made, after where it went."""

    model_config = example(_CHANGE)

    table: str
    key: dict[str, Any]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class AuditEntry(Model):
    """What one command changed, and who gave it; secrets are hidden. `hash` chains the entries."""

    model_config = example(
        {
            "number": 4711,
            "occurred_at": "2026-12-03T08:12:40Z",
            "actor_id": "key-dhanmondi",
            "actor_name": "Front desk",
            "branch_id": "dhanmondi",
            "action": "PATCH /v1/accounts/acc_01J9Z1",
            "changes": [_CHANGE],
            "hash": "9f2c4a0e6d1b8f3a5c7e9d0b2a4c6e8f1a3c5e7d9b0f2a4c6e8d0b1f3a5c7e9d",
        }
    )

    number: int
    occurred_at: Instant
    actor_id: str
    actor_name: str
    branch_id: str
    action: str
    changes: list[AuditChange]
    hash: str
