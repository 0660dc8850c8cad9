"""Commands on API keys: issue, revoke."""

from __future__ import annotations

from api.keys import Principal, issue_key, revoke_key
from api.models.keys import ApiKey, ApiKeyCreate, IssuedApiKey
from api.reads.keys import get_key
from api.writes.transaction import CommandTransaction


def create_key(transaction: CommandTransaction, body: ApiKeyCreate) -> IssuedApiKey:
    """Issue a key of the caller's branch, or of the one that the body names."""
    connection, services = transaction.connection, transaction.services
    branch_id = transaction.branch_of(body.branch_id).branch_id
    principal = Principal(services.new_id("key"), body.name, branch_id)
    issued = issue_key(
        connection, principal, created_at=transaction.now_at, new_token=services.new_token
    )
    transaction.counted["api_keys_issued_total"] = 1
    key = get_key(connection, branch_id, issued.key_id)
    return IssuedApiKey(**dict(key), token=issued.token)


def delete_key(transaction: CommandTransaction, key_id: str) -> ApiKey:
    """Revoke a key; one that was revoked before stays as it is."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    key = get_key(connection, branch_id, key_id)
    if key.revoked_at is None:
        revoke_key(connection, key_id, revoked_at=transaction.now_at)
        transaction.counted["api_keys_revoked_total"] = 1
    return get_key(connection, branch_id, key_id)
