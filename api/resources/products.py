"""Products, services, holds and single charges."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.commanding import CommandDep, Done
from api.models.parties import Ending
from api.models.services import (
    Charge,
    ChargeCreate,
    Hold,
    HoldCreate,
    Product,
    ProductCreate,
    Service,
    ServiceChange,
    ServiceCreate,
)
from api.models.values import Page
from api.reads import services as reads
from api.requests import CallerDep, PagingDep
from api.resources.answers import problems
from api.writes import services as writes
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import reading

router = APIRouter()

OfAccount = Annotated[
    str | None, Query(description="Only of this account", examples=["acc_01J9Z1"])
]


@router.get("/products", tags=["services"], responses=problems())
def list_products(caller: CallerDep, paging: PagingDep) -> Page[Product]:
    """List every version of every product."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_products(connection, caller.branch_id, paging)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/products/{product_id}", tags=["services"], responses=problems(404))
def get_product(
    caller: CallerDep,
    product_id: str,
    version: Annotated[
        int | None, Query(ge=1, description="The newest where left out", examples=[1])
    ] = None,
) -> Product:
    """Get a product's newest version, or the one that is named."""
    with reading(caller.services.engine) as connection:
        return reads.get_product(connection, caller.branch_id, product_id, version)


@router.post(
    "/products",
    tags=["services"],
    status_code=201,
    response_model=Product,
    responses=problems(403, 404, 409),
)
def create_product(command: CommandDep, body: ProductCreate) -> Response:
    """Create a product's next version; what is sold already keeps its own."""

    def create(transaction: CommandTransaction) -> Done:
        product = writes.create_product(transaction, body)
        return Done(product, 201, f"/v1/products/{product.product_id}?version={product.version}")

    return command.once(create).response()


@router.get("/services", tags=["services"], responses=problems())
def list_services(
    caller: CallerDep, paging: PagingDep, account_id: OfAccount = None
) -> Page[Service]:
    """List services, ended ones too."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_services(connection, caller.branch_id, paging, account_id)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.get("/services/{service_id}", tags=["services"], responses=problems(404))
def get_service(caller: CallerDep, service_id: str) -> Service:
    """Get one service."""
    with reading(caller.services.engine) as connection:
        return reads.get_service(connection, caller.branch_id, service_id)


@router.post(
    "/services",
    tags=["services"],
    status_code=201,
    response_model=Service,
    responses=problems(404, 409),
)
def create_service(command: CommandDep, body: ServiceCreate) -> Response:
    """Give an account a product."""

    def create(transaction: CommandTransaction) -> Done:
        service = writes.start_service(transaction, body)
        return Done(service, 201, f"/v1/services/{service.service_id}")

    return command.once(create).response()


@router.post(
    "/services/{service_id}/change",
    tags=["services"],
    status_code=201,
    response_model=Service,
    responses=problems(404, 409),
)
def change_service(command: CommandDep, service_id: str, body: ServiceChange) -> Response:
    """Go on with another product or quantity; the answer is the new service."""

    def change(transaction: CommandTransaction) -> Done:
        service = writes.change_service(transaction, service_id, body)
        return Done(service, 201, f"/v1/services/{service.service_id}")

    return command.once(change).response()


@router.post(
    "/services/{service_id}/end",
    tags=["services"],
    response_model=Service,
    responses=problems(404, 409),
)
def end_service(command: CommandDep, service_id: str, body: Ending) -> Response:
    """End a service; what was billed beyond comes back on the next invoice."""
    return command.once(lambda t: Done(writes.end_service(t, service_id, body))).response()


@router.get("/charges", tags=["services"], responses=problems())
def list_charges(
    caller: CallerDep,
    paging: PagingDep,
    account_id: OfAccount = None,
    waiting: Annotated[
        bool | None, Query(description="Only what no invoice has, or (false) what one has")
    ] = None,
) -> Page[Charge]:
    """List charges, waiting or on an invoice."""
    filters: dict[str, Any] = {"account_id": account_id, "waiting": waiting}
    given = {name: value for name, value in filters.items() if value is not None}
    with reading(caller.services.engine) as connection:
        cut = reads.list_charges(connection, caller.branch_id, paging, given)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/accounts/{account_id}/charges",
    tags=["services"],
    status_code=201,
    response_model=Charge,
    responses=problems(404, 409),
)
def create_charge(command: CommandDep, account_id: str, body: ChargeCreate) -> Response:
    """Put a charge, or with a negative amount a credit, on the account's next invoice."""
    return command.once(
        lambda t: Done(writes.create_charge(t, account_id, body), 201, "/v1/charges")
    ).response()


@router.post(
    "/charges/{charge_id:path}/withdraw",
    tags=["services"],
    response_model=Charge,
    responses=problems(404, 409),
)
def withdraw_charge(command: CommandDep, charge_id: str) -> Response:
    """Take back a charge that no invoice has yet."""
    return command.once(lambda t: Done(writes.withdraw_charge(t, charge_id))).response()


@router.get("/holds", tags=["services"], responses=problems())
def list_holds(caller: CallerDep, paging: PagingDep, account_id: OfAccount = None) -> Page[Hold]:
    """List holds, past ones too."""
    with reading(caller.services.engine) as connection:
        cut = reads.list_holds(connection, caller.branch_id, paging, account_id)
    return Page(items=cut.items, next_cursor=cut.next_cursor)


@router.post(
    "/accounts/{account_id}/holds",
    tags=["services"],
    status_code=201,
    response_model=Hold,
    responses=problems(404, 409),
)
def create_hold(command: CommandDep, account_id: str, body: HoldCreate) -> Response:
    """Let services rest at a reduced fee for a time."""
    return command.once(
        lambda t: Done(writes.create_hold(t, account_id, body), 201, "/v1/holds")
    ).response()


@router.post(
    "/holds/{hold_id}/end", tags=["services"], response_model=Hold, responses=problems(404, 409)
)
def end_hold(command: CommandDep, hold_id: str, body: Ending) -> Response:
    """End a hold before its time; fees are whole again from then."""
    return command.once(lambda t: Done(writes.end_hold(t, hold_id, body))).response()
