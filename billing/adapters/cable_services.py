"""What cable TV is invoiced by: a service of the price list for each package and each rented box.

A package or a model names a product; the service runs from when the customer has it until he has
it no more, so `billing.services` prorates it by the day like any other (decision 0352).
"""

from __future__ import annotations

import dataclasses

from sqlalchemy import Connection, func, insert, or_, select, update

from billing.adapters import service_tables as tables
from billing.cable.refusals import RefusedError
from billing.services import Service


@dataclasses.dataclass(frozen=True, slots=True)
class Sold:
    """What was sold to whom: service_id is a business key; times are ms, ends_at None: for good."""

    service_id: str
    branch_id: str
    account_id: str
    subscriber_id: str
    product_id: str
    starts_at: int
    ends_at: int | None = None


def check_product(connection: Connection, branch_id: str, product_id: str, what: str) -> None:
    """Raise RefusedError where a branch has no product of that id that recurs; empty is none."""
    if not product_id:
        return
    product = tables.product.c
    query = select(product.charging).where(
        product.product_id == product_id, product.branch_id == branch_id
    )
    charging = connection.scalars(query.order_by(product.version.desc())).first()
    if charging is None:
        raise RefusedError(f"{what}: there is no product {product_id!r} in this branch")
    if charging == "one_off":
        raise RefusedError(f"{what}: {product_id!r} is sold once, expected one that recurs")


def start_service(connection: Connection, sold: Sold) -> str:
    """Begin what invoices something, at the newest price that holds then; return its id.

    Of a product that is no price list's, nothing is invoiced: empty.
    """
    if not sold.product_id:
        return ""
    product = tables.product.c
    newest = select(func.max(product.version)).where(
        product.product_id == sold.product_id,
        product.branch_id == sold.branch_id,
        product.valid_from_at <= sold.starts_at,
    )
    version = connection.scalar(newest)
    if version is None:
        raise RefusedError(f"The product {sold.product_id!r} has no price on that day yet")
    service = Service(
        sold.service_id,
        sold.branch_id,
        sold.account_id,
        sold.subscriber_id,
        sold.product_id,
        version,
        1,
        sold.starts_at,
        sold.ends_at,
    )
    connection.execute(insert(tables.service), [dataclasses.asdict(service)])
    return sold.service_id


def end_service(connection: Connection, service_id: str, at: int) -> None:
    """End what invoices something at an instant (ms), or where it begins, if that is later."""
    service = tables.service.c
    starts_at = connection.scalar(
        select(service.starts_at).where(
            service.service_id == service_id, or_(service.ends_at.is_(None), service.ends_at > at)
        )
    )
    if starts_at is not None:
        connection.execute(
            update(tables.service)
            .where(service.service_id == service_id)
            .values(ends_at=max(at, starts_at))
        )
