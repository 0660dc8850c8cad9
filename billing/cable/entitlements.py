"""What a card should have, and the next step from what it has towards that.

Entitlements expire by themselves, so a card that the CAS cannot reach does not show television
for ever; they are renewed long before. The instants of renewal are spread over the cards, lest a
hundred thousand of them are renewed in one second.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterable, Mapping, Sequence

from billing.cable.access import ENTITLE, PAIR, UNPAIR, WITHDRAW, CardState
from billing.cable.catalog import ChannelPackage
from billing.dunning_schedule import BLOCK, TERMINATE

BARRING = frozenset({BLOCK, TERMINATE})
"""What dunning may hold an account to so that its cards show nothing; milder things do not."""


@dataclasses.dataclass(frozen=True, slots=True)
class Holding:
    """A package at a subscriber's outlet in [starts_at, ends_at); None while it runs."""

    holding_id: str
    branch_id: str
    account_id: str
    subscriber_id: str
    outlet: int
    package_id: str
    starts_at: int
    ends_at: int | None
    service_id: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Renewal:
    """How long an entitlement is good for, and how often it is prolonged, in ms."""

    lifetime_ms: int
    interval_ms: int

    def expires_at(self, card_serial: str, now_ms: int) -> int:
        """Return until when a card is entitled now; it moves on once per interval."""
        return self.next_at(card_serial, now_ms) - self.interval_ms + self.lifetime_ms

    def next_at(self, card_serial: str, now_ms: int) -> int:
        """Return when the expiry moves on next."""
        offset = zlib.crc32(card_serial.encode()) % self.interval_ms
        return ((now_ms - offset) // self.interval_ms + 1) * self.interval_ms + offset


@dataclasses.dataclass(frozen=True, slots=True)
class CardFacts:
    """What is known of one card. box_serial and holdings are those of its standing pairing.

    barred says in words why the subscriber may watch nothing now (empty: he may).
    """

    card_serial: str
    box_serial: str
    holdings: Sequence[Holding]
    barred: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One change that a CAS can make: operation, and what it is about (see `CasRequest`)."""

    operation: str
    box_serial: str = ""
    entitlement: str = ""
    expires_at: int = 0


def wanted_state(
    facts: CardFacts, catalog: Mapping[str, ChannelPackage], renewal: Renewal, now_ms: int
) -> CardState:
    """Return what a card should have now.

    A card in no box has nothing. A barred subscriber keeps the pairing and watches nothing, so
    what comes back with his payment is the packages alone.
    """
    if not facts.box_serial:
        return CardState()
    if facts.barred:
        return CardState(facts.box_serial)
    limit = renewal.expires_at(facts.card_serial, now_ms)
    entitlements: dict[str, int] = {}
    for holding in running(facts.holdings, now_ms):
        until = limit if holding.ends_at is None else min(limit, holding.ends_at)
        name = catalog[holding.package_id].entitlement
        entitlements[name] = max(until, entitlements.get(name, 0))
    return CardState(facts.box_serial, entitlements)


def running(holdings: Iterable[Holding], at: int) -> list[Holding]:
    """Return the holdings that run at an instant (ms)."""
    return [h for h in holdings if h.starts_at <= at and (h.ends_at is None or at < h.ends_at)]


def next_change_at(facts: CardFacts, renewal: Renewal, now_ms: int) -> int | None:
    """Return when a card should next have something else by the clock alone; None: never."""
    if not facts.box_serial or facts.barred:
        return None
    instants = [h.starts_at for h in facts.holdings]
    instants += [h.ends_at for h in facts.holdings if h.ends_at is not None]
    if running(facts.holdings, now_ms):
        instants.append(renewal.next_at(facts.card_serial, now_ms))
    return min((at for at in instants if at > now_ms), default=None)


def next_step(wanted: CardState, known: CardState) -> Step | None:
    """Return the first of the steps from known to wanted; None where they are equal.

    What a card must no longer show goes first, then the pairing, then what it gains.
    """
    for name in sorted(known.entitlements):
        if name not in wanted.entitlements:
            return Step(WITHDRAW, entitlement=name)
    if known.box_serial and known.box_serial != wanted.box_serial:
        return Step(UNPAIR, box_serial=known.box_serial)
    if wanted.box_serial and known.box_serial != wanted.box_serial:
        return Step(PAIR, box_serial=wanted.box_serial)
    for name, expires_at in sorted(wanted.entitlements.items()):
        if known.entitlements.get(name) != expires_at:
            return Step(ENTITLE, entitlement=name, expires_at=expires_at)
    return None


def after(known: CardState, step: Step) -> CardState:
    """Return what a card has once the CAS has done a step."""
    entitlements = dict(known.entitlements)
    if step.operation == PAIR:
        return CardState(step.box_serial, entitlements)
    if step.operation == UNPAIR:
        return CardState("", entitlements)
    if step.operation == ENTITLE:
        entitlements[step.entitlement] = step.expires_at
    elif step.operation == WITHDRAW:
        entitlements.pop(step.entitlement, None)
    return CardState(known.box_serial, entitlements)


def differences(wanted: CardState, found: CardState) -> list[str]:
    """Return in words how what a CAS says of a card differs from what it should have."""
    words = []
    if found.box_serial != wanted.box_serial:
        words.append(
            f"paired with {found.box_serial or 'no box'}, not {wanted.box_serial or 'none'}"
        )
    for name in sorted({*found.entitlements, *wanted.entitlements}):
        if name not in found.entitlements:
            words.append(f"lacks {name}")
        elif name not in wanted.entitlements:
            words.append(f"has {name}, which it should not")
        elif found.entitlements[name] != wanted.entitlements[name]:
            words.append(f"has {name} until another instant")
    return words
