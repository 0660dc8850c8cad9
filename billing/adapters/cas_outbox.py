"""The outbox to the conditional-access system: decide, record, and what became of it.

Each function is one transaction's work; network IO stands between them (`cable_office`). All of
them hold the turn `CABLE`, so a second office, or a clerk, is before or behind.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, insert, or_, select, update

from billing.adapters import cable_tables as tables
from billing.adapters.cable_cards import COMMAND, CardView, due_cards, read_cards, state_of
from billing.adapters.cable_catalog import packages_in
from billing.adapters.cable_stock import CABLE
from billing.adapters.databases import among, take_turns
from billing.cable import commands
from billing.cable.access import MESSAGE, REFRESH, CardState, CasAnswer
from billing.cable.catalog import ChannelPackage
from billing.cable.commands import CasCommand, Patience
from billing.cable.entitlements import (
    Renewal,
    Step,
    after,
    differences,
    next_change_at,
    next_step,
    wanted_state,
)

_command, _card = tables.cas_command.c, tables.cable_card.c
_FATE = (
    "outcome",
    "attempts",
    "reason",
    "next_attempt_at",
    "sent_at",
    "acknowledged_at",
    "verified_at",
    "settled_at",
)
"""What changes of a command after it was decided."""
_UPDATE = (
    update(tables.cas_command)
    .where(_command.command_id == bindparam("p_command_id"))
    .values({name: bindparam(f"p_{name}") for name in _FATE})
)
_COMMANDS = select(*COMMAND)
_PENDING = (
    select(*COMMAND)
    .where(
        _command.outcome == commands.PENDING,
        _command.settled_at.is_(None),
        _command.next_attempt_at <= bindparam("now_ms"),
    )
    .order_by(_command.next_attempt_at, _command.command_id)
    .limit(bindparam("limit"))
)
_UNPROVEN = (
    select(*COMMAND)
    .where(_command.outcome == commands.ACKNOWLEDGED, _command.settled_at.is_(None))
    .order_by(_command.number)
)
_NOT_OF_THE_STATE = (MESSAGE, REFRESH)


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """How the settings want it: entitlements' lifetime, and patience with the CAS."""

    renewal: Renewal
    patience: Patience


def decide(connection: Connection, terms: Terms, now_ms: int, limit: int) -> Counter[str]:
    """Write the next command of each card that is due; a card at rest is told when it is next."""
    take_turns(connection, CABLE)
    counts: Counter[str] = Counter()
    views = read_cards(connection, due_cards(connection, now_ms, limit))
    catalog = packages_in(connection) if views else {}
    for view in views:
        counts += _decide_card(connection, view, catalog, terms, now_ms)
    return counts


def _decide_card(
    connection: Connection,
    view: CardView,
    catalog: Mapping[str, ChannelPackage],
    terms: Terms,
    now_ms: int,
) -> Counter[str]:
    counts: Counter[str] = Counter()
    wanted = wanted_state(view.facts, catalog, terms.renewal, now_ms)
    step = next_step(wanted, view.known.at(now_ms))
    latest = view.latest
    values: dict[str, Any] = {"barred": view.facts.barred, "due_at": None}
    if latest is not None and latest.outcome in commands.OPEN:
        is_obsolete = not latest.request_id and latest.step != step
        if latest.outcome != commands.PENDING or latest.attempts or not is_obsolete:
            _write_card(connection, view, values)  # its answer makes the card due again
            return counts
        _write_fate(connection, [commands.on_no_longer_wanted(latest, now_ms)])
        counts["cas_commands_superseded"] += 1
    if step is not None:
        repetition, at = commands.may_repeat(step, latest, terms.patience, now_ms)
        if at is None:
            command = _command_of(view, step, repetition, now_ms)
            _write_command(connection, command)
            values["commands"] = command.number
            counts["cas_commands_written"] += 1
        else:
            values["due_at"] = at
    elif view.asked is not None:
        request_id, operation, message = view.asked
        command = dataclasses.replace(
            _command_of(view, Step(operation), 0, now_ms), request_id=request_id, message=message
        )
        _write_command(connection, command)
        values["commands"] = command.number
        counts["cas_commands_written"] += 1
    else:
        values["due_at"] = next_change_at(view.facts, terms.renewal, now_ms)
    _write_card(connection, view, values)
    return counts


def _command_of(view: CardView, step: Step, repetition: int, now_ms: int) -> CasCommand:
    """Return the next command of a card."""
    serial, number = view.facts.card_serial, view.commands + 1
    return CasCommand(
        f"{serial}/{number}",
        serial,
        number,
        view.branch_id,
        view.subscriber_id,
        step.operation,
        step.box_serial,
        step.entitlement,
        step.expires_at,
        "",
        "",
        commands.PENDING,
        0,
        repetition,
        view.facts.barred,
        now_ms,
        now_ms,
    )


def has_pending(connection: Connection, now_ms: int) -> bool:
    """Return whether any command may leave now."""
    return connection.execute(_PENDING, {"now_ms": now_ms, "limit": 1}).first() is not None


def take_pending(connection: Connection, now_ms: int, limit: int) -> list[CasCommand]:
    """Return commands that may leave now, recorded as sent before they do."""
    take_turns(connection, CABLE)
    found = connection.execute(_PENDING, {"now_ms": now_ms, "limit": limit})
    leaving = [commands.on_left(CasCommand(*row), now_ms) for row in found]
    _write_fate(connection, leaving)
    return leaving


def put_back(
    connection: Connection, stayed: Iterable[CasCommand], patience: Patience, now_ms: int
) -> None:
    """Record that commands could not leave after all."""
    take_turns(connection, CABLE)
    _write_fate(connection, [commands.on_not_left(one, patience, now_ms) for one in stayed])


def recover(connection: Connection, now_ms: int) -> int:
    """Make commands whose answer a former process took with it leave again; return how many."""
    take_turns(connection, CABLE)
    query = select(*COMMAND).where(_command.outcome == commands.SENT, _command.settled_at.is_(None))
    lost = [CasCommand(*row) for row in connection.execute(query)]
    _write_fate(connection, [commands.on_restart(command, now_ms) for command in lost])
    return len(lost)


def settle(
    connection: Connection, answers: Sequence[CasAnswer], patience: Patience, now_ms: int
) -> list[CasCommand]:
    """Record answers and silences; return the commands that they changed.

    What a card is known to have moves on with the acknowledgement, in the same transaction.
    """
    take_turns(connection, CABLE)
    by_id = {answer.request_id: answer for answer in answers}
    rows = among(connection, _COMMANDS, _command.command_id, by_id)
    changed = []
    for command in [CasCommand(*row) for row in rows]:
        answered = commands.on_answer(command, by_id[command.command_id], patience, now_ms)
        if answered is command:
            continue  # another office has recorded it
        if answered.outcome == commands.ACKNOWLEDGED:
            if command.operation in _NOT_OF_THE_STATE:
                answered = dataclasses.replace(answered, settled_at=now_ms)
                _make_due(connection, command.card_serial, now_ms)
            else:
                _apply(connection, command, now_ms)
        elif answered.outcome == commands.FAILED:
            _make_due(connection, command.card_serial, now_ms)
        changed.append(answered)
    _write_fate(connection, changed)
    return changed


def _apply(connection: Connection, command: CasCommand, now_ms: int) -> None:
    """Move what a card is known to have on by a command that was done."""
    query = select(_card.box_serial, _card.entitlements).where(
        _card.card_serial == command.card_serial
    )
    known = after(state_of(connection.execute(query).one()), command.step)
    values = _state_values(known) | {"due_at": now_ms, "checked_at": None}
    connection.execute(
        update(tables.cable_card).where(_card.card_serial == command.card_serial).values(values)
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What the CAS said of a card when it was asked after so many commands; no state: it refused,
    for this reason."""

    card_serial: str
    commands: int
    state: CardState | None
    reason: str = ""


def compare(
    connection: Connection, found: Found, patience: Patience, now_ms: int
) -> tuple[Counter[str], list[CasCommand]]:
    """Record what the CAS has of a card; return counts, and commands that are given up for good.

    What it has is the truth from now on: where that is not what should be, the next look at the
    card repairs it. An answer that a command has overtaken is left alone.
    """
    take_turns(connection, CABLE)
    views = read_cards(connection, [found.card_serial])
    is_open = any(view.latest and view.latest.outcome in commands.OPEN for view in views)
    if not views or is_open or views[0].commands != found.commands:
        return Counter(), []
    [view] = views
    counts: Counter[str] = Counter(cas_cards_checked=1)
    if found.state is None:
        values = {"checked_at": now_ms, "difference": found.reason}
        _write_card(connection, view, values)
        return counts, []
    known, state = view.known.at(now_ms), found.state.at(now_ms)
    difference = "; ".join(differences(known, state))
    rows = among(connection, _UNPROVEN, _command.card_serial, [found.card_serial])
    proven = [commands.on_seen(CasCommand(*row), state, known, now_ms) for row in rows]
    _write_fate(connection, proven)
    values = {"checked_at": now_ms, "difference": difference}
    if difference:
        counts["cas_cards_differing"] += 1
        values |= _state_values(state) | {"due_at": now_ms}
    _write_card(connection, view, values)
    counts["cas_commands_verified"] += sum(c.outcome == commands.VERIFIED for c in proven)
    lost = [command for command in proven if command.outcome == commands.LOST]
    counts["cas_commands_lost"] += len(lost)
    return counts, [command for command in lost if command.round + 1 >= patience.rounds]


def _state_values(state: CardState) -> dict[str, Any]:
    entitlements = json.dumps(dict(sorted(state.entitlements.items())), ensure_ascii=False)
    return {"box_serial": state.box_serial, "entitlements": entitlements}


def _make_due(connection: Connection, card_serial: str, now_ms: int) -> None:
    statement = update(tables.cable_card).where(
        _card.card_serial == card_serial, or_(_card.due_at.is_(None), _card.due_at > now_ms)
    )
    connection.execute(statement.values(due_at=now_ms))


def _write_card(connection: Connection, view: CardView, values: Mapping[str, Any]) -> None:
    connection.execute(
        update(tables.cable_card)
        .where(_card.card_serial == view.facts.card_serial)
        .values(dict(values))
    )


def _write_command(connection: Connection, command: CasCommand) -> None:
    connection.execute(insert(tables.cas_command), [dataclasses.asdict(command)])


def _write_fate(connection: Connection, changed: Sequence[CasCommand]) -> None:
    if changed:
        rows = [
            {"p_command_id": c.command_id} | {f"p_{name}": getattr(c, name) for name in _FATE}
            for c in changed
        ]
        connection.execute(_UPDATE, rows)
