"""Reports of the business database, as files."""

from __future__ import annotations

from collections.abc import Mapping

from billing.adapters.databases import reading
from billing.adapters.report_files import FORMATS, to_csv
from billing.adapters.reports import REPORTS, run_report
from billing.reports.table import Question, ReportTable
from infra.settings import Settings
from infra.wiring.databases import business_database

FORMAT_NAMES = tuple(FORMATS)
"""The formats that a report can be written in."""


def report_titles() -> Mapping[str, str]:
    """Return what each report says, by name."""
    return {name: source.shape.description for name, source in REPORTS.items()}


def read_report(settings: Settings, name: str, question: Question) -> ReportTable:
    """Return a report of the business database; LookupError and ValueError as `run_report`."""
    database = business_database(settings, "reports")
    try:
        with reading(database) as connection:
            return run_report(connection, name, question)
    finally:
        database.dispose()


def encode_report(table: ReportTable, name: str, *, has_mark: bool = True) -> bytes:
    """Return a report as a file of a format; has_mark is CSV's byte order mark for Excel."""
    if name == "csv":
        return to_csv(table, has_mark=has_mark)
    return FORMATS[name].encode(table)
