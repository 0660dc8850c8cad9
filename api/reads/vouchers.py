"""Batches of vouchers and their vouchers, without codes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.values import Money
from api.models.vouchers import Voucher, VoucherBatch
from api.problems import not_found
from api.reads.parties import scoped
from billing.adapters import vouchers
from billing.adapters.voucher_tables import voucher, voucher_batch
from billing.vouchers import Batch, state_of


def list_batches(
    connection: Connection, branch_id: str | None, paging: Paging
) -> Slice[VoucherBatch]:
    """Return the batches in reach, by id."""
    statement = scoped(select(voucher_batch), voucher_batch, branch_id)
    rows = connection.execute(paged(statement, [voucher_batch.c.batch_id], paging, [str])).all()
    counts = vouchers.redeemed_counts(connection, [row.batch_id for row in rows])
    batches = [shown(Batch(**row._mapping), counts[row.batch_id]) for row in rows]
    return slice_of(batches, paging, lambda batch: [batch.batch_id])


def find_batch(connection: Connection, branch_id: str | None, batch_id: str) -> Batch:
    """Return one batch, or raise a 404 Problem."""
    batch = vouchers.find_batch(connection, batch_id)
    if batch is None or branch_id not in (None, batch.branch_id):
        raise not_found("voucher batch", batch_id)
    return batch


def get_batch(connection: Connection, branch_id: str | None, batch_id: str) -> VoucherBatch:
    """Return one batch as the API shows it, or raise a 404 Problem."""
    batch = find_batch(connection, branch_id, batch_id)
    return shown(batch, vouchers.redeemed_counts(connection, [batch_id])[batch_id])


def list_vouchers(
    connection: Connection, branch_id: str | None, batch_id: str, paging: Paging, now_ms: int
) -> Slice[Voucher]:
    """Return the vouchers of a batch by serial number."""
    find_batch(connection, branch_id, batch_id)
    statement = vouchers.select_vouchers().where(voucher.c.batch_id == batch_id)
    found = vouchers.read_vouchers(connection, paged(statement, [voucher.c.serial], paging, [int]))
    items = [
        Voucher(
            batch_id=one.batch.batch_id,
            serial=one.serial,
            state=state_of(one, now_ms),
            rating_key=one.rating_key,
            redeemed_at=one.redeemed_at,
        )
        for one in found
    ]
    return slice_of(items, paging, lambda item: [item.serial])


def shown(batch: Batch, redeemed: int) -> VoucherBatch:
    """Return a batch as the API shows it."""
    return VoucherBatch(**shown_members(batch, redeemed))


def shown_members(batch: Batch, redeemed: int) -> dict[str, Any]:
    """Return the members of `VoucherBatch`."""
    return {
        "batch_id": batch.batch_id,
        "branch_id": batch.branch_id,
        "name": batch.name,
        "amount": Money.of(batch.amount_minor, batch.currency),
        "quantity": batch.quantity,
        "redeemed": redeemed,
        "created_at": batch.created_at,
        "created_by": batch.created_by,
        "expires_at": batch.expires_at,
        "voided_at": batch.voided_at,
        "sold_at": batch.sold_at,
    }
