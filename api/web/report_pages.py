"""The page of reports: one of them as a table and, over time, a chart; and its files."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Query
from starlette.responses import Response

from api.instants import local
from api.models.values import Money
from api.problems import Problem
from api.requests import Caller
from api.resources.reports import file_response, offers, report_for
from api.web.formats import money
from api.web.rendering import page
from api.web.visitors import Visitor, VisitorDep
from billing.adapters.databases import reading
from billing.adapters.report_files import FORMATS
from billing.ledger import CHART
from billing.reports.table import Column, Question, ReportTable

router = APIRouter(include_in_schema=False)

DAYS_SHOWN = 30
"""How many days a report is of where nobody says."""
ROWS_SHOWN = 200
"""Rows that the page shows; a file has all of them."""

Day = Annotated[str, Query(max_length=10)]
Name = Annotated[str, Query(max_length=20, pattern="^[a-z]*$")]


@router.get("/reports")
def show_report(visitor: VisitorDep, name: Name = "revenue", first: Day = "", last: Day = "",
                aged_by: Name = "due") -> Response:  # fmt: skip
    """Show a report of some days; without any, of the last thirty."""
    with reading(visitor.services.engine) as connection:
        context = visitor.context(connection, "reports")
    today = local(context["now"], context["place"].timezone).date()
    since = today - datetime.timedelta(days=DAYS_SHOWN - 1)
    asked = {"name": name, "first": first or str(since), "last": last or str(today)}
    context |= {"asked": {**asked, "aged_by": aged_by}, "offers": offers(), "report": None,
                "fault": "", "formats": [n for n in FORMATS if n != "json"]}  # fmt: skip
    try:
        table = _table(visitor, name, _question(asked["first"], asked["last"], aged_by))
        context["report"] = shown(table)
    except Problem as problem:
        context["fault"] = problem.detail
    except ValueError as error:
        context["fault"] = str(error)
    return page("reports.html", context)


@router.get("/reports/{name}/file")
def get_report_file(visitor: VisitorDep, name: str, first: Day, last: Day, aged_by: Name = "due",
                    kind: Annotated[str, Query(max_length=10)] = "csv") -> Response:  # fmt: skip
    """Give a report as a file to save."""
    if kind not in FORMATS:
        raise Problem("not-found", f"kind: expected one of {', '.join(FORMATS)}")
    try:
        question = _question(first, last, aged_by)
    except ValueError as error:
        raise Problem("invalid-request", str(error)) from None
    return file_response(_table(visitor, name, question), kind, question)


def _question(first: str, last: str, aged_by: str) -> Question:
    """Return what the form asks. ValueError names the day that is none."""
    days = []
    for label, text in (("from", first), ("to", last)):
        try:
            days.append(datetime.date.fromisoformat(text))
        except ValueError:
            raise ValueError(f"{label} = {text!r}: expected a day such as 2026-11-30") from None
    return Question(days[0], days[1], aged_by="period" if aged_by == "period" else "due")


def _table(visitor: Visitor, name: str, question: Question) -> ReportTable:
    caller = Caller(visitor.services, visitor.principal)
    within = dataclasses.replace(question, branch_id=caller.branch_id)
    return report_for(caller, name, within, has_details=False)


def shown(table: ReportTable) -> dict[str, Any]:
    """Return what the page shows of a report: the first rows as text, the chart, the ties."""
    currency = [column.name for column in table.columns].index("currency")
    rows = [
        [
            _cell(column, value, row[currency])
            for column, value in zip(table.columns, row, strict=True)
        ]
        for row in table.rows.head(ROWS_SHOWN).iter_rows()
    ]
    return {
        "title": table.shape.title,
        "description": table.shape.description,
        "columns": table.columns,
        "rows": rows,
        "rows_left": max(0, table.rows.height - ROWS_SHOWN),
        "chart": chart_of(table),
        "differences": [tie for tie in table.ties if tie.difference_minor],
        "tied": len(table.ties),
    }


def _cell(column: Column, value: Any, currency: str) -> str:
    if value is None:
        return "–"
    if column.kind == "money":
        return money(Money.of(value, currency))
    if column.kind == "percent":
        return f"{value:.2f} %"
    if column.name == "income" and value in CHART:
        return CHART[value].name
    return str(value)


def chart_of(table: ReportTable) -> dict[str, Any] | None:
    """Return the first amount of a report over its days or months, for the currency of most rows.

    ``{"title", "currency", "decimals", "days": [s of midnight UTC], "values": [minor units]}``;
    None where the report has no days, or no rows.
    """
    axis = next((c for c in table.shape.keys if c.kind == "day"), None)
    amount = table.shape.ratios[0].column if table.shape.name == "arpu" else None
    amount = amount or next((v for v in table.shape.values if v.kind == "money"), None)
    if table.shape.name == "mrr":
        amount = next(v for v in table.shape.values if v.name == "closing_minor")
    if axis is None or amount is None or not table.rows.height:
        return None
    sizes = (
        table.rows.group_by("currency")
        .agg(pl.len())
        .sort(["len", "currency"], descending=[True, False])
    )
    currency = sizes["currency"][0]
    sums = (
        table.rows.filter(pl.col("currency") == currency)
        .group_by(axis.name)
        .agg(pl.col(amount.name).sum())
        .sort(axis.name)
    )
    return {
        "title": f"{amount.title}, {currency}",
        "decimals": len(Money.of(0, currency).text.partition(".")[2]),
        "days": sums.select(pl.col(axis.name).cast(pl.Datetime("ms")).dt.epoch("s"))
        .to_series()
        .to_list(),
        "values": sums[amount.name].to_list(),
    }
