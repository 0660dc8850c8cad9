"""One round of acting: decide, send, listen, record. Network IO stands between transactions."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, insert, select, update

from billing.acting.commands import (
    Command,
    Policy,
    Situation,
    advance,
    on_answer,
    on_exchange_lost,
    on_sent,
    on_silence,
)
from billing.acting.exchange import CoaAnswer, CoaRequest
from billing.acting.profiles import (
    VENDOR_PROFILES,
    SpeedProfile,
    identity_of,
    speed_attributes,
)
from billing.adapters import tables
from billing.adapters.coa import CoaTransport
from billing.adapters.databases import among, asking, reading, writing
from billing.adapters.notifications import enqueue, failure_notices
from billing.adapters.situations import (
    COMMAND,
    Decision,
    FindTarget,
    current_commands,
    pending_commands,
    read_decided_situations,
    read_decisions,
)
from billing.adapters.wishes import (
    Wishes,
    due_steps,
    read_changed_situations,
    read_situations,
    read_wishes,
)
from billing.config import OfficeConfig
from rating.rows import LiveSession

_SETTLED_COUNTERS = {"verified": "commands_verified", "failed": "commands_failed"}
_ANSWER_COUNTERS = {
    "acknowledged": "commands_acknowledged",
    "refused": "commands_refused",
    "timeout": "commands_timed_out",
}

_DECIDED_MS = 5_000
"""How far back decisions count as new. They bear the time of what they follow from: older ones,
of stages that lag, wait for the next comparison of everything."""
_FATE = (
    "identifier",
    "error_cause",
    "outcome",
    "sent_at",
    "acknowledged_at",
    "verified_at",
    "reason",
    "settled_at",
)
"""What changes of a command after it was decided."""
_UPDATE = (
    update(tables.command)
    .where(tables.command.c.command_id == bindparam("p_command_id"))
    .values({name: bindparam(f"p_{name}") for name in _FATE})
)
_BY_ID = select(*COMMAND)
_FIELDS = [field.name for field in dataclasses.fields(Command)]
_INSERT = insert(tables.command)
_SUPERSEDE = (
    update(tables.command)
    .where(tables.command.c.session_id == bindparam("p_session_id"), tables.command.c.is_current)
    .values(is_current=False)
)
_FORGET = (
    update(tables.command)
    .where(tables.command.c.command_id == bindparam("p_command_id"))
    .values(is_current=False)
)


def policy_of(config: OfficeConfig) -> Policy:
    """Return the policy that the settings describe.

    ValueError: no such restore profile, or filters that a session could not get rid of: a NAS keeps
    the one it was told until it is told another.
    """
    acting = config.acting
    speeds = {
        p.name: SpeedProfile(p.name, p.up_bps, p.down_bps, p.filter_name)
        for p in acting.speed_profiles
    }
    silent = sorted(name for name, speed in speeds.items() if not speed.filter_name)
    if silent and len(silent) < len(speeds):
        raise ValueError(
            f"speed_profiles: {', '.join(silent)} must name a filter_name too, since others do"
        )
    if acting.restore_profile not in speeds:
        raise ValueError(f"restore_profile: no speed profile {acting.restore_profile!r} is set")
    return Policy(
        speeds,
        acting.restore_profile,
        acting.coa_attempts,
        acting.disconnect_attempts,
        acting.verify_timeout_seconds * 1000,
        acting.tolerance_percent,
    )


Pending = tuple[Command, LiveSession]
"""A command that is to be sent, and its session."""


class Acting:
    """Keeps sessions where they should be. Holds nothing that a restart may not lose."""

    def __init__(
        self,
        engine: Engine,
        config: OfficeConfig,
        transport: CoaTransport,
        find_target: FindTarget,
        channels: Sequence[str],
    ) -> None:
        """Remember the parts; `recover` before the first `run_round`."""
        self._engine = engine
        self._config = config
        self._policy = policy_of(config)
        self._transport = transport
        self._find_target = find_target
        self._channels = list(channels)
        self._steps = due_steps(self._policy)
        self._decisions: set[Decision] = set()
        self._wishes: Wishes | None = None
        self._in_flight: dict[str, Command] = {}

    def recover(self, now_ms: int) -> int:
        """Send anew what was in flight when the last process ended; return how many."""
        with writing(self._engine) as connection:
            lost = [
                on_exchange_lost(command)
                for command in current_commands(connection)
                if command.outcome == "sent" and command.settled_at is None
            ]
            _update_commands(connection, lost)
        return len(lost)

    def run_round(self, now_ms: int) -> Counter[str]:
        """Compare everything, decide, send and listen once; return counts by metric name."""
        with reading(self._engine) as connection:
            self._decisions = read_decisions(connection, now_ms - _DECIDED_MS)
            self._wishes = read_wishes(connection, now_ms)
            situations = read_situations(connection, self._wishes, self._find_target, now_ms)
        return self._act(situations, now_ms)

    def run_changes(self, now_ms: int) -> Counter[str]:
        """Do as `run_round` about what has changed since the last round."""
        if self._wishes is None:
            return self.run_round(now_ms)
        known = self._wishes
        with reading(self._engine) as connection:
            self._decisions = read_decisions(connection, now_ms - _DECIDED_MS)
            self._wishes = read_wishes(connection, now_ms, known)
            situations = read_changed_situations(
                connection, self._wishes, known, self._steps, self._find_target, now_ms
            )
        return self._act(situations, now_ms)

    def run_decisions(self, now_ms: int) -> Counter[str]:
        """Do as `run_round` about what rate has decided since the last round alone."""
        known = self._decisions
        with asking(self._engine) as connection:
            self._decisions = read_decisions(connection, now_ms - _DECIDED_MS)
        new = self._decisions - known
        if not new:
            return self._listen()
        with reading(self._engine) as connection:
            situations = read_decided_situations(connection, self._find_target, new, now_ms)
        return self._act(situations, now_ms)

    def _act(self, situations: Sequence[Situation], now_ms: int) -> Counter[str]:
        counts, pending = self._decide(situations, now_ms)
        counts += self._send(pending, now_ms)
        counts += self._listen()
        return counts

    def _decide(
        self, situations: Sequence[Situation], now_ms: int
    ) -> tuple[Counter[str], list[Pending]]:
        """Write what `advance` says about situations, and tell of failures.

        Returns counts, and the commands that are to be sent, as many as a round takes.
        """
        limit = self._config.acting.commands_per_round
        changed: list[Command] = []
        done: list[str] = []
        for situation in situations:
            rows = advance(situation, self._policy, now_ms)
            changed += rows
            if situation.session.ended_at is not None:
                done += [row.command_id for row in rows] or _command_ids(situation)
        if not changed and not done:
            with asking(self._engine) as connection:
                return Counter(), pending_commands(connection, limit)
        with writing(self._engine) as connection:
            write_commands(connection, changed)
            _stop_following(connection, done)
            notices = failure_notices(changed, self._config.notifications.operator_email)
            enqueued = enqueue(connection, notices, self._channels, now_ms)
            pending = pending_commands(connection, limit)
        self._in_flight |= {
            row.command_id: row for row in changed if row.command_id in self._in_flight
        }
        counts = Counter(commands_written=len(changed), notifications_enqueued=enqueued)
        counts.update(
            _SETTLED_COUNTERS[row.outcome]
            for row in changed
            if row.settled_at is not None and row.outcome in _SETTLED_COUNTERS
        )
        return counts, pending

    def _send(self, pending: Sequence[Pending], now_ms: int) -> Counter[str]:
        """Transmit pending commands and record which left."""
        requests = {
            command.command_id: request
            for command, session in pending
            if (request := self._request_of(command, session)) is not None
        }
        if not requests:
            return Counter()
        left = self._transport.send(list(requests.values()))
        sent = [
            on_sent(command, left[command.command_id], now_ms)
            for command, _ in pending
            if command.command_id in left
        ]
        if sent:
            with writing(self._engine) as connection:
                _update_commands(connection, sent)
            self._in_flight |= {command.command_id: command for command in sent}
        return Counter(commands_sent=len(sent), commands_unsent=len(requests) - len(sent))

    def _listen(self) -> Counter[str]:
        """Record answers and silences."""
        answers = self._transport.poll(self._config.acting.poll_milliseconds)
        if not answers:
            return Counter()
        changed = [
            _answered(self._in_flight.pop(answer.command_id), answer)
            for answer in answers
            if answer.command_id in self._in_flight
        ]
        if changed:
            with writing(self._engine) as connection:
                _update_commands(connection, changed)
        return Counter(
            _ANSWER_COUNTERS[row.outcome] for row in changed if row.outcome in _ANSWER_COUNTERS
        )

    def _request_of(self, command: Command, session: LiveSession) -> CoaRequest | None:
        """Return the request of a command; None where the NAS has lost its CoA target."""
        target = self._find_target(session)
        if target is None:
            return None
        profile = VENDOR_PROFILES[command.vendor_profile]
        attributes = identity_of(profile, session)
        if command.kind == "coa":
            speed = self._policy.speeds.get(command.profile)
            if speed is None:
                return None  # the settings lost it; the next decision says so
            attributes += speed_attributes(profile, speed)
        return CoaRequest(command.command_id, command.kind, target, attributes)


def write_commands(connection: Connection, commands: Sequence[Command]) -> None:
    """Upsert command rows; a new one becomes its session's current command.

    At most one of them is new per session.
    """
    known = _commands_by_id(connection, [command.command_id for command in commands])
    old = [command for command in commands if command.command_id in known]
    new = [command for command in commands if command.command_id not in known]
    _update_commands(connection, old)
    if new:
        connection.execute(_SUPERSEDE, [{"p_session_id": c.session_id} for c in new])
        connection.execute(_INSERT, [_values(c, _FIELDS) | {"is_current": True} for c in new])


def _update_commands(connection: Connection, commands: Sequence[Command]) -> None:
    """Write the fate of commands that the table holds."""
    if commands:
        names = ("command_id", *_FATE)
        connection.execute(_UPDATE, [_values(command, names, "p_") for command in commands])


def _values(command: Command, names: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """Return some values of a command under their names with a prefix."""
    return {prefix + name: getattr(command, name) for name in names}


def _answered(command: Command, answer: CoaAnswer) -> Command:
    """Return a command after its answer or silence."""
    if not answer.is_answered:
        return on_silence(command, answer.transmissions)
    return on_answer(
        command,
        is_ack=answer.is_ack,
        error_cause=answer.error_cause,
        received_at=answer.received_at,
    )


def _command_ids(situation: Situation) -> list[str]:
    """Return the id of a situation's newest command, if any."""
    return [situation.latest.command_id] if situation.latest else []


def _stop_following(connection: Connection, command_ids: Sequence[str]) -> None:
    """Take the commands of ended sessions out of what each round looks at."""
    if command_ids:
        connection.execute(_FORGET, [{"p_command_id": key} for key in command_ids])


def _commands_by_id(connection: Connection, command_ids: Sequence[str]) -> dict[str, Command]:
    """Return those commands that exist, by id."""
    rows = among(connection, _BY_ID, tables.command.c.command_id, command_ids)
    return {command.command_id: command for command in (Command(*row) for row in rows)}
