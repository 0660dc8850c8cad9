"""The conditional-access system (CAS) as Flowrate sees it: what is asked, what comes back.

Every vendor has a protocol of its own and keeps it secret; an adapter turns these requests into
it. `ConditionalAccess` says what an adapter promises, and `tests/conformance` holds each to it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

PAIR = "pair"
UNPAIR = "unpair"
ENTITLE = "entitle"
WITHDRAW = "withdraw"
MESSAGE = "message"
REFRESH = "refresh"
QUERY = "query"
OPERATIONS = (PAIR, UNPAIR, ENTITLE, WITHDRAW, MESSAGE, REFRESH, QUERY)

BUSY = "busy"
UNKNOWN_CARD = "unknown_card"
WRONG_PAIRING = "wrong_pairing"
INVALID = "invalid"
ERRORS: Mapping[str, str] = {
    BUSY: "the system is busy; the same request may succeed later",
    UNKNOWN_CARD: "the system has never heard of this card",
    WRONG_PAIRING: "the card or the box is paired with another one",
    INVALID: "the system does not understand the request",
}
"""What a CAS may answer instead of doing as asked; only BUSY passes by itself."""


@dataclasses.dataclass(frozen=True, slots=True)
class CardState:
    """What a card has: the box it works in (empty: none), and entitlement to expiry (ms)."""

    box_serial: str = ""
    entitlements: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def at(self, now_ms: int) -> CardState:
        """Return the state without what has expired by then."""
        running = {name: at for name, at in self.entitlements.items() if at > now_ms}
        return CardState(self.box_serial, running)


@dataclasses.dataclass(frozen=True, slots=True)
class CasRequest:
    """One thing asked of the CAS about one card.

    request_id is the idempotency key. box_serial belongs to PAIR and UNPAIR; entitlement to
    ENTITLE (with expires_at, ms) and WITHDRAW; text to MESSAGE. REFRESH sends a card again what
    it has; QUERY changes nothing.
    """

    request_id: str
    operation: str
    card_serial: str
    box_serial: str = ""
    entitlement: str = ""
    expires_at: int = 0
    text: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class CasAnswer:
    """What became of a request.

    is_answered False is silence: it may have been done or not. error is empty where the request
    was done, else a key of ERRORS, or the CAS's own word. state answers a QUERY.
    """

    request_id: str
    is_answered: bool
    error: str = ""
    reason: str = ""
    state: CardState | None = None


class ConditionalAccess(Protocol):
    """Carries requests to a CAS. No call raises for what the network or the CAS does.

    Order: requests for one card are carried out in the order in which they left; those for
    different cards in any order.

    Repetition: a request_id is carried out at most once while the CAS remembers it; a repetition
    is answered as the first time. Where the CAS has forgotten (it was restarted), each operation
    but MESSAGE may be done again and leaves the same state.

    Failure: silence says nothing. Whoever needs to know repeats the request under the same
    request_id. An answer about another card than was asked for is silence.
    """

    def is_ready(self) -> bool:
        """Return whether requests would leave now; where not, try to bring that about."""
        ...

    def send(self, requests: Sequence[CasRequest]) -> set[str]:
        """Hand requests over and return the request_ids of those that left or will.

        The others did not leave (no connection, too many wait): offer them again later.
        """
        ...

    def poll(self, wait_ms: int) -> list[CasAnswer]:
        """Return answers and silences, waiting at most wait_ms for the first.

        Each request that left ends in exactly one of them, while the process lives.
        """
        ...

    def close(self) -> None:
        """Forget what is in flight and free the connection."""
        ...
