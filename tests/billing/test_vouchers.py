"""The code on a card: what a typing error does, and what a batch says to the ledger."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing import vouchers
from billing.ledger import trial_balance
from billing.vouchers import ALPHABET, Batch, CodeError, Voucher, code_of, read_code

codes = st.binary(min_size=10, max_size=10).map(code_of)
BATCH = Batch("v1", "dhk", "Cards", 50_000, "BDT", 4, created_at=0, created_by="desk")
CARD = Voucher("hash", BATCH, 3, None, None, "", 0, "", is_refused=False)


@given(codes)
def test_a_code_is_read_as_it_is_printed_and_as_people_type_it(code: str) -> None:
    assert len(code) == 16
    assert read_code(vouchers.printed(code)) == code
    typed = vouchers.printed(code).lower().replace("0", "o").replace("1", "l").replace("-", " ")
    assert read_code(f" {typed} ") == code


@given(codes, st.integers(0, 15), st.sampled_from(ALPHABET))
def test_one_wrong_symbol_is_no_code(code: str, place: int, symbol: str) -> None:
    wrong = code[:place] + symbol + code[place + 1 :]
    if wrong != code:
        with pytest.raises(CodeError, match="typing error"):
            read_code(wrong)


@pytest.mark.parametrize("typed", ["", "123", "U" * 16, "0" * 17, "ÄÖÜ0123456789ABC"])
def test_what_cannot_be_a_code(typed: str) -> None:
    with pytest.raises(CodeError, match="16 letters and digits"):
        read_code(typed)


def test_other_random_octets_are_another_code() -> None:
    made = {code_of(number.to_bytes(10, "big")) for number in range(1_000)}
    assert len(made) == 1_000
    with pytest.raises(ValueError, match="10 random octets"):
        code_of(b"too short")


@pytest.mark.parametrize(
    ("changes", "batch_changes", "state", "why"),
    [
        ({}, {}, "valid", ""),
        ({}, {"expires_at": 101}, "valid", ""),
        ({}, {"expires_at": 100}, "expired", "expired"),
        ({"voided_at": 5}, {}, "void", "void"),
        ({}, {"voided_at": 5}, "void", "void"),
        ({"redeemed_at": 5}, {}, "redeemed", "redeemed before"),
        ({"redeemed_at": 5}, {"voided_at": 9}, "redeemed", "redeemed before"),
        ({"redeemed_at": 5, "is_refused": True}, {}, "valid", ""),
        ({"redeemed_at": 5, "is_refused": True}, {"expires_at": 9}, "expired", "expired"),
    ],
)
def test_what_a_card_is_worth_at_100(
    changes: dict[str, Any], batch_changes: dict[str, Any], state: str, why: str
) -> None:
    batch = dataclasses.replace(BATCH, **batch_changes)
    card = dataclasses.replace(CARD, batch=batch, **changes)
    assert vouchers.state_of(card, 100) == state
    assert why in vouchers.refusal(card, 100)
    assert bool(why) == bool(vouchers.refusal(card, 100))


def test_a_batch_sold_with_a_discount_and_redeemed_owes_nothing() -> None:
    sale = vouchers.sale_transaction(BATCH, 190_000, 1)
    cards = [dataclasses.replace(CARD, serial=serial) for serial in (1, 2, 3, 4)]
    redeemed = [vouchers.redeemed(card, "sub-1", 2) for card in cards]
    assert len({card.event_id for card in redeemed}) == 4
    postings = [sale, *(vouchers.redemption_transaction(c, "karim", 2) for c in redeemed)]
    sums = trial_balance([entry for posting in postings for entry in posting.entries])
    assert {code: amount for (code, _), amount in sums.items()} == {
        "cash": 190_000,
        "adjustments": 10_000,
        "vouchers": 0,
        "prepaid": -200_000,
    }


@pytest.mark.parametrize("paid_minor", [-1, 200_001])
def test_a_sale_is_at_most_the_face_value(paid_minor: int) -> None:
    with pytest.raises(ValueError, match="200000, the face value"):
        vouchers.sale_transaction(BATCH, paid_minor, 1)
