"""Reports over HTTP: formats by parameter and by Accept, reach, and what is refused."""

from __future__ import annotations

import io

import polars as pl
import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import Clients

RANGE = "from=2026-09-01&to=2026-11-30"


def test_reports_are_offered(operator: TestClient) -> None:
    offered = operator.get("/v1/reports").json()["items"]
    assert {"revenue", "aging", "mrr", "churn", "arpu", "unbilled", "collections"} <= {
        one["name"] for one in offered
    }
    for one in offered:
        assert operator.get(f"{one['url']}?{RANGE}").status_code == 200


@pytest.mark.parametrize(
    ("media", "name", "begins"),
    [
        ("text/csv", "csv", b"\xef\xbb\xbfbranch_id,"),
        ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xlsx", b"PK"),
        ("application/vnd.apache.parquet", "parquet", b"PAR1"),
        ("application/json", "json", b'{"report": "mrr"'),
    ],
)
def test_a_format_by_accept_or_by_name(
    operator: TestClient, media: str, name: str, begins: bytes
) -> None:
    path = f"/v1/reports/mrr?{RANGE}"
    by_accept = operator.get(path, headers={"Accept": f"{media};q=1, */*"})
    by_name = operator.get(f"{path}&format={name}", headers={"Accept": "text/csv"})
    for answer in (by_accept, by_name):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media)
        assert answer.content.startswith(begins)
        assert f"mrr_2026-09-01_2026-11-30.{name}" in answer.headers.get(
            "content-disposition", f"mrr_2026-09-01_2026-11-30.{name}"
        )


def test_a_branch_sees_its_own(clients: Clients) -> None:
    mine = clients("dhanmondi").get(f"/v1/reports/mrr?{RANGE}").json()["rows"]
    assert {row["branch_id"] for row in mine} == {"dhanmondi"}
    every = clients(None).get(f"/v1/reports/mrr?{RANGE}").json()["rows"]
    others = {row["branch_id"] for row in every} - {"dhanmondi"}
    assert others
    one = others.pop()
    asked = clients("dhanmondi").get(f"/v1/reports/mrr?{RANGE}&branch_id={one}")
    assert asked.status_code == 404
    of_one = clients(None).get(f"/v1/reports/mrr?{RANGE}&branch_id={one}").json()["rows"]
    assert {row["branch_id"] for row in of_one} == {one}


def test_a_row_is_drilled_into(operator: TestClient) -> None:
    path = f"/v1/reports/mrr?{RANGE}&format=parquet"
    summary = pl.read_parquet(io.BytesIO(operator.get(path).content))
    row = summary.row(-1, named=True)
    answer = operator.get(
        f"{path}&details=true&where=branch_id:{row['branch_id']}&where=month:{row['month']}"
    )
    details = pl.read_parquet(io.BytesIO(answer.content))
    assert details["closing_minor"].sum() == row["closing_minor"] > 0
    assert details["account_id"].n_unique() == details.height > 1


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("profit", 404, "report 'profit': expected one of"),
        ("mrr?from=2026-12-01&to=2026-11-30", 422, "2026-12-01 or later"),
        ("mrr?from=yesterday", 422, "from"),
        ("mrr?format=pdf", 422, "format"),
        ("mrr?where=colour:red", 422, "colour: expected one of"),
        ("mrr?where=colour", 422, "column:value, such as plan_id:home"),
        ("aging?aged_by=age", 422, "aged_by"),
    ],
)
def test_what_is_refused(operator: TestClient, path: str, status: int, said: str) -> None:
    answer = operator.get(f"/v1/reports/{path}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.text
