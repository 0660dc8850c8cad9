"""Which card is in which box, for whom: one at a time, the history kept.

An outlet is a place where a subscriber watches, from 1. Packages belong to the outlet, so whoever
gets another box or another card keeps what he has bought.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from billing.cable import stock
from billing.cable.refusals import RefusedError

END_ACTIONS: Mapping[str, str] = {
    "returned": stock.RETURN,
    "faulty": stock.FAULT,
    "lost": stock.LOSE,
    "stolen": stock.LOSE,
}
"""Why a device is taken out of use, and the movement that this means."""


@dataclasses.dataclass(frozen=True, slots=True)
class Pairing:
    """A card in a box at a subscriber's outlet in [paired_at, ended_at); None while it stands."""

    pairing_id: str
    branch_id: str
    subscriber_id: str
    outlet: int
    card_serial: str
    box_serial: str
    paired_at: int
    paired_by: str
    ended_at: int | None = None
    end_reason: str = ""


def check_device(device: stock.Device | None, wanted_kind: str, pairing: Pairing) -> None:
    """Raise RefusedError where a device cannot be part of a new pairing.

    It must be of the kind, in the branch's store, or issued to this subscriber already.
    """
    words = stock.DEVICE_KINDS[wanted_kind]
    serial = pairing.card_serial if wanted_kind == stock.CARD else pairing.box_serial
    if device is None or device.branch_id != pairing.branch_id:
        raise RefusedError(f"There is no {words} {serial!r} in this branch")
    if device.kind != wanted_kind:
        raise RefusedError(f"{serial!r} is a {stock.DEVICE_KINDS[device.kind]}, not a {words}")
    if device.state == stock.ISSUED and device.subscriber_id == pairing.subscriber_id:
        return
    if device.state != stock.IN_STORE:
        holder = f" to {device.subscriber_id}" if device.subscriber_id else ""
        state = device.state.replace("_", " ")
        raise RefusedError(f"The {words} {serial!r} is {state}{holder}, not in store")


def end_action(reason: str) -> str:
    """Return the movement that a reason means. RefusedError: no such reason."""
    if reason not in END_ACTIONS:
        raise RefusedError(f"reason {reason!r}: expected one of {', '.join(END_ACTIONS)}")
    return END_ACTIONS[reason]


def ended(pairing: Pairing, at: int, reason: str) -> Pairing:
    """Return the pairing as it ends. RefusedError where it has ended already."""
    if pairing.ended_at is not None:
        raise RefusedError(f"The pairing {pairing.pairing_id!r} has ended already")
    return dataclasses.replace(pairing, ended_at=at, end_reason=reason)
