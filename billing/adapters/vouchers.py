"""Vouchers in the database. Each call is part of a transaction that holds the turn `commands`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, func, insert, select, update

from billing.adapters import ledger, tables
from billing.adapters.databases import upsert
from billing.adapters.voucher_tables import voucher, voucher_attempt, voucher_batch
from billing.vouchers import (
    Batch,
    Voucher,
    hash_of_code,
    redeemed,
    redemption_transaction,
    sale_transaction,
)

_ROWS_PER_INSERT = 1_000
_RESULT = tables.account_event_result.c
_IS_REFUSED = exists().where(_RESULT.event_id == voucher.c.event_id, _RESULT.outcome == "refused")


def create_batch(connection: Connection, batch: Batch, codes: Sequence[str]) -> None:
    """Store a batch and the hashes of its codes, numbered from 1 in their order."""
    connection.execute(insert(voucher_batch).values(dataclasses.asdict(batch)))
    rows = [
        {"code_hash": hash_of_code(code), "batch_id": batch.batch_id, "serial": serial}
        for serial, code in enumerate(codes, 1)
    ]
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        connection.execute(insert(voucher), rows[start : start + _ROWS_PER_INSERT])


def find_batch(connection: Connection, batch_id: str) -> Batch | None:
    """Return a batch, None where there is none."""
    statement = select(voucher_batch).where(voucher_batch.c.batch_id == batch_id)
    row = connection.execute(statement).one_or_none()
    return Batch(**row._mapping) if row else None


def find_voucher(connection: Connection, code: str) -> Voucher | None:
    """Return the voucher of a code, its row locked until the commit; None where there is none."""
    statement = select_vouchers().where(voucher.c.code_hash == hash_of_code(code))
    return next(iter(read_vouchers(connection, statement.with_for_update(of=voucher))), None)


def find_serial(connection: Connection, batch_id: str, serial: int) -> Voucher | None:
    """Return a voucher by its batch and number, None where there is none."""
    statement = select_vouchers().where(voucher.c.batch_id == batch_id, voucher.c.serial == serial)
    return next(iter(read_vouchers(connection, statement)), None)


def redeem(
    connection: Connection, found: Voucher, rating_key: str, account_id: str, now_ms: int
) -> Voucher | None:
    """Mark a voucher redeemed and post its money; None where somebody else was faster.

    The caller has seen that nothing refuses it, and sends the account event of the answer.
    """
    done = redeemed(found, rating_key, now_ms)
    statement = (
        update(voucher)
        .where(
            voucher.c.code_hash == found.code_hash,
            voucher.c.redemptions == found.redemptions,
            voucher.c.voided_at.is_(None),
        )
        .values(
            redeemed_at=now_ms,
            rating_key=rating_key,
            redemptions=done.redemptions,
            event_id=done.event_id,
        )
    )
    if connection.execute(statement).rowcount != 1:
        return None
    ledger.post(connection, [redemption_transaction(done, account_id, now_ms)], now_ms)
    return done


def sell_batch(connection: Connection, batch: Batch, paid_minor: int, now_ms: int) -> bool:
    """Post a batch's sale once; False where it was sold before."""
    statement = (
        update(voucher_batch)
        .where(voucher_batch.c.batch_id == batch.batch_id, voucher_batch.c.sold_at.is_(None))
        .values(sold_at=now_ms)
    )
    if connection.execute(statement).rowcount != 1:
        return False
    ledger.post(connection, [sale_transaction(batch, paid_minor, now_ms)], now_ms)
    return True


def void_batch(connection: Connection, batch_id: str, now_ms: int) -> bool:
    """Void what is left of a batch; False where that was done before."""
    statement = (
        update(voucher_batch)
        .where(voucher_batch.c.batch_id == batch_id, voucher_batch.c.voided_at.is_(None))
        .values(voided_at=now_ms)
    )
    return connection.execute(statement).rowcount == 1


def void_voucher(connection: Connection, batch_id: str, serial: int, now_ms: int) -> bool:
    """Void one voucher; False where it was void before. The caller has seen that it has worth."""
    statement = (
        update(voucher)
        .where(
            voucher.c.batch_id == batch_id,
            voucher.c.serial == serial,
            voucher.c.voided_at.is_(None),
        )
        .values(voided_at=now_ms)
    )
    return connection.execute(statement).rowcount == 1


def failures_of(connection: Connection, rating_key: str, window_at: int) -> int:
    """Return how many codes that were none have come for a rating key in a stretch of time."""
    attempt = voucher_attempt.c
    statement = select(attempt.failures).where(
        attempt.rating_key == rating_key, attempt.window_at == window_at
    )
    return connection.scalar(statement) or 0


def add_failure(connection: Connection, rating_key: str, window_at: int) -> None:
    """Count a code that was none; earlier stretches of time are forgotten."""
    failures = failures_of(connection, rating_key, window_at) + 1
    connection.execute(delete(voucher_attempt).where(voucher_attempt.c.window_at < window_at))
    row = {"rating_key": rating_key, "window_at": window_at, "failures": failures}
    statement = upsert(connection, voucher_attempt).values(row)
    keys = [voucher_attempt.c.rating_key, voucher_attempt.c.window_at]
    connection.execute(
        statement.on_conflict_do_update(index_elements=keys, set_={"failures": failures})
    )


def redeemed_counts(connection: Connection, batch_ids: Sequence[str]) -> dict[str, int]:
    """Return how many vouchers of each batch are redeemed, those that rating refused left out."""
    counts = dict.fromkeys(batch_ids, 0)
    statement = (
        select(voucher.c.batch_id, func.count())
        .where(voucher.c.batch_id.in_(batch_ids), voucher.c.redeemed_at.is_not(None), ~_IS_REFUSED)
        .group_by(voucher.c.batch_id)
    )
    for batch_id, count in connection.execute(statement):
        counts[batch_id] = count
    return counts


def select_vouchers() -> Select[Any]:
    """Return the statement of vouchers beside their batches and what rating answered."""
    return select(voucher, _IS_REFUSED.label("is_refused"))


def read_vouchers(connection: Connection, statement: Select[Any]) -> list[Voucher]:
    """Return the vouchers of a statement that `select_vouchers` began."""
    rows = connection.execute(statement).all()
    batches: dict[str, Batch] = {}
    for batch_id in {row.batch_id for row in rows}:
        batch = find_batch(connection, batch_id)
        assert batch is not None, "a voucher references its batch"
        batches[batch_id] = batch
    return [
        Voucher(
            row.code_hash,
            batches[row.batch_id],
            row.serial,
            row.voided_at,
            row.redeemed_at,
            row.rating_key,
            row.redemptions,
            row.event_id,
            bool(row.is_refused),
        )
        for row in rows
    ]
