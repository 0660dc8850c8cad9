"""Products, services, holds and charges, within a branch's reach."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.services import Charge, Hold, Product, Service
from api.problems import not_found
from api.reads.parties import scoped
from api.reads.rows import with_amount
from billing.adapters.charge_tables import charge
from billing.adapters.service_tables import hold, product, service


def list_products(connection: Connection, branch_id: str | None, paging: Paging) -> Slice[Product]:
    """Return every version of every product, by id and version."""
    columns = [product.c.product_id, product.c.version]
    statement = scoped(select(product), product, branch_id)
    rows = connection.execute(paged(statement, columns, paging, [str, int]))
    products = [Product(**row._mapping) for row in rows]
    return slice_of(products, paging, lambda p: [p.product_id, p.version])


def get_product(
    connection: Connection, branch_id: str | None, product_id: str, version: int | None = None
) -> Product:
    """Return one version of a product, the newest where none is named, or raise a 404 Problem."""
    statement = select(product).where(product.c.product_id == product_id)
    if version is not None:
        statement = statement.where(product.c.version == version)
    statement = scoped(statement, product, branch_id).order_by(product.c.version.desc()).limit(1)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise not_found("product", product_id if version is None else f"{product_id} v{version}")
    return Product(**row._mapping)


def list_services(
    connection: Connection, branch_id: str | None, paging: Paging, account_id: str | None
) -> Slice[Service]:
    """Return services by id, of one account or of all."""
    statement = scoped(select(service), service, branch_id)
    if account_id is not None:
        statement = statement.where(service.c.account_id == account_id)
    rows = connection.execute(paged(statement, [service.c.service_id], paging, [str]))
    services = [Service(**row._mapping) for row in rows]
    return slice_of(services, paging, lambda s: [s.service_id])


def get_service(connection: Connection, branch_id: str | None, service_id: str) -> Service:
    """Return one service, or raise a 404 Problem."""
    statement = select(service).where(service.c.service_id == service_id)
    row = connection.execute(scoped(statement, service, branch_id)).one_or_none()
    if row is None:
        raise not_found("service", service_id)
    return Service(**row._mapping)


def list_charges(
    connection: Connection, branch_id: str | None, paging: Paging, filters: dict[str, Any]
) -> Slice[Charge]:
    """Return charges by id; filters are `account_id` and `waiting` (no invoice has it)."""
    statement = scoped(select(charge), charge, branch_id)
    if "account_id" in filters:
        statement = statement.where(charge.c.account_id == filters["account_id"])
    if "waiting" in filters:
        is_waiting = charge.c.invoice_id.is_(None)
        statement = statement.where(is_waiting if filters["waiting"] else ~is_waiting)
    rows = connection.execute(paged(statement, [charge.c.charge_id], paging, [str]))
    return slice_of([with_amount(row, Charge) for row in rows], paging, lambda c: [c.charge_id])


def get_charge(connection: Connection, branch_id: str | None, charge_id: str) -> Charge:
    """Return one charge, or raise a 404 Problem."""
    statement = select(charge).where(charge.c.charge_id == charge_id)
    row = connection.execute(scoped(statement, charge, branch_id)).one_or_none()
    if row is None:
        raise not_found("charge", charge_id)
    return with_amount(row, Charge)


def list_holds(
    connection: Connection, branch_id: str | None, paging: Paging, account_id: str | None
) -> Slice[Hold]:
    """Return holds by id, of one account or of all."""
    statement = scoped(select(hold), hold, branch_id)
    if account_id is not None:
        statement = statement.where(hold.c.account_id == account_id)
    rows = connection.execute(paged(statement, [hold.c.hold_id], paging, [str]))
    return slice_of([Hold(**row._mapping) for row in rows], paging, lambda h: [h.hold_id])


def get_hold(connection: Connection, branch_id: str | None, hold_id: str) -> Hold:
    """Return one hold, or raise a 404 Problem."""
    statement = select(hold).where(hold.c.hold_id == hold_id)
    row = connection.execute(scoped(statement, hold, branch_id)).one_or_none()
    if row is None:
        raise not_found("hold", hold_id)
    return Hold(**row._mapping)
