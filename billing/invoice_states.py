"""The life of an invoice or note as a table: what may happen in which state, and what then."""

from __future__ import annotations

from collections.abc import Mapping

DRAFT = "draft"
FINALIZED = "finalized"
PAID = "paid"
VOID = "void"

TRANSITIONS: Mapping[tuple[str, str], str] = {
    (DRAFT, "draft"): DRAFT,  # rate closed the period anew, or a clerk released it
    (DRAFT, "finalize"): FINALIZED,
    (DRAFT, "finalize what asks for nothing"): PAID,
    (FINALIZED, "settle"): PAID,
    (PAID, "open again"): FINALIZED,  # its payment bounced or went elsewhere
    (FINALIZED, "void"): VOID,
    (PAID, "void"): VOID,  # what was paid is the account's credit again
}
"""(state, what happens) -> state. What is not here cannot happen: a final document never changes,
and what is void stays void."""


class InvoiceStateError(Exception):
    """What cannot happen to an invoice in its state; the sentence says why and what can."""


def next_state(invoice_id: str, state: str, event: str) -> str:
    """Return the state after an event. InvoiceStateError: it cannot happen in this state."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        before = " or ".join(sorted({s for s, what in TRANSITIONS if what == event}))
        raise InvoiceStateError(
            f"{invoice_id} is {state}: to {event} it, expected {before}"
        ) from None
