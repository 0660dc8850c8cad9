"""Cable TV: what is sold, boxes and cards, what an outlet has, and what its card may show."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from api.instants import Instant, InstantIn
from api.models.values import Identity, Model, Text, example


def _day(text: str) -> str:
    datetime.date.fromisoformat(text)
    return text


Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_day)]
"""A local day of the branch, such as ``2026-12-01``."""

Serial = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9._-]+$")]
"""What is printed on a box or card."""

Outlet = Annotated[int, Field(ge=1, le=99)]
Note = Annotated[str, Field(max_length=200)]
PackageKind = Literal["base", "addon", "a_la_carte"]
DeviceKind = Literal["box", "card"]
EndReason = Literal["returned", "faulty", "lost", "stolen"]

_CHANNEL = {"channel_id": "btv", "number": 1, "name": "BTV", "language": "bn", "genre": "general"}


class TvChannelCreate(Model):
    """A channel to add to a branch's list; number is its place on the box."""

    model_config = example({"branch_id": "dhanmondi", **_CHANNEL})

    branch_id: Identity | None = None
    channel_id: Identity
    number: int = Field(ge=1, le=9999)
    name: Text
    language: str = Field(default="", max_length=20)
    genre: str = Field(default="", max_length=40)


class TvChannel(Model):
    """A channel of a branch."""

    model_config = example({"branch_id": "dhanmondi", **_CHANNEL})

    channel_id: str
    branch_id: str
    number: int
    name: str
    language: str
    genre: str


_PACKAGE = {
    "package_id": "basic",
    "branch_id": "dhanmondi",
    "kind": "base",
    "name": "Basic",
    "entitlement": "P-BASIC",
    "product_id": "tv-basic",
    "channels": ["btv"],
    "requires": [],
    "excludes": [],
    "offered_from_on": "2026-01-01",
    "offered_until_on": None,
    "shown_until_on": None,
}


class TvPackageCreate(Model):
    """A package to put on sale. product_id names a recurring product, which is its price."""

    model_config = example(_PACKAGE)

    branch_id: Identity | None = None
    package_id: Identity
    kind: PackageKind
    name: Text
    entitlement: Identity
    product_id: Identity | None = None
    channels: list[Identity] = Field(min_length=1, max_length=1000)
    requires: list[Identity] = Field(default=[], max_length=100)
    excludes: list[Identity] = Field(default=[], max_length=100)
    offered_from_on: Day | None = None
    offered_until_on: Day | None = None
    shown_until_on: Day | None = None


class TvPackagePatch(Model):
    """Until when a package is sold, or shown; null is without end."""

    model_config = example({"offered_until_on": "2027-01-01"})

    offered_until_on: Day | None = None
    shown_until_on: Day | None = None


class TvPackage(Model):
    """A package as it is sold: `[offered_from_on, offered_until_on)` are local days."""

    model_config = example(_PACKAGE)

    package_id: str
    branch_id: str
    kind: PackageKind
    name: str
    entitlement: str
    product_id: str
    channels: list[str]
    requires: list[str]
    excludes: list[str]
    offered_from_on: str
    offered_until_on: str | None
    shown_until_on: str | None


_MODEL = {
    "model_id": "zapper-hd",
    "branch_id": "dhanmondi",
    "kind": "box",
    "name": "Zapper HD",
    "rent_product_id": "box-rent",
}


class TvModelCreate(Model):
    """A make of box or card; rent_product_id names the recurring product of its rent."""

    model_config = example(_MODEL)

    branch_id: Identity | None = None
    model_id: Identity
    kind: DeviceKind
    name: Text
    rent_product_id: Identity | None = None


class TvModel(Model):
    """A make of box or card."""

    model_config = example(_MODEL)

    model_id: str
    branch_id: str
    kind: DeviceKind
    name: str
    rent_product_id: str


class TvStockCreate(Model):
    """Boxes or cards of one model that have come from their maker; into_store: ready to issue."""

    model_config = example(
        {"model_id": "zapper-hd", "serials": ["B-1001", "B-1002"], "into_store": True}
    )

    model_id: Identity
    serials: list[Serial] = Field(min_length=1, max_length=1000)
    into_store: bool = False
    note: Note = ""


_DEVICE = {
    "serial": "B-1001",
    "kind": "box",
    "model_id": "zapper-hd",
    "branch_id": "dhanmondi",
    "state": "issued",
    "subscriber_id": "sub_01J9Z2",
}


class TvDevice(Model):
    """A box or card and where it is; subscriber_id is empty unless it is issued."""

    model_config = example(_DEVICE)

    serial: str
    kind: DeviceKind
    model_id: str
    branch_id: str
    state: str
    subscriber_id: str


class TvStock(Model):
    """What was taken into stock."""

    model_config = example({"devices": [_DEVICE]})

    devices: list[TvDevice]


_MOVEMENT = {
    "number": 3,
    "action": "issue",
    "from_state": "in_store",
    "to_state": "issued",
    "branch_id": "dhanmondi",
    "subscriber_id": "sub_01J9Z2",
    "moved_at": "2026-11-21T10:15:02Z",
    "moved_by": "Front desk",
    "note": "outlet 1",
}


class TvMovement(Model):
    """One thing that was done with a box or card; never changed afterwards."""

    model_config = example(_MOVEMENT)

    number: int
    action: str
    from_state: str
    to_state: str
    branch_id: str
    subscriber_id: str
    moved_at: Instant
    moved_by: str
    note: str


class TvDeviceDetail(Model):
    """A box or card with its whole history."""

    model_config = example({"device": _DEVICE, "movements": [_MOVEMENT]})

    device: TvDevice
    movements: list[TvMovement]


class TvMoveRequest(Model):
    """What is done with a box or card that is in no pairing; branch_id belongs to a transfer."""

    model_config = example({"action": "store", "note": "checked, works"})

    action: Literal["store", "transfer", "return", "fault", "lose", "find", "scrap"]
    branch_id: Identity | None = None
    note: Note = ""


class TvPairingCreate(Model):
    """A card in a box at an outlet of a subscriber."""

    model_config = example({"outlet": 1, "card_serial": "C-2001", "box_serial": "B-1001"})

    outlet: Outlet = 1
    card_serial: Serial
    box_serial: Serial


class TvSwapRequest(Model):
    """Another card, another box or both at the same outlet, and why the old one goes."""

    model_config = example({"box_serial": "B-1002", "reason": "faulty", "note": "no picture"})

    card_serial: Serial | None = None
    box_serial: Serial | None = None
    reason: EndReason
    note: Note = ""

    @model_validator(mode="after")
    def _names_something(self) -> TvSwapRequest:
        if self.card_serial is None and self.box_serial is None:
            raise ValueError("a card_serial, a box_serial or both")
        return self


class TvPairingEnding(Model):
    """How a pairing ends. reason applies to `devices` (left out: card and box); what else there
    is stays with the subscriber. end_packages also ends what the outlet has bought."""

    model_config = example({"reason": "returned", "end_packages": True})

    reason: EndReason
    devices: list[Serial] | None = None
    end_packages: bool = False
    note: Note = ""


_PAIRING = {
    "pairing_id": "pair_01J9ZA",
    "subscriber_id": "sub_01J9Z2",
    "outlet": 1,
    "card_serial": "C-2001",
    "box_serial": "B-1001",
    "paired_at": "2026-11-21T10:15:02Z",
    "paired_by": "Front desk",
    "ended_at": None,
    "end_reason": "",
}


class TvPairing(Model):
    """A card in a box at an outlet; ended_at is null while it stands."""

    model_config = example(_PAIRING)

    pairing_id: str
    subscriber_id: str
    outlet: int
    card_serial: str
    box_serial: str
    paired_at: Instant
    paired_by: str
    ended_at: Instant | None
    end_reason: str


class TvPackagesChange(Model):
    """Packages to add to an outlet and to take off it, all at once; at once, or later."""

    model_config = example({"outlet": 1, "add": ["gold"], "remove": ["basic"]})

    outlet: Outlet = 1
    add: list[Identity] = Field(default=[], max_length=100)
    remove: list[Identity] = Field(default=[], max_length=100)
    effective_at: InstantIn | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> TvPackagesChange:
        if not self.add and not self.remove:
            raise ValueError("a package to add or to remove")
        if len(set(self.add)) != len(self.add) or len(set(self.remove)) != len(self.remove):
            raise ValueError("each package once")
        return self


_HOLDING = {
    "holding_id": "tvh_01J9ZB",
    "outlet": 1,
    "package_id": "basic",
    "name": "Basic",
    "kind": "base",
    "starts_at": "2026-11-21T10:15:02Z",
    "ends_at": None,
    "service_id": "tv/tvh_01J9ZB",
}


class TvHolding(Model):
    """A package at an outlet; service_id is what invoices it, empty where it costs nothing."""

    model_config = example(_HOLDING)

    holding_id: str
    outlet: int
    package_id: str
    name: str
    kind: str
    starts_at: Instant
    ends_at: Instant | None
    service_id: str


_ENTITLEMENT = {
    "entitlement": "P-BASIC",
    "name": "Basic",
    "is_wanted": True,
    "known_until": "2026-12-30T11:00:00Z",
}


class TvEntitlement(Model):
    """A package on a card: whether it should be there, and until when the CAS has it."""

    model_config = example(_ENTITLEMENT)

    entitlement: str
    name: str
    is_wanted: bool
    known_until: Instant | None


_CARD = {
    "card_serial": "C-2001",
    "is_right": True,
    "barred": "",
    "box_wanted": "B-1001",
    "box_known": "B-1001",
    "entitlements": [_ENTITLEMENT],
    "checked_at": "2026-11-21T10:15:04Z",
    "difference": "",
}


class TvCard(Model):
    """What a card should have and what the CAS has acknowledged.

    barred is why the subscriber may watch nothing now; checked_at is when the CAS was last asked,
    difference what it then said otherwise.
    """

    model_config = example(_CARD)

    card_serial: str
    is_right: bool
    barred: str
    box_wanted: str
    box_known: str
    entitlements: list[TvEntitlement]
    checked_at: Instant | None
    difference: str


_OUTLET = {"outlet": 1, "pairing": _PAIRING, "packages": [_HOLDING], "card": _CARD}


class TvOutlet(Model):
    """A place where a subscriber watches: its box, its packages, and what its card may show."""

    model_config = example(_OUTLET)

    outlet: int
    pairing: TvPairing | None
    packages: list[TvHolding]
    card: TvCard | None


class SubscriberTv(Model):
    """A subscriber's outlets; unpaired are boxes and cards he has that are in no pairing."""

    model_config = example({"subscriber_id": "sub_01J9Z2", "outlets": [_OUTLET], "unpaired": []})

    subscriber_id: str
    outlets: list[TvOutlet]
    unpaired: list[TvDevice]


class TvCardRequest(Model):
    """A message for the screen, or (refresh) what the card has sent to it again."""

    model_config = example({"operation": "message", "text": "Your bill is ready."})

    operation: Literal["message", "refresh"]
    text: str = Field(default="", max_length=160)

    @model_validator(mode="after")
    def _has_its_text(self) -> TvCardRequest:
        if bool(self.text.strip()) != (self.operation == "message"):
            raise ValueError("a text with operation message, and only there")
        return self


class TvCardAccepted(Model):
    """A request that the office will act on; commands_url tells what came of it."""

    model_config = example(
        {
            "request_id": "tvr_01J9ZC",
            "card_serial": "C-2001",
            "operation": "message",
            "commands_url": "/v1/tv/commands?card_serial=C-2001",
        }
    )

    request_id: str
    card_serial: str
    operation: str
    commands_url: str


class TvCommand(Model):
    """One command to the CAS. acknowledged_at is its word, verified_at the proof."""

    model_config = example(
        {
            "command_id": "C-2001/2",
            "card_serial": "C-2001",
            "subscriber_id": "sub_01J9Z2",
            "operation": "entitle",
            "box_serial": "",
            "entitlement": "P-BASIC",
            "expires_at": "2026-12-30T11:00:00Z",
            "message": "",
            "outcome": "verified",
            "attempts": 1,
            "reason": "",
            "requested_at": "2026-11-21T10:15:02Z",
            "sent_at": "2026-11-21T10:15:02Z",
            "acknowledged_at": "2026-11-21T10:15:03Z",
            "verified_at": "2026-11-21T10:15:04Z",
        }
    )

    command_id: str
    card_serial: str
    subscriber_id: str
    operation: str
    box_serial: str
    entitlement: str
    expires_at: Instant | None
    message: str
    outcome: str
    attempts: int
    reason: str
    requested_at: Instant
    sent_at: Instant | None
    acknowledged_at: Instant | None
    verified_at: Instant | None
