"""Buckets of balances as rating shows them."""

from __future__ import annotations

from sqlalchemy import Connection, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.balances import Bucket
from billing.adapters import tables


def list_buckets(connection: Connection, rating_key: str, paging: Paging) -> Slice[Bucket]:
    """Return a rating key's buckets by id, ended ones too."""
    bucket = tables.balance_bucket
    statement = select(bucket).where(bucket.c.rating_key == rating_key)
    rows = connection.execute(paged(statement, [bucket.c.bucket_id], paging, [str]))
    return slice_of([Bucket(**row._mapping) for row in rows], paging, lambda b: [b.bucket_id])
