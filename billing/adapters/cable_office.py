"""The office's part for cable TV: brings every card to what its subscriber has bought and paid.

Everything it knows is in the database, but which queries are on their way; it may be killed
anywhere and started again. Network IO stands between transactions and never blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from billing.adapters import cas_outbox
from billing.adapters.cable_cards import cards_to_ask, due_cards
from billing.adapters.cas_outbox import Found, Terms
from billing.adapters.databases import reading, writing
from billing.adapters.notifications import enqueue
from billing.cable import commands
from billing.cable.access import BUSY, QUERY, CasAnswer, CasRequest, ConditionalAccess
from billing.cable.commands import CasCommand, Patience
from billing.cable.entitlements import Renewal
from billing.cable.notices import failure_notice
from billing.config import CableConfig

_DAY_MS = 86_400_000
_ROUNDS_PER_TURN = 20
"""Commands that one card may get answered in one turn; the rest follows in the next."""


def terms_of(config: CableConfig) -> Terms:
    """Return the terms that the settings describe."""
    return Terms(
        Renewal(config.entitlement_days * _DAY_MS, config.renewal_days * _DAY_MS),
        Patience(
            config.retry_seconds * 1000,
            config.retry_longest_seconds * 1000,
            config.refused_retry_minutes * 60_000,
            config.verify_rounds,
        ),
    )


class CableLoop:
    """Decides, sends, listens, asks. It alone writes commands to the CAS.

    channels and operator_email say whom a command that failed for good is told to.
    """

    def __init__(
        self,
        engine: Engine,
        config: CableConfig,
        access: ConditionalAccess,
        channels: Sequence[str],
        operator_email: str = "",
    ) -> None:
        """Remember the parts; nothing is read or sent yet."""
        self._engine = engine
        self._config = config
        self._terms = terms_of(config)
        self._access = access
        self._channels = channels
        self._operator_email = operator_email
        self._asked: dict[str, tuple[str, int]] = {}
        self._ask_at = 0
        self._questions = 0
        self._due_at = 0
        self._is_started = False

    def run_once(self, now_ms: int) -> Counter[str]:
        """Do what is due at now_ms; return counts by metric name (billing.metrics).

        Waits for the CAS at most poll_milliseconds for each step of the card that has most.
        """
        counts: Counter[str] = Counter()
        if now_ms < self._due_at:
            return counts
        self._due_at = now_ms + int(self._config.interval_seconds * 1000)
        if not self._is_started:
            with writing(self._engine) as connection:
                cas_outbox.recover(connection, now_ms)
            self._is_started = True
        counts += self._decide(now_ms)
        if not self._access.is_ready():
            counts["cas_turns_unreachable"] += 1
            counts += self._listen(0, now_ms)  # what was in flight on a lost connection
            return counts
        for _ in range(_ROUNDS_PER_TURN):
            sent = self._send(now_ms) + self._ask(now_ms)
            counts["cas_commands_sent"] += sent
            heard = self._listen(self._config.poll_milliseconds, now_ms)
            counts += heard
            if not sent and not heard:
                break
            counts += self._decide(now_ms)
        return counts

    def _decide(self, now_ms: int) -> Counter[str]:
        limit = self._config.cards_per_round
        with reading(self._engine) as connection:
            if not due_cards(connection, now_ms, 1):
                return Counter()
        with writing(self._engine) as connection:
            return cas_outbox.decide(connection, self._terms, now_ms, limit)

    def _send(self, now_ms: int) -> int:
        """Let pending commands leave; return how many did."""
        with reading(self._engine) as connection:
            if not cas_outbox.has_pending(connection, now_ms):
                return 0
        with writing(self._engine) as connection:
            leaving = cas_outbox.take_pending(connection, now_ms, self._config.cards_per_round)
        left = self._access.send([command.request for command in leaving])
        stayed = [command for command in leaving if command.command_id not in left]
        if stayed:
            with writing(self._engine) as connection:
                cas_outbox.put_back(connection, stayed, self._terms.patience, now_ms)
        return len(left)

    def _ask(self, now_ms: int) -> int:
        """Ask what cards have that had a command, or of which nobody asked for long."""
        if now_ms < self._ask_at or self._asked:
            return 0
        before_at = now_ms - self._config.reconcile_hours * 3_600_000
        limit = self._config.cards_per_round
        with reading(self._engine) as connection:
            cards = cards_to_ask(connection, before_at, now_ms, limit)
        requests = []
        for card, number in cards:
            self._questions += 1
            identity = f"{card}?{now_ms}.{self._questions}"
            self._asked[identity] = (card, number)
            requests.append(CasRequest(identity, QUERY, card))
        left = self._access.send(requests)
        self._asked = {identity: card for identity, card in self._asked.items() if identity in left}
        return len(left)

    def _listen(self, wait_ms: int, now_ms: int) -> Counter[str]:
        """Take answers and silences."""
        counts: Counter[str] = Counter()
        answers = self._access.poll(wait_ms)
        told = [answer for answer in answers if answer.request_id not in self._asked]
        if told:
            with writing(self._engine) as connection:
                changed = cas_outbox.settle(connection, told, self._terms.patience, now_ms)
                failed = [c for c in changed if c.outcome == commands.FAILED]
                self._tell(connection, failed, now_ms)
            counts["cas_commands_acknowledged"] += sum(
                command.outcome == commands.ACKNOWLEDGED for command in changed
            )
            counts["cas_commands_repeated"] += sum(
                command.outcome == commands.PENDING for command in changed
            )
            counts["cas_commands_failed"] += len(failed)
        for answer in answers:
            asked = self._asked.pop(answer.request_id, None)
            if asked is not None:
                counts += self._compare(asked, answer, now_ms)
        return +counts

    def _compare(self, asked: tuple[str, int], answer: CasAnswer, now_ms: int) -> Counter[str]:
        """Take what the CAS says of one card."""
        if not answer.is_answered or answer.error == BUSY:
            self._ask_at = now_ms + self._config.retry_seconds * 1000
            return Counter()
        reason = answer.reason or answer.error
        found = Found(*asked, answer.state, reason)
        with writing(self._engine) as connection:
            counts, given_up = cas_outbox.compare(connection, found, self._terms.patience, now_ms)
            self._tell(connection, given_up, now_ms)
        return counts

    def _tell(self, connection: Connection, failed: Sequence[CasCommand], now_ms: int) -> None:
        """Put what an operator must see to into the outbox of notifications."""
        notices = [failure_notice(command, self._operator_email) for command in failed]
        enqueue(connection, notices, self._channels, now_ms)
