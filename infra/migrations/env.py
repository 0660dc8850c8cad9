"""Alembic's environment: runs on the connection that `infra.migrate` hands it."""

from __future__ import annotations

from alembic import context

from billing.adapters.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
