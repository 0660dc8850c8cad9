"""Tables of products and of the services that customers have of them."""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, Index, Table

from billing.adapters.columns import metadata, record_columns
from billing.services import Hold, Product, Service

product = Table(
    "product",
    metadata,
    *record_columns(Product, ("product_id", "version")),
    ForeignKeyConstraint(["branch_id"], ["branch.branch_id"]),
    Index(None, "branch_id", "product_id"),
)
"""`billing.services.Product`; a version never changes."""

service = Table(
    "service",
    metadata,
    *record_columns(Service, ("service_id",)),
    ForeignKeyConstraint(["branch_id"], ["branch.branch_id"]),
    ForeignKeyConstraint(["account_id"], ["account.account_id"]),
    ForeignKeyConstraint(
        ["product_id", "product_version"], ["product.product_id", "product.version"]
    ),
    Index(None, "account_id"),
    Index(None, "branch_id", "service_id"),
)
"""`billing.services.Service`; ends_at is null while it runs."""

hold = Table(
    "hold",
    metadata,
    *record_columns(Hold, ("hold_id",)),
    ForeignKeyConstraint(["branch_id"], ["branch.branch_id"]),
    ForeignKeyConstraint(["account_id"], ["account.account_id"]),
    Index(None, "account_id"),
)
"""`billing.services.Hold`; ends_at is null while it lasts."""
