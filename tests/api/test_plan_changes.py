"""An upgrade acts at once, a downgrade at the period's end; both can be told otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.sample import PLAN_DOCUMENT

NEXT_MINUTE = "2026-11-21T10:16:00Z"
PERIOD_END = "2026-11-30T18:00:00Z"
"""Midnight in Dhaka."""


@pytest.fixture
def subscribed(operator: TestClient) -> TestClient:
    for plan_id, fee in (("basic", "500"), ("plus", "900"), ("other", "900")):
        plan = {"plan_id": plan_id, "branch_id": "dhanmondi", "name": plan_id}
        document = {**PLAN_DOCUMENT, "recurring_fee": fee}
        answer = operator.post("/v1/plans", json={**plan, "document": document})
        assert answer.status_code == 201
    return operator


def subscribe(client: TestClient, plan_id: str) -> str:
    body = {"account_id": "acc_0001", "user_name": "new", "name": "New", "plan_id": plan_id}
    subscriber = client.post("/v1/subscribers", json=body).json()
    key = subscriber["rating_key"]
    [found] = client.get(f"/v1/subscriptions?rating_key={key}").json()["items"]
    return f"/v1/subscriptions/{found['subscription_id']}"


@pytest.mark.parametrize(
    ("before", "change", "expected"),
    [
        ("basic", {"plan_id": "plus"}, NEXT_MINUTE),
        ("plus", {"plan_id": "basic"}, PERIOD_END),
        ("plus", {"plan_id": "other"}, NEXT_MINUTE),
        ("plus", {"plan_id": "basic", "when": "now"}, NEXT_MINUTE),
        ("basic", {"plan_id": "plus", "when": "period_end"}, PERIOD_END),
        ("plus", {"plan_id": "basic", "effective_at": "2026-11-25T00:00:00Z"},
         "2026-11-25T00:00:00Z"),
    ],
)  # fmt: skip
def test_when_a_plan_changes(
    subscribed: TestClient, before: str, change: dict[str, Any], expected: str
) -> None:
    path = subscribe(subscribed, before)
    changed = subscribed.post(f"{path}/change-plan", json=change)
    assert changed.status_code == 201, changed.text
    assert changed.json()["starts_at"] == expected
    assert subscribed.get(path).json()["ends_at"] == expected


def test_a_time_is_said_once(subscribed: TestClient) -> None:
    path = subscribe(subscribed, "plus")
    both = {"plan_id": "basic", "when": "now", "effective_at": PERIOD_END}
    refused = subscribed.post(f"{path}/change-plan", json=both)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "#/when"


@pytest.mark.parametrize(
    ("quantity", "expected"), [(3, NEXT_MINUTE), (1, PERIOD_END)], ids=["more", "less"]
)
def test_when_a_service_changes(operator: TestClient, quantity: int, expected: str) -> None:
    product = {"product_id": "ip", "branch_id": "dhanmondi", "name": "Static IP", "kind": "ip"}
    operator.post("/v1/products", json={**product, "currency": "BDT", "price": "100"})
    body = {"account_id": "acc_0001", "product_id": "ip", "quantity": 2}
    sold = operator.post("/v1/services", json=body).json()
    path = f"/v1/services/{sold['service_id']}/change"
    assert operator.post(path, json={"quantity": quantity}).json()["starts_at"] == expected
