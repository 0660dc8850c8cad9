"""Instalment plans over the API."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import Clients

DUE = "/v1/invoices/inv_acc_0003_2026-10"
PLANS = f"{DUE}/instalment-plans"


def test_a_plan_is_agreed_paid_and_done(operator: TestClient) -> None:
    due = operator.get(DUE).json()["open"]["amount_minor"]
    answer = operator.post(PLANS, json={"count": 2, "first_on": "2026-12-15"})
    assert answer.status_code == 201
    plan = answer.json()
    assert [part["due_on"] for part in plan["parts"]] == ["2026-12-15", "2027-01-15"]
    first = plan["parts"][0]["amount"]["amount_minor"]
    operator.post(f"{DUE}/payments", json={"amount_minor": first, "currency": "BDT"})
    after = operator.get(answer.headers["location"]).json()
    assert [part["open"]["amount_minor"] for part in after["parts"]] == [0, due - first]
    assert operator.post(PLANS, json={"count": 2, "first_on": "2026-12-15"}).status_code == 409
    operator.post(f"{DUE}/payments", json={"amount_minor": due - first, "currency": "BDT"})
    [listed] = operator.get("/v1/accounts/acc_0003/instalment-plans").json()["items"]
    assert listed["status"] == "done"


def test_a_plan_is_cancelled(operator: TestClient, clients: Clients) -> None:
    address = operator.post(PLANS, json={"count": 2, "first_on": "2026-12-15"}).headers["location"]
    assert clients("pokhara").post(f"{address}/cancel").status_code == 404
    assert operator.post(f"{address}/cancel").json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/parts"),
        ({"count": 2}, "#/parts"),
        ({"count": 0, "first_on": "2026-12-15"}, "#/count"),
        ({"parts": [{"due_on": "2026-12-15", "amount_minor": 1}]}, "#/parts"),
    ],
)
def test_a_plan_that_cannot_be(operator: TestClient, body: dict[str, Any], pointer: str) -> None:
    answer = operator.post(PLANS, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
