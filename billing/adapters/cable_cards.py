"""Reads what the office compares about cards: what each should have, and what is known of it."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, exists, func, or_, select, union

from billing.adapters import cable_tables as tables
from billing.adapters.databases import among
from billing.adapters.dunning_tables import dunning_restriction
from billing.adapters.tables import subscriber
from billing.cable.access import CardState
from billing.cable.commands import OPEN, CasCommand
from billing.cable.entitlements import BARRING, CardFacts, Holding

_card, _pairing = tables.cable_card.c, tables.cable_pairing.c
_command, _holding = tables.cas_command.c, tables.cable_holding.c
_request, _subscriber = tables.cable_request.c, subscriber.c
_restriction = dunning_restriction.c

COMMAND = [_command[field.name] for field in dataclasses.fields(CasCommand)]
_HOLDING = [_holding[field.name] for field in dataclasses.fields(Holding)]

_CARDS = select(
    _card.card_serial, _card.box_serial, _card.entitlements, _card.barred, _card.commands
)
_PAIRINGS = (
    select(
        _pairing.card_serial,
        _pairing.box_serial,
        _pairing.branch_id,
        _pairing.subscriber_id,
        _pairing.outlet,
        _subscriber.status,
        _restriction.action,
        _restriction.reason,
    )
    .join_from(
        tables.cable_pairing, subscriber, _subscriber.subscriber_id == _pairing.subscriber_id
    )
    .outerjoin(dunning_restriction, _restriction.account_id == _subscriber.account_id)
    .where(_pairing.ended_at.is_(None))
)
_HOLDINGS = select(*_HOLDING)
_LATEST = select(*COMMAND).join_from(
    tables.cas_command,
    tables.cable_card,
    and_(_card.card_serial == _command.card_serial, _card.commands == _command.number),
)
_ASKED = (
    select(_request.card_serial, _request.request_id, _request.operation, _request.message)
    .where(~exists().where(_command.request_id == _request.request_id))
    .order_by(_request.requested_at, _request.request_id)
)
_BRANCHES = select(tables.cable_device.c.serial, tables.cable_device.c.branch_id)
_DUE = (
    select(_card.card_serial)
    .where(_card.due_at <= bindparam("now_ms"))
    .order_by(_card.due_at, _card.card_serial)
    .limit(bindparam("limit"))
)
_PAIRED = (
    select(_card.card_serial)
    .join_from(
        tables.cable_card,
        tables.cable_pairing,
        and_(_pairing.card_serial == _card.card_serial, _pairing.ended_at.is_(None)),
    )
    .join(subscriber, _subscriber.subscriber_id == _pairing.subscriber_id)
    .outerjoin(dunning_restriction, _restriction.account_id == _subscriber.account_id)
)
_IS_BARRED = or_(
    _subscriber.status != "active", func.coalesce(_restriction.action, "").in_(sorted(BARRING))
)
_STANDING_CHANGED = union(
    _PAIRED.where(_card.barred == "", _IS_BARRED), _PAIRED.where(_card.barred != "", ~_IS_BARRED)
).limit(bindparam("limit"))
_TO_ASK = (
    select(_card.card_serial, _card.commands)
    .where(
        or_(_card.checked_at.is_(None), _card.checked_at <= bindparam("checked_before_at")),
        or_(_card.due_at.is_(None), _card.due_at > bindparam("now_ms")),
        ~exists().where(_command.card_serial == _card.card_serial, _command.outcome.in_(OPEN)),
    )
    .order_by(func.coalesce(_card.checked_at, 0), _card.card_serial)
    .limit(bindparam("limit"))
)


@dataclasses.dataclass(frozen=True, slots=True)
class CardView:
    """One card as the office sees it.

    known is what the CAS has acknowledged; barred is why it was barred at the last look; latest
    is its newest command, commands how many it had; asked is the oldest request of a clerk that
    no command answers yet, as (request_id, operation, message).
    """

    facts: CardFacts
    branch_id: str
    subscriber_id: str
    known: CardState
    barred: str
    commands: int
    latest: CasCommand | None
    asked: tuple[str, str, str] | None


def due_cards(connection: Connection, now_ms: int, limit: int) -> list[str]:
    """Return cards at which the office has to look now, those that wait longest first.

    These are the ones that are due, and those whose subscriber was suspended, resumed, ended, or
    restricted by dunning, or restricted no more.
    """
    due = list(connection.scalars(_DUE, {"now_ms": now_ms, "limit": limit}))
    changed = connection.scalars(_STANDING_CHANGED, {"limit": limit})
    return list(dict.fromkeys([*due, *changed]))[:limit]


def cards_to_ask(
    connection: Connection, checked_before_at: int, now_ms: int, limit: int
) -> list[tuple[str, int]]:
    """Return (card, commands) of cards at rest of which the CAS should be asked now.

    These are the ones that had a command since they were last asked about, and those not asked
    about since checked_before_at (ms).
    """
    bounds = {"checked_before_at": checked_before_at, "now_ms": now_ms, "limit": limit}
    return [(row.card_serial, row.commands) for row in connection.execute(_TO_ASK, bounds)]


def read_cards(connection: Connection, cards: Collection[str]) -> list[CardView]:
    """Return what is known of cards, by serial."""
    rows = {row.card_serial: row for row in among(connection, _CARDS, _card.card_serial, cards)}
    paired = {
        row.card_serial: row for row in among(connection, _PAIRINGS, _pairing.card_serial, cards)
    }
    holdings: dict[tuple[str, int], list[Holding]] = defaultdict(list)
    subscribers = {row.subscriber_id for row in paired.values()}
    for row in among(connection, _HOLDINGS, _holding.subscriber_id, subscribers):
        found = Holding(*row)
        holdings[found.subscriber_id, found.outlet].append(found)
    latest = {
        row.card_serial: CasCommand(*row)
        for row in among(connection, _LATEST, _card.card_serial, cards)
    }
    asked: dict[str, tuple[str, str, str]] = {}
    for row in among(connection, _ASKED, _request.card_serial, cards):
        asked.setdefault(row.card_serial, (row.request_id, row.operation, row.message))
    branches = {
        row.serial: row.branch_id
        for row in among(connection, _BRANCHES, tables.cable_device.c.serial, cards)
    }
    views = []
    for serial in sorted(rows):
        pairing = paired.get(serial)
        own = holdings[pairing.subscriber_id, pairing.outlet] if pairing else []
        views.append(
            CardView(
                facts_of(serial, pairing, own),
                branches.get(serial, ""),
                pairing.subscriber_id if pairing else "",
                state_of(rows[serial]),
                rows[serial].barred,
                rows[serial].commands,
                latest.get(serial),
                asked.get(serial),
            )
        )
    return views


def facts_of(card_serial: str, pairing: Any, holdings: Sequence[Holding]) -> CardFacts:
    """Return the facts of a card from its standing pairing (None: it is in no box)."""
    if pairing is None:
        return CardFacts(card_serial, "", ())
    barred = ""
    if pairing.status != "active":
        barred = f"the subscriber is {pairing.status}"
    elif pairing.action in BARRING:
        barred = pairing.reason or "the account is overdue"
    return CardFacts(card_serial, pairing.box_serial, holdings, barred)


def state_of(row: Any) -> CardState:
    """Return what the CAS has acknowledged of a card, from its row of `cable_card`."""
    return CardState(row.box_serial, json.loads(row.entitlements))
