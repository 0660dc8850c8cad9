"""Commands on products, services, holds and single charges."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import delete, select, update

import billing.services
from api.instants import to_text
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
from api.problems import Problem, invalid_field, not_found, problem_of_field
from api.reads import parties
from api.reads import services as reads
from api.writes.transaction import CommandTransaction
from api.writes.versions import next_version
from billing.adapters import charge_tables, service_tables, tables
from billing.adapters.charges import add_charges
from billing.adapters.holds import read_holds
from billing.adapters.repositories import find_calendar, subject_names
from billing.charges import Charge as Due
from billing.holds import HoldLimits, why_not
from billing.plan_changes import default_when, period_end_at
from billing.services import ServiceInput, sale_charge
from rating.money import parse_amount

T = TypeVar("T")


def create_product(transaction: CommandTransaction, body: ProductCreate) -> Product:
    """Create a product's next version: what is sold already keeps its own."""
    branch_id = transaction.branch_of(body.branch_id).branch_id
    key = service_tables.product.c.product_id
    values = body.model_dump() | {
        "branch_id": branch_id,
        "version": next_version(transaction, key, body.product_id, branch_id, "product"),
        "valid_from_at": body.valid_from_at or transaction.now_at,
    }
    product = _checked(lambda: billing.services.Product(**values))
    transaction.add(service_tables.product, dataclasses.asdict(product))
    return Product(**values)


def _checked(make: Callable[[], T]) -> T:
    """Return what `make` makes; a ValueError that begins with its field becomes a 422 Problem."""
    try:
        return make()
    except ValueError as error:
        raise problem_of_field(error) from None


def start_service(transaction: CommandTransaction, body: ServiceCreate) -> Service:
    """Give an account a product; a single sale is charged and over at once."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    account = parties.get_account(connection, branch_id, body.account_id)
    if body.subscriber_id is not None:
        found = parties.get_subscriber(
            connection, branch_id, body.subscriber_id, transaction.now_at
        )
        if found.account_id != account.account_id:
            raise invalid_field("/subscriber_id", body.subscriber_id, "one of the account's")
    product = reads.get_product(
        connection, account.branch_id, body.product_id, body.product_version
    )
    at = transaction.effective_at(body.starts_at, "/starts_at")
    started = Service(
        service_id=transaction.services.new_id("srv"),
        branch_id=account.branch_id,
        account_id=account.account_id,
        subscriber_id=body.subscriber_id or "",
        product_id=product.product_id,
        product_version=product.version,
        quantity=body.quantity,
        starts_at=at,
        ends_at=at if product.charging == "one_off" else None,
    )
    _write(transaction, started, product)
    return started


def _write(transaction: CommandTransaction, service: Service, product: Product) -> None:
    """Insert a service, and what it asks for at once."""
    connection = transaction.connection
    row = billing.services.Service(**dict(service))
    transaction.add(service_tables.service, dataclasses.asdict(row))
    if product.charging != "one_off":
        return
    names = subject_names(connection, [service.subscriber_id] if service.subscriber_id else [])
    item = ServiceInput(
        row,
        billing.services.Product(**dict(product)),
        find_calendar(connection, service.account_id),
        names.get(service.subscriber_id, ""),
        (),
        {},
    )
    add_charges(connection, [sale_charge(item)])


def end_service(transaction: CommandTransaction, service_id: str, body: Ending) -> Service:
    """End a service; what was billed beyond comes back on the next invoice."""
    running = _running(transaction, service_id)
    at = transaction.effective_at(body.effective_at)
    _end(transaction, running, at)
    return running.model_copy(update={"ends_at": at})


def change_service(
    transaction: CommandTransaction, service_id: str, body: ServiceChange
) -> Service:
    """End a service and go on with another product or quantity at the same instant."""
    running = _running(transaction, service_id)
    product = reads.get_product(
        transaction.connection,
        running.branch_id,
        body.product_id or running.product_id,
        body.product_version
        or (running.product_version if body.product_id in (None, running.product_id) else None),
    )
    if product.charging == "one_off":
        raise invalid_field("/product_id", product.product_id, "a product that recurs")
    at = _change_at(transaction, running, product, body)
    changed = running.model_copy(
        update={
            "service_id": transaction.services.new_id("srv"),
            "product_id": product.product_id,
            "product_version": product.version,
            "quantity": body.quantity or running.quantity,
            "starts_at": at,
            "ends_at": None,
        }
    )
    same = ("product_id", "product_version", "quantity")
    if all(getattr(changed, name) == getattr(running, name) for name in same):
        raise Problem("conflict", "The service has this product and quantity already.")
    _end(transaction, running, at)
    _write(transaction, changed, product)
    return changed


def _change_at(
    transaction: CommandTransaction, running: Service, product: Product, body: ServiceChange
) -> int:
    """Return when a change of product or quantity takes effect (ms)."""
    if body.effective_at is not None:
        return transaction.effective_at(body.effective_at)
    connection = transaction.connection
    before = reads.get_product(connection, None, running.product_id, running.product_version)
    fees = (
        parse_amount(before.price) * running.quantity,
        parse_amount(product.price) * (body.quantity or running.quantity),
    )
    if default_when(*fees) == "now":
        return max(transaction.effective_at(None), running.starts_at)
    calendar = find_calendar(connection, running.account_id)
    return period_end_at(calendar, max(transaction.now_at, running.starts_at))


def _running(transaction: CommandTransaction, service_id: str) -> Service:
    branch_id = transaction.principal.branch_id
    found = reads.get_service(transaction.connection, branch_id, service_id)
    if found.ends_at is not None:
        raise Problem("conflict", f"The service ends at {to_text(found.ends_at)} already.")
    return found


def _end(transaction: CommandTransaction, running: Service, at: int) -> None:
    if at < running.starts_at:
        raise Problem("conflict", f"It starts at {to_text(running.starts_at)} only.")
    table = service_tables.service
    statement = update(table).where(table.c.service_id == running.service_id).values(ends_at=at)
    transaction.connection.execute(statement)


def create_charge(transaction: CommandTransaction, account_id: str, body: ChargeCreate) -> Charge:
    """Put a charge on the account's next invoice; a known reference is answered as it stands."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    account = parties.get_account(connection, branch_id, account_id)
    new_id = transaction.services.new_id("chg")
    charge_id = f"{account_id}/{body.reference}" if body.reference else new_id
    values = body.model_dump(exclude={"reference", "due_at"})
    due = _checked(
        lambda: Due(
            charge_id=charge_id,
            branch_id=account.branch_id,
            account_id=account.account_id,
            due_at=body.due_at or transaction.now_at,
            **values,
        )
    )
    if not add_charges(connection, [due]):
        standing = reads.get_charge(connection, branch_id, charge_id)
        if (standing.amount.amount_minor, standing.amount.currency, standing.kind) != (
            due.amount_minor,
            due.currency,
            due.kind,
        ):
            raise Problem("conflict", "This reference was charged before, with another amount.")
    return reads.get_charge(connection, branch_id, charge_id)


def withdraw_charge(transaction: CommandTransaction, charge_id: str) -> Charge:
    """Take back a charge that no invoice has yet; 409 where one has, or where a service owes it."""
    connection = transaction.connection
    found = reads.get_charge(connection, transaction.principal.branch_id, charge_id)
    table = charge_tables.charge
    gone = connection.execute(
        delete(table).where(table.c.charge_id == charge_id, table.c.invoice_id.is_(None))
    )
    if not gone.rowcount:
        raise Problem("conflict", "It stands on an invoice; a credit note corrects that.")
    return found


def create_hold(transaction: CommandTransaction, account_id: str, body: HoldCreate) -> Hold:
    """Let an account's services rest, within the settings' limits."""
    connection, branch_id = transaction.connection, transaction.principal.branch_id
    account = parties.get_account(connection, branch_id, account_id)
    target_id = body.target_id or ""
    if target_id:
        _require_target(transaction, account.account_id, target_id)
    config = transaction.services.config
    row: dict[str, Any] = {
        "hold_id": transaction.services.new_id("hld"),
        "branch_id": account.branch_id,
        "account_id": account.account_id,
        "target_id": target_id,
        "reason": body.reason,
        "fee_percent": body.fee_percent or str(config.hold_fee_percent),
        "starts_at": transaction.effective_at(body.starts_at, "/starts_at"),
        "ends_at": body.ends_at,
    }
    branch = parties.get_branch(connection, None, account.branch_id)
    limits = HoldLimits(config.hold_days_min, config.hold_days_per_year_max)
    others = read_holds(connection, account_id, 0)
    reason = why_not(billing.services.Hold(**row), others, limits, branch.timezone)
    if reason:
        raise invalid_field("/ends_at", to_text(body.ends_at), reason)
    transaction.add(service_tables.hold, row)
    return Hold(**row)


def _require_target(transaction: CommandTransaction, account_id: str, target_id: str) -> None:
    """Raise a 404 Problem where the account has no such service or subscription."""
    service, subscription = service_tables.service.c, tables.subscription.c
    for table_account, key in (
        (service.account_id, service.service_id),
        (subscription.account_id, subscription.subscription_id),
    ):
        if transaction.connection.scalar(select(table_account).where(key == target_id)) == (
            account_id
        ):
            return
    raise not_found("service or subscription of the account", target_id)


def end_hold(transaction: CommandTransaction, hold_id: str, body: Ending) -> Hold:
    """End a hold before its time; one that has not begun yet never was."""
    found = reads.get_hold(transaction.connection, transaction.principal.branch_id, hold_id)
    at = transaction.effective_at(body.effective_at)
    if found.ends_at is not None and found.ends_at <= at:
        raise Problem("conflict", f"The hold ends at {to_text(found.ends_at)} already.")
    at = max(at, found.starts_at)
    table = service_tables.hold
    transaction.connection.execute(
        update(table).where(table.c.hold_id == hold_id).values(ends_at=at)
    )
    return found.model_copy(update={"ends_at": at})
