"""An office for cable TV with a clock of its own, in front of a simulated system that may fail."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Engine, insert, select

from billing.adapters import cable_tables, tables
from billing.adapters.cable_cards import read_cards
from billing.adapters.cable_catalog import packages_in
from billing.adapters.cable_office import CableLoop, terms_of
from billing.adapters.databases import reading, writing
from billing.cable.access import CardState, CasAnswer, CasRequest
from billing.cable.entitlements import differences, wanted_state
from billing.config import CableConfig
from infra.simulation.conditional_access import (
    DirectConditionalAccess,
    Faults,
    SimulatedCas,
    busy_answer,
)
from tests.billing.cable import tv_world
from tests.billing.cable.tv_world import Desk

START = 1_795_000_000_000
CONFIG = CableConfig(poll_milliseconds=0)


class UnreliableAccess(DirectConditionalAccess):
    """`ConditionalAccess` at whose far end things go wrong, as chance says."""

    def __init__(self, cas: SimulatedCas, world: HeadEnd) -> None:
        super().__init__(cas, lambda: world.now)
        self._world = world

    def is_ready(self) -> bool:
        """See `ConditionalAccess.is_ready`."""
        return not self._world.is_down

    def send(self, requests: Sequence[CasRequest]) -> set[str]:
        """See `ConditionalAccess.send`."""
        if self._world.is_down:
            return set()
        faults, chance = self._world.faults, self._world.random.random
        for request in requests:
            self._world.sent.append(request)
            if chance() * 100 < faults.lost_before_percent:
                self._answers.append(CasAnswer(request.request_id, False, reason="no answer"))
            elif chance() * 100 < faults.busy_percent:
                self._answers.append(busy_answer(request))
            else:
                answer = self.cas.answer(request, self._world.now)
                if chance() * 100 < faults.lost_after_percent:
                    answer = CasAnswer(request.request_id, False, reason="no answer")
                self._answers.append(answer)
        return {request.request_id for request in requests}


class HeadEnd:
    """The cable operator's head end: clock, office, system; `desk` is where customers come."""

    def __init__(self, engine: Engine, seed: int = 1) -> None:
        self.engine = engine
        self.now = START
        self.random = random.Random(seed)
        self.faults = Faults()
        self.is_down = False
        self.cas = SimulatedCas()
        self.sent: list[CasRequest] = []
        self.counts: Counter[str] = Counter()
        tv_world.found(engine)
        self.desk = Desk(engine, lambda: self.now)
        self.start()

    def start(self) -> None:
        """Start the office, or start it again after a crash."""
        access = UnreliableAccess(self.cas, self)
        self.loop = CableLoop(self.engine, CONFIG, access, ["log"])

    def run(self, seconds: int = 2, *, step: int = 2) -> None:
        """Let so much time pass, with a turn of the office at each step."""
        for _ in range(max(seconds // step, 1)):
            self.now += step * 1000
            self.counts += self.loop.run_once(self.now)

    def has(self, card: str) -> tuple[str, list[str]]:
        """Return the box that a card works in and what it is entitled to, as the CAS knows."""
        state = self.cas.cards.get(card, CardState()).at(self.now)
        return state.box_serial, sorted(state.entitlements)

    def commands(self, card: str) -> list[tuple[str, str]]:
        """Return (what was commanded, outcome) of a card, in order."""
        command = cable_tables.cas_command.c
        query = (
            select(cable_tables.cas_command)
            .where(command.card_serial == card)
            .order_by(command.number)
        )
        with reading(self.engine) as connection:
            rows = connection.execute(query).all()
        return [
            (f"{r.operation} {r.entitlement or r.box_serial or r.message}".strip(), r.outcome)
            for r in rows
        ]

    def ask_for(self, operation: str, card: str, message: str = "") -> None:
        """Have a clerk send a message or a refresh to a card."""
        row = {
            "request_id": self.desk.new_id("tvr"),
            "branch_id": "dhk",
            "card_serial": card,
            "operation": operation,
            "message": message,
            "requested_by": "clerk",
            "requested_at": self.now,
        }
        with writing(self.engine) as connection:
            connection.execute(insert(cable_tables.cable_request), [row])
            tv_world.touch(connection, [card])

    def notices(self) -> list[str]:
        """Return the subjects of what operators were told."""
        with reading(self.engine) as connection:
            return list(connection.scalars(select(tables.notification.c.subject)))

    def wrong_cards(self) -> dict[str, list[str]]:
        """Return the cards that have something else in the CAS than they should, and what."""
        with reading(self.engine) as connection:
            cards = list(connection.scalars(select(cable_tables.cable_card.c.card_serial)))
            views = read_cards(connection, cards)
            catalog = packages_in(connection)
        wrong = {}
        for view in views:
            serial = view.facts.card_serial
            wanted = wanted_state(view.facts, catalog, terms_of(CONFIG).renewal, self.now)
            state = self.cas.cards.get(serial, CardState()).at(self.now)
            found = differences(wanted, state)
            if found:
                wrong[serial] = found
        return wrong
