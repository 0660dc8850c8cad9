"""Commands on vouchers: make, sell and void a batch, redeem a code."""

from __future__ import annotations

import rating.events
from api.commanding import Done
from api.instants import MINUTE_MS, to_text
from api.models.values import EventStatus, Money
from api.models.vouchers import (
    IssuedVoucherBatch,
    Redemption,
    RedemptionCreate,
    RefusedRedemption,
    VoucherBatch,
    VoucherBatchCreate,
    VoucherSaleCreate,
)
from api.problems import Problem, invalid_field, not_found
from api.reads import parties
from api.reads.vouchers import find_batch, get_batch, shown_members
from api.writes.transaction import CommandTransaction
from billing.adapters import vouchers
from billing.vouchers import (
    RANDOM_OCTETS,
    Batch,
    CodeError,
    Voucher,
    code_of,
    is_of,
    printed,
    read_code,
    refusal,
    state_of,
)


def create_batch(transaction: CommandTransaction, body: VoucherBatchCreate) -> IssuedVoucherBatch:
    """Make a batch of codes; they are in the answer and nowhere else."""
    services = transaction.services
    branch = transaction.branch_of(body.branch_id)
    if body.currency != branch.currency:
        expected = f"the branch's currency, {branch.currency}"
        raise invalid_field("/currency", body.currency, expected)
    most = services.config.vouchers_per_batch_max
    if body.quantity > most:
        raise invalid_field("/quantity", body.quantity, f"at most {most}")
    if body.expires_at is not None and body.expires_at <= transaction.now_at:
        expected = f"in the future; it is {to_text(transaction.now_at)}"
        raise invalid_field("/expires_at", to_text(body.expires_at), expected)
    batch = Batch(
        batch_id=services.new_id("vou"),
        branch_id=branch.branch_id,
        name=body.name,
        amount_minor=body.amount_minor,
        currency=body.currency,
        quantity=body.quantity,
        created_at=transaction.now_at,
        created_by=transaction.principal.name,
        expires_at=body.expires_at,
    )
    codes = [code_of(services.new_token(RANDOM_OCTETS)) for _ in range(body.quantity)]
    vouchers.create_batch(transaction.connection, batch, codes)
    transaction.counted["api_vouchers_made_total"] = body.quantity
    return IssuedVoucherBatch(**shown_members(batch, 0), codes=[printed(code) for code in codes])


def sell_batch(
    transaction: CommandTransaction, batch_id: str, body: VoucherSaleCreate
) -> VoucherBatch:
    """Post that a batch was sold, once; 409 where it was before, or is void."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    batch = find_batch(connection, branch_id, batch_id)
    if batch.voided_at is not None:
        raise Problem("conflict", "The batch is void.")
    face_minor = batch.amount_minor * batch.quantity
    if body.paid_minor > face_minor:
        raise invalid_field("/paid_minor", body.paid_minor, f"at most the face value {face_minor}")
    if not vouchers.sell_batch(connection, batch, body.paid_minor, transaction.now_at):
        raise Problem("conflict", "The batch was sold before.")
    return get_batch(connection, branch_id, batch_id)


def void_batch(transaction: CommandTransaction, batch_id: str) -> VoucherBatch:
    """Void every voucher of a batch that is not redeemed; repeats change nothing."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    find_batch(connection, branch_id, batch_id)
    vouchers.void_batch(connection, batch_id, transaction.now_at)
    return get_batch(connection, branch_id, batch_id)


def void_voucher(transaction: CommandTransaction, batch_id: str, serial: int) -> VoucherBatch:
    """Void one voucher; 409 where it was redeemed."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    find_batch(connection, branch_id, batch_id)
    found = vouchers.find_serial(connection, batch_id, serial)
    if found is None:
        raise not_found("voucher", str(serial))
    if state_of(found, transaction.now_at) == "redeemed":
        raise Problem("conflict", "The voucher was redeemed before.")
    vouchers.void_voucher(connection, batch_id, serial, transaction.now_at)
    return get_batch(connection, branch_id, batch_id)


def redeem(transaction: CommandTransaction, body: RedemptionCreate) -> Done:
    """Redeem a code for a rating key: its money goes the way of a top-up.

    A code that is none is counted with the answer, in the same transaction, so that asking many
    at once does not help; beyond the limit every code is refused until the window is over.
    The same code again for the same rating key is answered with what was done.
    """
    connection, config = transaction.connection, transaction.services.config
    branch_id = parties.rating_key_branch(
        connection, transaction.principal.branch_id, body.rating_key
    )
    try:
        code = read_code(body.code)
    except CodeError as error:
        raise invalid_field("/code", body.code, str(error).removeprefix("expected ")) from None
    window_ms = config.voucher_attempt_window_seconds * 1000
    window_at = transaction.now_at // window_ms * window_ms
    failures = vouchers.failures_of(connection, body.rating_key, window_at)
    if failures >= config.voucher_attempts_max:
        transaction.counted["api_voucher_attempts_refused_total"] = 1
        until = to_text(window_at + window_ms)
        return _refused("too-many-attempts", f"Too many wrong codes; try again at {until}.")
    found = vouchers.find_voucher(connection, code)
    if found is None or found.batch.branch_id != branch_id:
        vouchers.add_failure(connection, body.rating_key, window_at)
        transaction.counted["api_voucher_failures_total"] = 1
        return _refused("not-found", "There is no such voucher.")
    if is_of(found, body.rating_key):
        return Done(_redemption(found, EventStatus.pending(found.event_id)), 201)
    reason = refusal(found, transaction.now_at)
    if reason:
        return _refused("conflict", reason)
    account_id = parties.rating_key_account(connection, body.rating_key)
    done = vouchers.redeem(connection, found, body.rating_key, account_id, transaction.now_at)
    if done is None:
        return _refused("conflict", "The voucher was redeemed before.")
    payload = rating.events.TopUp(done.batch.amount_minor, done.batch.currency)
    at = transaction.now_at // MINUTE_MS * MINUTE_MS
    event = transaction.event(body.rating_key, payload, at, done.event_id)
    [status] = transaction.send_events([event])
    transaction.counted["api_vouchers_redeemed_total"] = 1
    return Done(_redemption(done, status), 201)


def _redemption(voucher: Voucher, status: EventStatus) -> Redemption:
    return Redemption(
        batch_id=voucher.batch.batch_id,
        serial=voucher.serial,
        rating_key=voucher.rating_key,
        amount=Money.of(voucher.batch.amount_minor, voucher.batch.currency),
        event=status,
    )


def _refused(kind: str, reason: str) -> Done:
    return Done(RefusedRedemption(kind=kind, reason=reason), Problem(kind, reason).status)
