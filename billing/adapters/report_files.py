"""A report as a file: CSV, XLSX, Parquet or JSON, each with its types."""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import polars as pl
import xlsxwriter

from billing.reports.table import Column, ReportTable
from rating.money import format_minor, from_minor, minor_decimals

BYTE_ORDER_MARK = "\ufeff"
"""What tells Excel that a CSV is UTF-8."""

SHEET_ROWS_MAX = 1_048_575
"""Rows that one XLSX sheet holds below its heading."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula at the beginning of a text (OWASP, CSV injection)."""


_CREATED = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
"""When every workbook says that it was made, so that the same report is the same file."""


class FileFormat(NamedTuple):
    """A format of report files: media type, and what makes one's octets."""

    media_type: str
    encode: Callable[[ReportTable], bytes]


class TooManyRowsError(ValueError):
    """The format cannot hold as many rows; the message says how many it can."""


def to_csv(table: ReportTable, *, has_mark: bool = True) -> bytes:
    """Return RFC 4180 text in UTF-8, titles first, money as plain decimals in major units.

    With the mark Excel reads it as UTF-8. A text that a spreadsheet would take for a formula is
    preceded by an apostrophe; numbers are not, negative ones neither.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(column.name.removesuffix("_minor") for column in table.columns)
    writer.writerows(_csv_rows(table))
    return ((BYTE_ORDER_MARK if has_mark else "") + text.getvalue()).encode()


def _csv_rows(table: ReportTable) -> Iterator[list[str]]:
    kinds = [column.kind for column in table.columns]
    currency = _currency_index(table)
    for row in table.rows.iter_rows():
        yield [
            _csv_cell(kind, value, row[currency]) for kind, value in zip(kinds, row, strict=True)
        ]


def _csv_cell(kind: str, value: Any, currency: str) -> str:
    if value is None:
        return ""
    if kind == "money":
        return format_minor(value, currency)
    if kind == "text" and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return str(value)


def to_xlsx(table: ReportTable) -> bytes:
    """Return a workbook with numbers as numbers and days as days, filtered and frozen at the top.

    TooManyRowsError above SHEET_ROWS_MAX rows. Texts stay texts, whatever they begin with.
    """
    if table.rows.height > SHEET_ROWS_MAX:
        raise TooManyRowsError(
            f"{table.rows.height} rows: a sheet holds {SHEET_ROWS_MAX}; ask for CSV or Parquet"
        )
    octets = io.BytesIO()
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "strings_to_numbers": False,
    }
    with xlsxwriter.Workbook(octets, options) as book:
        book.set_properties({"created": _CREATED})
        sheet = book.add_worksheet(table.shape.title[:31])
        heading = book.add_format({"bold": True, "bottom": 1})
        sheet.freeze_panes(1, 0)
        for place, column in enumerate(table.columns):
            sheet.set_column(place, place, max(12, len(column.title) + 2))
        for place, column in enumerate(table.columns):
            sheet.write_string(0, place, column.title, heading)
        _write_cells(sheet, table, _Formats(book))
        sheet.autofilter(0, 0, max(table.rows.height, 1), len(table.columns) - 1)
    return octets.getvalue()


class _Formats:
    """The cell formats of a workbook, one per number of decimals."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._money: dict[int, Any] = {}
        self.day = book.add_format({"num_format": "yyyy-mm-dd"})
        self.count = book.add_format({"num_format": "#,##0"})
        self.percent = book.add_format({"num_format": '0.00"%"'})

    def money(self, decimals: int) -> Any:
        if decimals not in self._money:
            number = "#,##0" + ("." + "0" * decimals if decimals else "")
            self._money[decimals] = self._book.add_format({"num_format": number})
        return self._money[decimals]


def _write_cells(sheet: Any, table: ReportTable, formats: _Formats) -> None:
    kinds = [column.kind for column in table.columns]
    currency = _currency_index(table)
    for number, row in enumerate(table.rows.iter_rows(), 1):
        for place, (kind, value) in enumerate(zip(kinds, row, strict=True)):
            if value is None:
                continue
            if kind == "money":
                decimals = minor_decimals(row[currency])
                amount = float(from_minor(value, row[currency]))
                sheet.write_number(number, place, amount, formats.money(decimals))
            elif kind == "day":
                sheet.write_datetime(number, place, value, formats.day)
            elif kind == "text":
                sheet.write_string(number, place, value)
            else:
                sheet.write_number(number, place, value, getattr(formats, kind))


def to_parquet(table: ReportTable) -> bytes:
    """Return Parquet with the frame's own types: days as dates, money as whole minor units."""
    octets = io.BytesIO()
    table.rows.write_parquet(octets)
    return octets.getvalue()


def to_json(table: ReportTable) -> bytes:
    """Return one JSON document: columns, rows as objects, and what the ledger says of them."""
    return (json.dumps(document_of(table), ensure_ascii=False) + "\n").encode()


def document_of(table: ReportTable) -> dict[str, Any]:
    """Return a report as plain data; days are ISO text, money whole minor units."""
    rows = table.rows.with_columns(
        pl.col(column.name).cast(pl.String) for column in table.columns if column.kind == "day"
    )
    return {
        "report": table.shape.name,
        "title": table.shape.title,
        "columns": [_column(column) for column in table.columns],
        "rows": rows.to_dicts(),
        "ties": [
            {
                "what": tie.what,
                "branch_id": tie.branch_id,
                "currency": tie.currency,
                "report_minor": tie.report_minor,
                "ledger_minor": tie.ledger_minor,
                "difference_minor": tie.difference_minor,
            }
            for tie in table.ties
        ],
    }


def _column(column: Column) -> dict[str, str]:
    return {"name": column.name, "title": column.title, "kind": column.kind}


def _currency_index(table: ReportTable) -> int:
    return [column.name for column in table.columns].index("currency")


FORMATS: Mapping[str, FileFormat] = {
    "csv": FileFormat("text/csv; charset=utf-8", to_csv),
    "xlsx": FileFormat(
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", to_xlsx
    ),
    "parquet": FileFormat("application/vnd.apache.parquet", to_parquet),
    "json": FileFormat("application/json", to_json),
}
"""Formats of report files by name."""
