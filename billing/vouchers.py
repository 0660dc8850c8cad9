"""Vouchers: codes that stand for money once, and what their batches say to the ledger.

A code is sixteen symbols of Crockford's base 32, the last one checks the others, so that a typing
error is no attempt. Fifteen random symbols are 75 bits: nobody guesses one, and a plain SHA-256 of
it is as good as a slow hash.
"""

from __future__ import annotations

import dataclasses
import hashlib

from billing.ledger import (
    ADJUSTMENTS,
    CASH,
    PREPAID,
    VOUCHERS,
    Transaction,
    entries_of,
)
from billing.payments import TOPUP

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: without I, L, O and U."""
CODE_SYMBOLS = 16
RANDOM_OCTETS = 10
"""What `code_of` makes a code of: 80 random bits, 75 of which it uses."""

VOUCHER_SALE = "voucher_sale"
"""Source of the posting of a batch's sale; its key is the batch."""

_REFUSALS = {
    "redeemed": "The voucher was redeemed before.",
    "void": "The voucher is void.",
    "expired": "The voucher has expired.",
}
_WEIGHTS = range(1, 2 * CODE_SYMBOLS - 1, 2)
_TYPED = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})


class CodeError(ValueError):
    """What was typed cannot be a code: wrong length, symbol or check symbol."""


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """Vouchers made together. expires_at and voided_at are ms, None for never; sold_at likewise.

    vouchers are worth amount_minor each from the first to the last serial number, 1 to quantity.
    """

    batch_id: str
    branch_id: str
    name: str
    amount_minor: int
    currency: str
    quantity: int
    created_at: int
    created_by: str
    expires_at: int | None = None
    voided_at: int | None = None
    sold_at: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Voucher:
    """One code of a batch; only its hash is known. redemptions counts those that were asked for.

    redeemed_at, rating_key and event_id say when, for whom and by which account event it was
    redeemed last; is_refused says that rating refused that, so that the code still has its worth.
    """

    code_hash: str
    batch: Batch
    serial: int
    voided_at: int | None
    redeemed_at: int | None
    rating_key: str
    redemptions: int
    event_id: str
    is_refused: bool


def code_of(octets: bytes) -> str:
    """Return the code that RANDOM_OCTETS random octets make. ValueError for too few."""
    if len(octets) < RANDOM_OCTETS:
        raise ValueError(f"a code needs {RANDOM_OCTETS} random octets")
    number = int.from_bytes(octets[:RANDOM_OCTETS], "big")
    symbols = [ALPHABET[number >> 5 * place & 31] for place in range(CODE_SYMBOLS - 1)]
    return "".join(symbols) + _check_symbol(symbols)


def printed(code: str) -> str:
    """Return a code as it is printed: four groups of four."""
    return "-".join(code[start : start + 4] for start in range(0, CODE_SYMBOLS, 4))


def read_code(typed: str) -> str:
    """Return the code that somebody typed; CodeError where it cannot be one.

    Small letters, blanks and hyphens do not matter, nor do O for 0, and I and L for 1.
    """
    code = typed.upper().translate(_TYPED)
    if len(code) != CODE_SYMBOLS or not set(code) <= set(ALPHABET):
        raise CodeError(f"expected {CODE_SYMBOLS} letters and digits, without U")
    if _check_symbol(list(code[:-1])) != code[-1]:
        raise CodeError("the last symbol does not fit the others: a typing error")
    return code


def hash_of_code(code: str) -> str:
    """Return the hex SHA-256 under which a code is stored."""
    return hashlib.sha256(code.encode()).hexdigest()


def redeemed(voucher: Voucher, rating_key: str, now_ms: int) -> Voucher:
    """Return a voucher as it is once it is redeemed for a rating key; the event has a new id."""
    redemptions = voucher.redemptions + 1
    return dataclasses.replace(
        voucher,
        redeemed_at=now_ms,
        rating_key=rating_key,
        redemptions=redemptions,
        event_id=f"voucher:{voucher.batch.batch_id}:{voucher.serial}:{redemptions}",
        is_refused=False,
    )


def is_of(voucher: Voucher, rating_key: str) -> bool:
    """Return whether a voucher was redeemed for this rating key, and that stands or may yet."""
    return (
        voucher.redeemed_at is not None
        and voucher.rating_key == rating_key
        and not voucher.is_refused
    )


def refusal(voucher: Voucher, now_ms: int) -> str:
    """Return why a voucher cannot be redeemed now, "" where it can."""
    return _REFUSALS.get(state_of(voucher, now_ms), "")


def state_of(voucher: Voucher, now_ms: int) -> str:
    """Return ``redeemed``, ``void``, ``expired`` or ``valid``."""
    batch = voucher.batch
    if voucher.redeemed_at is not None and not voucher.is_refused:
        return "redeemed"
    if voucher.voided_at is not None or batch.voided_at is not None:
        return "void"
    if batch.expires_at is not None and batch.expires_at <= now_ms:
        return "expired"
    return "valid"


def redemption_transaction(voucher: Voucher, account_id: str, occurred_at: int) -> Transaction:
    """Return the posting of a redemption: what vouchers owed becomes a prepaid balance.

    Its source is that of top-ups, so that one which rating refuses is taken back like them.
    """
    batch = voucher.batch
    amounts = {VOUCHERS: batch.amount_minor, PREPAID: -batch.amount_minor}
    return Transaction(
        batch.branch_id,
        TOPUP,
        voucher.event_id,
        occurred_at,
        f"Voucher {batch.batch_id} no. {voucher.serial}",
        entries_of(batch.branch_id, account_id, batch.currency, amounts),
    )


def sale_transaction(batch: Batch, paid_minor: int, occurred_at: int) -> Transaction:
    """Return the posting of a batch's sale: cash, and a dealer's discount, against what we owe.

    ValueError unless 0 <= paid_minor <= the batch's face value.
    """
    face_minor = batch.amount_minor * batch.quantity
    if not 0 <= paid_minor <= face_minor:
        raise ValueError(f"expected 0 to {face_minor}, the face value")
    amounts = {
        CASH: paid_minor,
        ADJUSTMENTS: face_minor - paid_minor,
        VOUCHERS: -face_minor,
    }
    return Transaction(
        batch.branch_id,
        VOUCHER_SALE,
        batch.batch_id,
        occurred_at,
        f"Vouchers {batch.batch_id} sold",
        entries_of(batch.branch_id, "", batch.currency, amounts),
    )


def _check_symbol(symbols: list[str]) -> str:
    """Return the symbol that makes typing errors show.

    Odd weights modulo 32: one wrong symbol always shows, two neighbours in the wrong order do
    unless they are 16 apart.
    """
    values = [ALPHABET.index(symbol) for symbol in symbols]
    total = sum(weight * value for weight, value in zip(_WEIGHTS, values, strict=True))
    return ALPHABET[total % len(ALPHABET)]
