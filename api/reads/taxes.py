"""Tax rates, certificates, and where accounts are for their taxes."""

from __future__ import annotations

from sqlalchemy import Connection, select

from api.cursors import Paging, Slice, paged, slice_of
from api.models.taxes import AccountTaxes, TaxCertificate, TaxRate
from api.problems import not_found
from api.reads.parties import get_account, scoped
from billing.adapters.tax_tables import tax_party, tax_rate, tax_status

_STATUS = [tax_status.c[name] for name in TaxCertificate.model_fields]


def list_rates(
    connection: Connection, branch_id: str | None, paging: Paging, tax_code: str | None = None
) -> Slice[TaxRate]:
    """Return the rates in reach by branch, code, tax, place and first day."""
    statement = scoped(select(tax_rate), tax_rate, branch_id)
    if tax_code:
        statement = statement.where(tax_rate.c.tax_code == tax_code)
    columns = list(tax_rate.primary_key.columns)
    rows = connection.execute(paged(statement, columns, paging, [str] * len(columns)))
    rates = [TaxRate(**dict(row._mapping)) for row in rows]
    return slice_of(rates, paging, lambda r: [getattr(r, column.name) for column in columns])


def get_account_taxes(
    connection: Connection, branch_id: str | None, account_id: str
) -> AccountTaxes:
    """Return an account's place, tax number and certificates, or raise a 404 Problem."""
    get_account(connection, branch_id, account_id)
    party = connection.execute(
        select(tax_party).where(tax_party.c.account_id == account_id)
    ).one_or_none()
    rows = connection.execute(
        select(*_STATUS)
        .where(tax_status.c.account_id == account_id)
        .order_by(tax_status.c.valid_from_on, tax_status.c.status_id)
    )
    return AccountTaxes(
        account_id=account_id,
        place=party.place if party else "",
        tax_number=party.tax_number if party else "",
        certificates=[TaxCertificate(**dict(row._mapping)) for row in rows],
    )


def get_certificate(
    connection: Connection, branch_id: str | None, status_id: str
) -> TaxCertificate:
    """Return one certificate, or raise a 404 Problem."""
    statement = select(*_STATUS).where(tax_status.c.status_id == status_id)
    row = connection.execute(scoped(statement, tax_status, branch_id)).one_or_none()
    if row is None:
        raise not_found("tax certificate", status_id)
    return TaxCertificate(**dict(row._mapping))
