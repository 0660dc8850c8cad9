"""What report files hold: types that a spreadsheet understands, and texts that stay texts."""

from __future__ import annotations

import csv
import datetime
import io
import json
import zipfile
from decimal import Decimal
from typing import Any
from xml.etree import ElementTree

import polars as pl
import pytest

from billing.adapters import report_files
from billing.adapters.report_files import FORMATS, TooManyRowsError, to_csv, to_xlsx
from billing.reports.table import Column, Ratio, ReportTable, Shape, Tie

SHAPE = Shape(
    name="sample",
    title="Sample",
    description="A report for tests.",
    keys=(Column("account_name", "Name"), Column("day", "Day", "day"), Column("currency", "Cur")),
    values=(Column("total_minor", "Total", "money"), Column("payments", "Payments", "count")),
    ids=(),
    ratios=(Ratio(Column("share", "Share", "percent"), ("payments",), ("payments",)),),
)
DAY = datetime.date(2026, 11, 30)
ROWS: list[tuple[Any, ...]] = [
    ("=HYPERLINK(\"http://x\")", DAY, "BDT", -123450, 2, 12.5),
    ("রহিমা, \"quoted\"\nline", DAY, "JPY", 1234, 1, None),
    ("+880 1711", DAY, "KWD", 1, 0, 0.0),
    ("@cmd", DAY, "BDT", 0, 0, 0.0),
]  # fmt: skip
TABLE = ReportTable(
    SHAPE,
    SHAPE.summary_columns,
    pl.DataFrame(ROWS, schema=[c.name for c in SHAPE.summary_columns], orient="row"),
    (Tie("receivable", "dhk", "BDT", 5, 7),),
)


def test_a_csv_opens_right_in_a_spreadsheet() -> None:
    octets = to_csv(TABLE)
    assert octets.startswith(b"\xef\xbb\xbf")
    heading, *rows = csv.reader(io.StringIO(octets.decode("utf-8-sig"), newline=""))
    assert heading == ["account_name", "day", "currency", "total", "payments", "share"]
    assert rows == [
        ["'=HYPERLINK(\"http://x\")", "2026-11-30", "BDT", "-1234.50", "2", "12.5"],
        ["রহিমা, \"quoted\"\nline", "2026-11-30", "JPY", "1234", "1", ""],
        ["'+880 1711", "2026-11-30", "KWD", "0.001", "0", "0.0"],
        ["'@cmd", "2026-11-30", "BDT", "0.00", "0", "0.0"],
    ]  # fmt: skip
    assert to_csv(TABLE, has_mark=False) == octets[3:]


def cells(octets: bytes) -> list[list[tuple[str, str]]]:
    """Return (type, value) of every cell of a workbook's first sheet; texts are written out."""
    space = {"m": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    with zipfile.ZipFile(io.BytesIO(octets)) as book:
        sheet = ElementTree.fromstring(book.read("xl/worksheets/sheet1.xml"))
    found = []
    for row in sheet.iterfind(".//m:row", space):
        assert row.find(".//m:f", space) is None, "a formula"
        found.append(
            [(cell.get("t", "n"), "".join(cell.itertext())) for cell in row.iterfind("m:c", space)]
        )
    return found


def test_a_workbook_holds_numbers_and_days_and_no_formula() -> None:
    heading, first, second, *_ = cells(to_xlsx(TABLE))
    assert [text for _, text in heading] == ["Name", "Day", "Cur", "Total", "Payments", "Share"]
    day = (DAY - datetime.date(1899, 12, 30)).days
    assert first == [
        ("inlineStr", '=HYPERLINK("http://x")'), ("n", str(day)), ("inlineStr", "BDT"),
        ("n", "-1234.5"), ("n", "2"), ("n", "12.5"),
    ]  # fmt: skip
    assert second[0][1] == 'রহিমা, "quoted"\nline'
    assert (second[3], len(second)) == (("n", "1234"), 5)


def test_a_sheet_that_is_too_small_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_files, "SHEET_ROWS_MAX", 3)
    with pytest.raises(TooManyRowsError, match="4 rows: a sheet holds 3; ask for CSV or Parquet"):
        to_xlsx(TABLE)


def test_parquet_keeps_types() -> None:
    frame = pl.read_parquet(io.BytesIO(FORMATS["parquet"].encode(TABLE)))
    assert frame.equals(TABLE.rows)
    assert frame.schema["day"] == pl.Date
    assert frame.schema["total_minor"] == pl.Int64


def test_json_is_whole() -> None:
    document = json.loads(FORMATS["json"].encode(TABLE))
    assert document["rows"][0] == {
        "account_name": '=HYPERLINK("http://x")', "day": "2026-11-30", "currency": "BDT",
        "total_minor": -123450, "payments": 2, "share": 12.5,
    }  # fmt: skip
    assert document["columns"][3] == {"name": "total_minor", "title": "Total", "kind": "money"}
    assert document["ties"][0]["difference_minor"] == -2


def test_money_is_exact_beyond_what_a_float_holds() -> None:
    rows = TABLE.rows.with_columns(pl.lit(9_007_199_254_740_993).alias("total_minor"))
    text = to_csv(ReportTable(SHAPE, SHAPE.summary_columns, rows)).decode("utf-8-sig")
    assert Decimal(text.splitlines()[1].split(",")[3]) == Decimal("90071992547409.93")


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_report_is_the_same_file(name: str) -> None:
    assert FORMATS[name].encode(TABLE) == FORMATS[name].encode(TABLE)
