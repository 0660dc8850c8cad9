"""Payment terms in the database: which days and which schedule hold for an account."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, select

from billing.adapters.databases import among
from billing.adapters.dunning_tables import account_terms, branch_terms, customer_group
from billing.adapters.tables import account
from billing.terms import PaymentTerms, due_on, effective_terms

_LEVELS = (account_terms.c, customer_group.c, branch_terms.c)
_FIELDS = [field.name for field in dataclasses.fields(PaymentTerms)]
_TERMS = (
    select(account.c.account_id, *(level[name] for level in _LEVELS for name in _FIELDS))
    .select_from(account)
    .outerjoin(account_terms, account_terms.c.account_id == account.c.account_id)
    .outerjoin(customer_group, customer_group.c.group_id == account_terms.c.group_id)
    .outerjoin(branch_terms, branch_terms.c.branch_id == account.c.branch_id)
)


def terms_of(connection: Connection, account_ids: Iterable[str]) -> dict[str, PaymentTerms]:
    """Return what holds for accounts by id; fields that nobody has said stay None or empty."""
    rows = among(connection, _TERMS, account.c.account_id, account_ids)
    return {row[0]: _effective(row) for row in rows}


def _effective(row: Row[Any]) -> PaymentTerms:
    """Return what holds by a row of the account's, the group's and the branch's answers."""
    width = len(_FIELDS)
    levels = [row[1 + n * width : 1 + (n + 1) * width] for n in range(len(_LEVELS))]
    # A level without a row has no schedule either, not even an empty one.
    return effective_terms(*(PaymentTerms(days, grace, key or "") for days, grace, key in levels))


def due_on_of(
    connection: Connection, account_id: str, issued_on: datetime.date, default_days: int
) -> datetime.date:
    """Return when an invoice of an account is due that is issued on a day.

    default_days are the settings', for an account of which nothing is said.
    """
    days = terms_of(connection, [account_id])[account_id].terms_days
    return due_on(issued_on, default_days if days is None else days)
