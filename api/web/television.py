"""The page of a subscriber's television: boxes, packages, and what the CAS says of each card."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from starlette.responses import RedirectResponse, Response

from api.commanding import Done
from api.cursors import Paging
from api.models.cable import (
    TvCardRequest,
    TvPackagesChange,
    TvPairingCreate,
    TvPairingEnding,
    TvSwapRequest,
)
from api.reads import cable as reads
from api.reads import parties
from api.web.rendering import HEADERS, page
from api.web.visitors import FormVisitorDep, VisitorDep
from api.writes import cable as writes
from billing.adapters.databases import reading
from billing.cable import stock

router = APIRouter(include_in_schema=False)

_COMMANDS_SHOWN = 12
_IN_STORE_SHOWN = 200

Once = Annotated[str, Form(max_length=64)]
Short = Annotated[str, Form(max_length=200)]


@router.get("/subscribers/{subscriber_id}/tv")
def show_television(visitor: VisitorDep, subscriber_id: str, done: str = "") -> Response:
    """Show a subscriber's outlets, and the forms of what a clerk does with them."""
    now, reach = visitor.services.now_ms(), visitor.principal.branch_id
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "subscribers")
        subscriber = parties.get_subscriber(connection, reach, subscriber_id, now)
        branch_id = subscriber.branch_id
        context["subscriber"] = subscriber
        context["branch"] = parties.get_branch(connection, None, branch_id)
        context["tv"] = reads.subscriber_tv(connection, reach, subscriber_id, now)
        every = Paging(visitor.services.config.page_size_max)
        packages = reads.list_packages(connection, branch_id, every).items
        context["packages"] = packages
        context["names"] = {one.entitlement: one.name for one in packages}
        for kind in stock.DEVICE_KINDS:
            filters = {"kind": kind, "state": stock.IN_STORE}
            in_store = Paging(_IN_STORE_SHOWN)
            found = reads.list_devices(connection, branch_id, in_store, filters)
            context[f"{kind}es" if kind == stock.BOX else f"{kind}s"] = found.items
        of_subscriber = {"subscriber_id": subscriber_id}
        latest = Paging(_COMMANDS_SHOWN)
        commands = reads.list_commands(connection, reach, latest, of_subscriber)
    context |= {"commands": commands.items, "done": done[:20]}
    return page("television.html", context)


@router.post("/subscribers/{subscriber_id}/tv/pairings")
def give_box(
    visitor: FormVisitorDep,
    subscriber_id: str,
    card: Short,
    box: Short,
    outlet: Annotated[int, Form(ge=1, le=99)] = 1,
    once: Once = "",
) -> Response:
    """Give a box with a card."""
    body = TvPairingCreate(outlet=outlet, card_serial=card.strip(), box_serial=box.strip())
    command = visitor.command(once, f"{subscriber_id}/{outlet}/{card}/{box}")
    command.once(lambda t: Done(writes.pair(t, subscriber_id, body), 201))
    return _shown(subscriber_id, "paired")


@router.post("/subscribers/{subscriber_id}/tv/packages")
def change_packages(
    visitor: FormVisitorDep,
    subscriber_id: str,
    outlet: Annotated[int, Form(ge=1, le=99)],
    held: Annotated[list[str], Form()] = [],  # noqa: B006 (FastAPI copies it)
    chosen: Annotated[list[str], Form()] = [],  # noqa: B006
    once: Once = "",
) -> Response:
    """Change the packages of an outlet to those that are ticked."""
    add = [package for package in chosen if package not in held]
    remove = [package for package in held if package not in chosen]
    if not add and not remove:
        return _shown(subscriber_id, "unchanged")
    body = TvPackagesChange(outlet=outlet, add=add, remove=remove)
    command = visitor.command(once, f"{subscriber_id}/{outlet}/{add}/{remove}")
    command.once(lambda t: Done(writes.change_packages(t, subscriber_id, body)))
    return _shown(subscriber_id, "packages")


@router.post("/subscribers/{subscriber_id}/tv/pairings/{pairing_id}/swap")
def swap_box(
    visitor: FormVisitorDep,
    subscriber_id: str,
    pairing_id: str,
    box: Short,
    reason: Short = "faulty",
    once: Once = "",
) -> Response:
    """Replace the box."""
    body = TvSwapRequest.model_validate({"box_serial": box.strip(), "reason": reason})
    command = visitor.command(once, f"{pairing_id}/swap/{box}/{reason}")
    command.once(lambda t: Done(writes.swap(t, pairing_id, body)))
    return _shown(subscriber_id, "swapped")


@router.post("/subscribers/{subscriber_id}/tv/pairings/{pairing_id}/end")
def take_back(
    visitor: FormVisitorDep,
    subscriber_id: str,
    pairing_id: str,
    reason: Short = "returned",
    end_packages: Annotated[bool, Form()] = False,
    once: Once = "",
) -> Response:
    """Take box and card out of use."""
    body = TvPairingEnding.model_validate({"reason": reason, "end_packages": end_packages})
    command = visitor.command(once, f"{pairing_id}/end/{reason}/{end_packages}")
    command.once(lambda t: Done(writes.end_pairing(t, pairing_id, body)))
    return _shown(subscriber_id, "ended")


@router.post("/subscribers/{subscriber_id}/tv/cards/{serial}")
def command_card(
    visitor: FormVisitorDep,
    subscriber_id: str,
    serial: str,
    text: Annotated[str, Form(max_length=160)] = "",
    once: Once = "",
) -> Response:
    """Write on the screen; without a text, send the card again what it has."""
    operation = "message" if text.strip() else "refresh"
    body = TvCardRequest.model_validate({"operation": operation, "text": text})
    command = visitor.command(once, f"{serial}/{operation}/{text}")
    command.once(lambda t: Done(writes.request_card(t, serial, body), 202))
    return _shown(subscriber_id, operation)


def _shown(subscriber_id: str, done: str) -> Response:
    return RedirectResponse(f"/subscribers/{subscriber_id}/tv?done={done}", 303, HEADERS)
