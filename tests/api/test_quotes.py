"""Quotes by the API and on the page: the same answer as the plan's bill, and kept nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import Clients

GB = 10**9
USAGE = {
    "starts_on": "2026-11-01",
    "usage": [{"at": "2026-11-03T20:15", "seconds": 3600, "octets_down": 120 * GB}],
}


PLAN_ID = "dhanmondi-home-100"
"""100 GB included, 10 per GB above, a fee of 700 and 5 % tax."""


def test_a_kept_plan_is_priced_by_its_branchs_clock(operator: TestClient) -> None:
    answer = operator.post("/v1/quotes", json={"plan_id": PLAN_ID, "usage": USAGE})
    assert answer.status_code == 200, answer.text
    quote = answer.json()
    assert quote["timezone"] == "Asia/Dhaka"
    (period,) = quote["periods"]
    assert [line["amount"]["amount_minor"] for line in period["lines"]] == [70_000, 20_000]
    assert period["lines"][1]["steps"][1]["text"] == "100 GB included"
    assert (period["tax"]["text"], quote["total"]["text"]) == ("45.00", "945.00")
    assert [one["text"] for one in quote["happenings"]][-2].startswith("speed profile slow-2m")


def test_a_document_is_priced_without_being_kept(operator: TestClient) -> None:
    before = operator.get("/v1/plans").json()
    document = {"currency": "BDT", "recurring_fee": "30"}
    body = {"document": document, "usage": {"starts_on": "2026-11-16"}}
    quote = operator.post("/v1/quotes", json=body).json()
    assert quote["total"]["amount_minor"] == 1_500
    assert operator.get("/v1/plans").json() == before


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"usage": {"usage": [{"octets": 1}]}}, "#/usage/usage/0/octets"),
        ({"usage": {"starts_on": "soon"}}, "#/usage/starts_on"),
        ({"document": {"currency": "XXX"}}, "#/document/currency"),
        (
            {"document": {"currency": "BDT", "meters": [{"meter_id": "a"}]}},
            "#/document/meters/0/curve",
        ),
    ],
)
def test_a_wrong_member_is_pointed_at(
    operator: TestClient, change: dict[str, Any], pointer: str
) -> None:
    body = {"document": {"currency": "BDT"}, "usage": USAGE} | change
    answer = operator.post("/v1/quotes", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_plan_and_a_document_are_one_too_many(operator: TestClient) -> None:
    for body in ({"usage": USAGE}, {"plan_id": "a", "document": {}, "usage": USAGE}):
        assert operator.post("/v1/quotes", json=body).status_code == 422


def test_a_plan_of_another_branch_is_not_found(clients: Clients) -> None:
    body = {"plan_id": PLAN_ID, "usage": USAGE}
    assert clients("dhanmondi").post("/v1/quotes", json=body).status_code == 200
    assert clients("pokhara").post("/v1/quotes", json=body).status_code == 404
