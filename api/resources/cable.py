"""Cable TV: channels, packages, boxes and cards, outlets, commands to the CAS."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.cable import (
    DeviceKind,
    SubscriberTv,
    TvCardAccepted,
    TvCardRequest,
    TvChannel,
    TvChannelCreate,
    TvCommand,
    TvDevice,
    TvDeviceDetail,
    TvModel,
    TvModelCreate,
    TvMoveRequest,
    TvPackage,
    TvPackageCreate,
    TvPackagePatch,
    TvPackagesChange,
    TvPairing,
    TvPairingCreate,
    TvPairingEnding,
    TvStock,
    TvStockCreate,
    TvSwapRequest,
)
from api.models.values import Page
from api.reads import cable as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from api.writes import cable as writes
from billing.adapters.databases import reading

router = APIRouter(tags=["tv"])

State = Literal["received", "in_store", "issued", "returned", "faulty", "lost", "scrapped"]
Outcome = Literal["pending", "sent", "acknowledged", "verified", "lost", "failed", "superseded"]


@router.get("/tv/channels", responses=problems())
def list_tv_channels(caller: CallerDep, paging: PagingDep) -> Page[TvChannel]:
    """List the channels of the branches by number."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_channels(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/tv/channels",
    status_code=201,
    response_model=TvChannel,
    responses=problems(403, 404, 409),
)
def create_tv_channel(command: CommandDep, body: TvChannelCreate) -> Response:
    """Add a channel."""
    return command.once(lambda t: Done(writes.create_channel(t, body), 201)).response()


@router.get("/tv/packages", responses=problems())
def list_tv_packages(caller: CallerDep, paging: PagingDep) -> Page[TvPackage]:
    """List the channel packages, base, add-on and single channels, sold now or not."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_packages(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/tv/packages",
    status_code=201,
    response_model=TvPackage,
    responses=problems(403, 404, 409),
)
def create_tv_package(command: CommandDep, body: TvPackageCreate) -> Response:
    """Put a package on sale."""
    return command.once(lambda t: Done(writes.create_package(t, body), 201)).response()


@router.patch("/tv/packages/{package_id}", response_model=TvPackage, responses=problems(404, 409))
def change_tv_package(command: CommandDep, package_id: str, body: TvPackagePatch) -> Response:
    """Change until when a package is sold or shown; who has it keeps the end he was given."""
    return command.once(lambda t: Done(writes.limit_package(t, package_id, body))).response()


@router.get("/tv/models", responses=problems())
def list_tv_models(caller: CallerDep, paging: PagingDep) -> Page[TvModel]:
    """List the makes of boxes and cards."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_models(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/tv/models", status_code=201, response_model=TvModel, responses=problems(403, 404, 409)
)
def create_tv_model(command: CommandDep, body: TvModelCreate) -> Response:
    """Add a make of box or card, with the product of its rent."""
    return command.once(lambda t: Done(writes.create_model(t, body), 201)).response()


@router.get("/tv/devices", responses=problems())
def list_tv_devices(
    caller: CallerDep,
    paging: PagingDep,
    kind: Annotated[DeviceKind | None, Query(description="Only boxes, or only cards")] = None,
    state: Annotated[State | None, Query(description="Only in this state")] = None,
    subscriber_id: Annotated[str | None, Query(description="Only what this one has")] = None,
) -> Page[TvDevice]:
    """List boxes and cards by serial, and where each one is."""
    given = {"kind": kind, "state": state, "subscriber_id": subscriber_id}
    filters = {name: value for name, value in given.items() if value}
    with reading(caller.services.engine) as connection:
        cut = reads.list_devices(connection, caller.branch_id, paging, filters)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post("/tv/devices", status_code=201, response_model=TvStock, responses=problems(404, 409))
def receive_tv_devices(command: CommandDep, body: TvStockCreate) -> Response:
    """Take boxes or cards of one model into stock, all of them or none."""
    return command.once(lambda t: Done(writes.receive_stock(t, body), 201)).response()


@router.get("/tv/devices/{serial}", responses=problems(404))
def get_tv_device(caller: CallerDep, serial: str) -> TvDeviceDetail:
    """Get a box or card with everything that was done with it."""
    with reading(caller.services.engine) as connection:
        device = reads.get_device(connection, caller.branch_id, serial)
        return reads.device_detail(connection, device)


@router.post(
    "/tv/devices/{serial}/movements", response_model=TvDevice, responses=problems(404, 409)
)
def move_tv_device(command: CommandDep, serial: str, body: TvMoveRequest) -> Response:
    """Move a box or card: into store, to another branch, returned, faulty, lost, found, scrapped.

    One that is in use is moved by ending or swapping its pairing.
    """
    return command.once(lambda t: Done(writes.move_device(t, serial, body))).response()


@router.get("/subscribers/{subscriber_id}/tv", responses=problems(404))
def get_subscriber_tv(caller: CallerDep, subscriber_id: str) -> SubscriberTv:
    """Get a subscriber's outlets: box, packages, and what the card should and does have."""
    with reading(caller.services.engine) as connection:
        now = caller.services.now_ms()
        return reads.subscriber_tv(connection, caller.branch_id, subscriber_id, now)


@router.post(
    "/subscribers/{subscriber_id}/tv/pairings",
    status_code=201,
    response_model=TvPairing,
    responses=problems(404, 409),
)
def create_tv_pairing(command: CommandDep, subscriber_id: str, body: TvPairingCreate) -> Response:
    """Give a subscriber a card in a box at an outlet."""
    return command.once(lambda t: Done(writes.pair(t, subscriber_id, body), 201)).response()


@router.post(
    "/tv/pairings/{pairing_id}/swap", response_model=TvPairing, responses=problems(404, 409)
)
def swap_tv_pairing(command: CommandDep, pairing_id: str, body: TvSwapRequest) -> Response:
    """Replace a card, a box or both; what the outlet has bought stays."""
    return command.once(lambda t: Done(writes.swap(t, pairing_id, body))).response()


@router.post(
    "/tv/pairings/{pairing_id}/end", response_model=TvPairing, responses=problems(404, 409)
)
def end_tv_pairing(command: CommandDep, pairing_id: str, body: TvPairingEnding) -> Response:
    """End a pairing: returned, faulty, lost or stolen."""
    return command.once(lambda t: Done(writes.end_pairing(t, pairing_id, body))).response()


@router.post(
    "/subscribers/{subscriber_id}/tv/packages",
    response_model=SubscriberTv,
    responses=problems(404, 409),
)
def change_tv_packages(command: CommandDep, subscriber_id: str, body: TvPackagesChange) -> Response:
    """Add packages to an outlet and take others off it, at one instant; prorated by the day."""
    return command.once(lambda t: Done(writes.change_packages(t, subscriber_id, body))).response()


@router.post(
    "/tv/cards/{serial}/commands",
    status_code=202,
    response_model=TvCardAccepted,
    responses=problems(404, 409),
)
def create_tv_card_command(command: CommandDep, serial: str, body: TvCardRequest) -> Response:
    """Send a message to a card's screen, or send it again what it has."""
    answer = command.once(lambda t: Done(writes.request_card(t, serial, body), 202))
    return answer.response()


@router.get("/tv/commands", responses=problems())
def list_tv_commands(
    caller: CallerDep,
    paging: PagingDep,
    card_serial: Annotated[str | None, Query(description="Only of this card")] = None,
    subscriber_id: Annotated[str | None, Query(description="Only of this subscriber")] = None,
    outcome: Annotated[Outcome | None, Query(description="Only with this outcome")] = None,
) -> Page[TvCommand]:
    """List commands to the conditional-access system, the newest first."""
    given = {"card_serial": card_serial, "subscriber_id": subscriber_id, "outcome": outcome}
    filters = {name: value for name, value in given.items() if value}
    with reading(caller.services.engine) as connection:
        cut = reads.list_commands(connection, caller.branch_id, paging, filters)
    return Page(items=cut.items, next_cursor=cut.next_cursor)
