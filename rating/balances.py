"""The prepaid balance: credits minus exact charges, rounded only where it is shown."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rating.money import decode_exact, encode_exact, from_minor, to_minor
from rating.rate_state import BalanceState
from rating.rows import Balance


def available(state: BalanceState) -> Fraction:
    """Return the exact balance in major units."""
    return from_minor(state.credits_minor, state.currency) - decode_exact(state.charged)


def credited(state: BalanceState, amount_minor: int, at: int) -> BalanceState:
    """Return the balance after a top-up received at an instant."""
    return msgspec.structs.replace(
        state,
        credits_minor=state.credits_minor + amount_minor,
        top_ups=state.top_ups + 1,
        updated_at=max(state.updated_at, at),
    )


def charged(state: BalanceState, amount: Fraction, at: int) -> BalanceState:
    """Return the balance after a charge (negative: a correction) whose cause came at an instant."""
    return msgspec.structs.replace(
        state,
        charged=encode_exact(decode_exact(state.charged) + amount),
        updated_at=max(state.updated_at, at),
    )


def balance_row(rating_key: str, state: BalanceState) -> Balance:
    """Return the row that shows a balance."""
    amount = available(state)
    return Balance(
        rating_key=rating_key,
        currency=state.currency,
        amount_exact=encode_exact(amount),
        amount_minor=to_minor(amount, state.currency),
        updated_at=state.updated_at,
    )
