"""Tables of the audit log, and the recorded heads of all hash chains."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table

from billing.adapters.columns import key_column, metadata, number_column, text_column

audit_entry = Table(
    "audit_entry",
    metadata,
    Column("chain_number", BigInteger, primary_key=True, autoincrement=False),
    number_column("occurred_at"),
    text_column("actor_id"),
    text_column("actor_name"),
    text_column("branch_id"),
    text_column("action"),
    text_column("changes"),
    text_column("chain_hash"),
    Index(None, "branch_id", "chain_number"),
)
"""One command's changes (`billing.audit.AuditEntry`), never changed; written in its transaction."""

chain_head = Table(
    "chain_head",
    metadata,
    key_column("chain"),
    number_column("number"),
    text_column("hash"),
)
"""The last link of each hash chain (``audit``, ``ledger/<branch>``), moved with each row that is
appended: rows cut off a chain's end would leave it whole otherwise."""
