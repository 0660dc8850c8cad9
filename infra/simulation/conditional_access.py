"""A conditional-access system to try things on: what a card has, and faults on demand.

It takes and gives the records of `billing.cable.access`; `infra.cas_simulator` puts it behind TCP,
and `DirectConditionalAccess` into the office of a demonstration.
"""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from billing.cable.access import (
    BUSY,
    ENTITLE,
    INVALID,
    MESSAGE,
    PAIR,
    QUERY,
    REFRESH,
    UNKNOWN_CARD,
    UNPAIR,
    WITHDRAW,
    WRONG_PAIRING,
    CardState,
    CasAnswer,
    CasRequest,
)

REMEMBERED_ANSWERS = 100_000
"""Most request ids whose answer is kept for a repetition; the oldest go first."""


@dataclasses.dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong, each by chance: percentages of the requests.

    lost_before and lost_after are requests that never arrive, and answers that never do;
    wrong_card answers about another card; delay_milliseconds is the longest wait before an
    answer. After restart_requests (0: never) the system restarts: connections break, and answers
    to repetitions are forgotten.
    """

    lost_before_percent: int = 0
    lost_after_percent: int = 0
    wrong_card_percent: int = 0
    busy_percent: int = 0
    delay_milliseconds: int = 0
    restart_requests: int = 0


class SimulatedCas:
    """What a conditional-access system knows. Cards come into being when they are first named,
    unless known_cards says which there are."""

    def __init__(self, known_cards: Sequence[str] | None = None) -> None:
        """Begin with cards that have nothing."""
        self.cards: dict[str, CardState] = {}
        self.shown: list[tuple[str, str]] = []
        self.done = 0
        self._known_cards = None if known_cards is None else set(known_cards)
        self._answers: OrderedDict[str, CasAnswer] = OrderedDict()

    def answer(self, request: CasRequest, now_ms: int) -> CasAnswer:
        """Do as asked, once per request_id, and answer."""
        if request.operation == QUERY:
            return self._answer_query(request, now_ms)
        if request.request_id in self._answers:
            return self._answers[request.request_id]
        error, reason = self._do(request, now_ms)
        answer = CasAnswer(request.request_id, True, error, reason)
        self._answers[request.request_id] = answer
        if len(self._answers) > REMEMBERED_ANSWERS:
            self._answers.popitem(last=False)
        self.done += not error
        return answer

    def restart(self) -> None:
        """Forget which requests were answered; what cards have stays."""
        self._answers.clear()

    def to_text(self) -> str:
        """Return what cards have as JSON."""
        return json.dumps(
            {
                serial: {"box": state.box_serial, "entitlements": dict(state.entitlements)}
                for serial, state in sorted(self.cards.items())
            },
            indent=1,
        )

    def read_text(self, text: str) -> None:
        """Take over what cards have. ValueError or KeyError where the text is none of ours."""
        document: dict[str, Any] = json.loads(text)
        self.cards = {
            serial: CardState(values["box"], values["entitlements"])
            for serial, values in document.items()
        }

    def _answer_query(self, request: CasRequest, now_ms: int) -> CasAnswer:
        if not self._knows(request.card_serial):
            return CasAnswer(request.request_id, True, UNKNOWN_CARD, "no such card")
        state = self.cards.get(request.card_serial, CardState()).at(now_ms)
        return CasAnswer(request.request_id, True, state=state)

    def _knows(self, card_serial: str) -> bool:
        return self._known_cards is None or card_serial in self._known_cards

    def _do(self, request: CasRequest, now_ms: int) -> tuple[str, str]:
        """Change a card; return (error, reason), both empty where that was possible."""
        serial = request.card_serial
        if not self._knows(serial):
            return UNKNOWN_CARD, "no such card"
        state = self.cards.get(serial, CardState()).at(now_ms)
        if request.operation == PAIR:
            refusal = self._pairing_refusal(serial, state, request.box_serial)
            if refusal:
                return WRONG_PAIRING, refusal
            state = dataclasses.replace(state, box_serial=request.box_serial)
        elif request.operation == UNPAIR:
            if state.box_serial not in ("", request.box_serial):
                return WRONG_PAIRING, f"the card is paired with {state.box_serial}"
            state = dataclasses.replace(state, box_serial="")
        elif request.operation == ENTITLE:
            if request.expires_at <= now_ms:
                return INVALID, "the entitlement has expired already"
            entitlements = {**state.entitlements, request.entitlement: request.expires_at}
            state = dataclasses.replace(state, entitlements=entitlements)
        elif request.operation == WITHDRAW:
            entitlements = dict(state.entitlements)
            entitlements.pop(request.entitlement, None)
            state = dataclasses.replace(state, entitlements=entitlements)
        elif request.operation in (MESSAGE, REFRESH):
            self.shown.append((serial, request.text or request.operation))
        self.cards[serial] = state
        return "", ""

    def _pairing_refusal(self, serial: str, state: CardState, box_serial: str) -> str:
        if state.box_serial not in ("", box_serial):
            return f"the card is paired with {state.box_serial}"
        for other, held in self.cards.items():
            if other != serial and held.box_serial == box_serial:
                return f"the box is paired with {other}"
        return ""


def is_hit(percent: int, chance: Callable[[], float]) -> bool:
    """Return whether a fault of so many percent happens now; chance returns 0 to below 1."""
    return chance() * 100 < percent


def busy_answer(request: CasRequest) -> CasAnswer:
    """Return what a system says that has too much to do; nothing was done or remembered."""
    return CasAnswer(request.request_id, True, BUSY, "too much to do")


class DirectConditionalAccess:
    """`ConditionalAccess` without a network: a simulated system inside the process."""

    def __init__(self, cas: SimulatedCas, now_ms: Callable[[], int]) -> None:
        """Stand in front of a system."""
        self.cas = cas
        self._now_ms = now_ms
        self._answers: list[CasAnswer] = []

    def is_ready(self) -> bool:
        """See `ConditionalAccess.is_ready`: always."""
        return True

    def send(self, requests: Sequence[CasRequest]) -> set[str]:
        """See `ConditionalAccess.send`: each is done at once."""
        self._answers += [self.cas.answer(request, self._now_ms()) for request in requests]
        return {request.request_id for request in requests}

    def poll(self, wait_ms: int) -> list[CasAnswer]:
        """See `ConditionalAccess.poll`."""
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        """See `ConditionalAccess.close`."""
        self._answers.clear()
