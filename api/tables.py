"""The tables that only the API knows: POSTs already answered, and account events it has sent."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text

metadata = MetaData()

api_request = Table(
    "api_request",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("idempotency_key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("status", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("ix_api_request_created_at", "created_at"),
)
"""The answer that was committed together with what the request did."""

account_event_sent = Table(
    "account_event_sent",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("branch_id", Text, nullable=False),
    Column("sent_at", BigInteger, nullable=False),
)
"""Whose an account event is, from the command that sent it; rate's answer comes later."""
