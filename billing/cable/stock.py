"""Set-top boxes and smart cards: where each one is, as a table of movements.

    receive        store          issue           return
    ──────▶ received ───▶ in_store ───▶ issued ───────▶ returned ──store──▶ in_store
                            │ transfer                    ▲
    from anywhere: fault ▶ faulty ──store (repaired)      │ find
                   lose  ▶ lost ──────────────────────────┘        faulty ──scrap──▶ scrapped

A movement is never changed; a device's state is that of its last movement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from billing.cable.refusals import RefusedError

BOX = "box"
CARD = "card"
DEVICE_KINDS: Mapping[str, str] = {BOX: "set-top box", CARD: "smart card"}
"""Kind of a device, and the words for it."""

RECEIVED = "received"
IN_STORE = "in_store"
ISSUED = "issued"
RETURNED = "returned"
FAULTY = "faulty"
LOST = "lost"
SCRAPPED = "scrapped"
STATES = (RECEIVED, IN_STORE, ISSUED, RETURNED, FAULTY, LOST, SCRAPPED)

RECEIVE = "receive"
STORE = "store"
TRANSFER = "transfer"
ISSUE = "issue"
RETURN = "return"
FAULT = "fault"
LOSE = "lose"
FIND = "find"
SCRAP = "scrap"

MOVES: Mapping[tuple[str, str], str] = {
    ("", RECEIVE): RECEIVED,
    (RECEIVED, STORE): IN_STORE,
    (RETURNED, STORE): IN_STORE,
    (FAULTY, STORE): IN_STORE,
    (IN_STORE, TRANSFER): IN_STORE,
    (IN_STORE, ISSUE): ISSUED,
    (ISSUED, RETURN): RETURNED,
    (RECEIVED, FAULT): FAULTY,
    (IN_STORE, FAULT): FAULTY,
    (ISSUED, FAULT): FAULTY,
    (RETURNED, FAULT): FAULTY,
    (RECEIVED, LOSE): LOST,
    (IN_STORE, LOSE): LOST,
    (ISSUED, LOSE): LOST,
    (LOST, FIND): RETURNED,
    (FAULTY, SCRAP): SCRAPPED,
}
"""(state, action) to the next state; everything else is refused."""

ACTIONS = tuple(dict.fromkeys(action for _, action in MOVES))


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """A box or a card: a row of `cable_device`, same names.

    branch_id is whose store it belongs to; subscriber_id who has it, empty unless issued;
    movements is how many there were, so the number of the last one.
    """

    serial: str
    kind: str
    model_id: str
    branch_id: str
    state: str
    subscriber_id: str
    movements: int


@dataclasses.dataclass(frozen=True, slots=True)
class Movement:
    """One step of a device's life: a row of `cable_movement`; number is dense from 1."""

    serial: str
    number: int
    action: str
    from_state: str
    to_state: str
    branch_id: str
    subscriber_id: str
    moved_at: int
    moved_by: str
    note: str


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What somebody does with a device; branch_id is where a transfer goes, subscriber_id to whom
    it is issued; both are empty otherwise."""

    action: str
    moved_at: int
    moved_by: str
    note: str = ""
    branch_id: str = ""
    subscriber_id: str = ""


def receive(serial: str, kind: str, model_id: str, order: Order) -> tuple[Device, Movement]:
    """Return a device that has come from its maker into a branch, and its first movement."""
    if kind not in DEVICE_KINDS:
        raise RefusedError(f"kind {kind!r}: expected one of {', '.join(DEVICE_KINDS)}")
    return move(Device(serial, kind, model_id, order.branch_id, "", "", 0), order)


def move(device: Device, order: Order) -> tuple[Device, Movement]:
    """Return the device after an order, and the movement to append.

    RefusedError where its state does not allow it, or where the order lacks its target.
    """
    words = f"{DEVICE_KINDS[device.kind]} {device.serial}"
    state = MOVES.get((device.state, order.action))
    if state is None:
        possible = [action for (before, action) in MOVES if before == device.state]
        raise RefusedError(
            f"The {words} is {device.state.replace('_', ' ')}: {order.action!r} is not possible,"
            f" only {', '.join(possible) or 'nothing'}"
        )
    if order.action == TRANSFER and order.branch_id in ("", device.branch_id):
        raise RefusedError(f"A transfer of the {words} needs the branch_id of another branch")
    if (order.action == ISSUE) != bool(order.subscriber_id):
        raise RefusedError(f"A subscriber_id belongs to an issue of the {words}, and only there")
    number = device.movements + 1
    branch_id = order.branch_id if order.action == TRANSFER else device.branch_id
    # Who had it stays in the movement that takes it away from him.
    holder = order.subscriber_id or device.subscriber_id
    moved = dataclasses.replace(
        device,
        state=state,
        branch_id=branch_id,
        subscriber_id=order.subscriber_id,
        movements=number,
    )
    return moved, Movement(
        device.serial,
        number,
        order.action,
        device.state,
        state,
        branch_id,
        holder,
        order.moved_at,
        order.moved_by,
        order.note,
    )
