"""Rows of the business database as models of the API."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import Row

from api.models.values import Model, Money

M = TypeVar("M", bound=Model)


def members(row: Row[Any], model: type[Model], besides: str = "") -> dict[str, Any]:
    """Return the columns of a row that a model has as fields, all but the field `besides`."""
    columns = row._mapping
    return {name: columns[name] for name in model.model_fields if name != besides}


def with_amount(row: Row[Any], model: type[M]) -> M:
    """Return a model whose amount stands in the columns amount_minor and currency."""
    amount = {"amount": Money.of(row.amount_minor, row.currency)}
    return model(**members(row, model, "amount"), **amount)
