"""Posts money that ended in a bucket: what rate says is final is on the ledger once."""

from __future__ import annotations

from sqlalchemy import Engine, and_, select

from billing.adapters import ledger, tables
from billing.adapters.databases import reading, writing
from billing.adapters.usage_postings import find_owners
from billing.balance_postings import BUCKET_EXPIRED, expired_transaction


def post_expiries(engine: Engine, limit: int, now_ms: int) -> int:
    """Post at most `limit` buckets of money that ended with something left; return how many.

    Found anew at each call by their keys on the ledger, so a repeat posts nothing.
    """
    bucket, posted = tables.balance_bucket.c, tables.ledger_transaction.c
    key = bucket.rating_key + "/" + bucket.bucket_id
    is_posted = (
        select(posted.transaction_id)
        .where(posted.source == BUCKET_EXPIRED, posted.idempotency_key == key)
        .exists()
    )
    query = (
        select(
            bucket.rating_key,
            bucket.bucket_id,
            bucket.expired,
            bucket.valid_until_at,
            tables.balance.c.currency,
        )
        .join_from(
            tables.balance_bucket,
            tables.balance,
            and_(tables.balance.c.rating_key == bucket.rating_key),
        )
        .where(bucket.is_final.is_(True), bucket.unit == "money", bucket.expired > 0, ~is_posted)
        .order_by(bucket.valid_until_at, bucket.rating_key, bucket.bucket_id)
        .limit(limit)
    )
    with reading(engine) as connection:
        ended = connection.execute(query).all()
    if not ended:
        return 0
    with writing(engine) as connection:
        owners = find_owners(connection, {row.rating_key for row in ended})
        postings = []
        for row in ended:
            if row.rating_key in owners:
                account, branch = owners[row.rating_key]
                sold = (branch.branch_id, account.account_id, row.currency)
                posting = expired_transaction(
                    sold, row.rating_key, row.bucket_id, row.expired, row.valid_until_at
                )
                postings.append(posting)
        return ledger.post(connection, postings, now_ms)
