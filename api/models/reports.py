"""Reports as the API answers them: columns, rows, and what the ledger says of their sums."""

from __future__ import annotations

from typing import Any, Literal

from api.models.values import Model, Page, example

REPORT_EXAMPLE = {
    "report": "aging",
    "title": "Aging of receivables",
    "columns": [
        {"name": "account_id", "title": "Account", "kind": "text"},
        {"name": "currency", "title": "Currency", "kind": "text"},
        {"name": "total_minor", "title": "Total", "kind": "money"},
    ],
    "rows": [{"account_id": "acc_0001", "currency": "BDT", "total_minor": 73500}],
    "ties": [
        {
            "what": "receivable",
            "branch_id": "dhanmondi",
            "currency": "BDT",
            "report_minor": 73500,
            "ledger_minor": 73500,
            "difference_minor": 0,
        }
    ],
}


class ReportOffer(Model):
    """One report that can be asked for; is_balance: it is of the end of the last day."""

    model_config = example(
        {
            "name": "aging",
            "title": "Aging of receivables",
            "description": "What accounts owe at the end of a day, by the days since it was due.",
            "is_balance": True,
            "url": "/v1/reports/aging",
        }
    )

    name: str
    title: str
    description: str
    is_balance: bool
    url: str


class ReportColumn(Model):
    """A column: money is whole minor units of the row's `currency`, a day is ISO text."""

    name: str
    title: str
    kind: Literal["text", "day", "money", "count", "percent"]


class ReportTie(Model):
    """A sum of the report beside the ledger's; the difference is 0 where both are right."""

    what: str
    branch_id: str
    currency: str
    report_minor: int
    ledger_minor: int
    difference_minor: int


class Report(Model):
    """A report; each row has the members that `columns` names."""

    model_config = example(REPORT_EXAMPLE)

    report: str
    title: str
    columns: list[ReportColumn]
    rows: list[dict[str, Any]]
    ties: list[ReportTie]


ReportOffers = Page[ReportOffer]
"""The list of reports."""
