"""Takes the money of refused top-ups and boosters off the ledger.

The web process posts a top-up with the account event that it sends, in one transaction: from then
on the till holds the money and we owe it. Rating may refuse the event later, so the office looks
for refused top-ups that still stand and reverses each once (docs/decisions/0307).
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, Row, and_, select

from billing.adapters import ledger, tables
from billing.adapters.databases import reading, writing
from billing.balance_postings import REFUSALS, refused_transaction


def reverse_refused_topups(engine: Engine, limit: int, now_ms: int) -> int:
    """Reverse at most `limit` refused top-ups that stand on the ledger; return how many.

    Found anew at each call and reversed under the event's id: a process that dies before, between
    or behind any two steps leaves nothing undone and nothing done twice.
    """
    with reading(engine) as connection:
        found = _standing_refused(connection, limit)
    if not found:
        return 0
    with writing(engine) as connection:
        posted = ledger.find_transactions(connection, [row.transaction_id for row in found])
        answers = {row.event_id: row for row in found}
        reversals = [
            refused_transaction(
                transaction,
                answers[transaction.idempotency_key].reason,
                answers[transaction.idempotency_key].decided_at,
            )
            for transaction in posted
        ]
        return ledger.post(connection, reversals, now_ms)


def _standing_refused(connection: Connection, limit: int) -> list[Row[tuple[str, str, str, int]]]:
    """Return (transaction_id, event_id, reason, decided_at) of refused top-ups not reversed yet."""
    result, posted = tables.account_event_result.c, tables.ledger_transaction.c
    reversal = tables.ledger_transaction.alias("reversal").c
    query = (
        select(posted.transaction_id, result.event_id, result.reason, result.decided_at)
        .join_from(
            tables.account_event_result,
            tables.ledger_transaction,
            and_(posted.source.in_(REFUSALS), posted.idempotency_key == result.event_id),
        )
        .where(
            result.outcome == "refused",
            ~select(reversal.transaction_id)
            .where(
                reversal.source.in_(REFUSALS.values()),
                reversal.idempotency_key == result.event_id,
            )
            .exists(),
        )
        .order_by(result.decided_at, result.event_id)
        .limit(limit)
    )
    return list(connection.execute(query))
