"""A cashier's shift over the API: cash payments lie in the till, with receipts, X and Z report."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import Clients
from tests.api.sample import World
from tests.api.test_payments import balances

DUE = "/v1/invoices/inv_acc_0003_2026-10/payments"


@pytest.fixture
def desk(clients: Clients) -> TestClient:
    return clients("dhanmondi")


def begin(client: TestClient, float_minor: int = 20_000) -> Any:
    body = {"float_minor": float_minor, "currency": "BDT"}
    return client.post("/v1/cash-shifts", json=body)


def test_a_day_at_the_counter(world: World, desk: TestClient) -> None:
    opened = begin(desk)
    assert opened.status_code == 201
    shift = opened.json()
    assert begin(desk).status_code == 409
    paid = desk.post(DUE, json={"amount_minor": 500, "currency": "BDT"}).json()
    desk.post(DUE, json={"amount_minor": 70, "currency": "BDT", "method": "card"})
    receipt = desk.get(f"/v1/payments/{paid['payment_id']}/receipt")
    assert receipt.content.startswith(b"%PDF")
    assert "DHM-RCP-000001" in receipt.headers["content-disposition"]
    address = opened.headers["location"]
    out = {"kind": "paid_out", "amount_minor": 100, "reason": "noon drop"}
    moved = desk.post(f"{address}/movements", json=out)
    assert moved.status_code == 201
    report = desk.get(f"{address}/report").json()
    assert (report["title"], report["expected"]["amount_minor"]) == ("X", 20_400)
    assert balances(world)["till"] == 20_400
    closed = desk.post(f"{address}/close", json={"counted_minor": 20_399}).json()
    assert (closed["title"], closed["difference"]["amount_minor"]) == ("Z", -1)
    assert desk.get(f"{address}/report").json() == closed
    assert desk.get(address).json()["closing_number"] == "DHM-Z-000001"
    found = balances(world)
    assert (found.get("till", 0), found["cash_difference"]) == (0, 1)
    assert desk.post(f"{address}/movements", json=out).status_code == 409
    [listed] = desk.get("/v1/cash-shifts").json()["items"]
    assert listed["shift_id"] == shift["shift_id"]
    assert desk.get("/v1/cash-shifts?is_open=true").json()["items"] == []


def test_a_cash_refund_leaves_the_till_as_far_as_it_holds(world: World, desk: TestClient) -> None:
    begin(desk, 100)
    pay = {"amount_minor": 5_000, "currency": "BDT", "keeps_rest": True, "method": "card"}
    desk.post("/v1/accounts/acc_0003/payments", json=pay)
    back = {"amount_minor": 101, "currency": "BDT", "reason": "paid twice"}
    refused = desk.post("/v1/accounts/acc_0003/refunds", json=back)
    assert refused.status_code == 409
    assert "expected at most 100" in refused.json()["detail"]
    given = desk.post("/v1/accounts/acc_0003/refunds", json={**back, "amount_minor": 100})
    assert given.status_code == 201
    assert balances(world)["till"] == 0


def test_cash_in_flight_is_in_no_till_until_it_settles(world: World, desk: TestClient) -> None:
    begin(desk, 0)
    pay = {"amount_minor": 500, "currency": "BDT", "is_pending": True}
    paid = desk.post("/v1/accounts/acc_0003/payments", json=pay).json()
    assert desk.get(f"/v1/payments/{paid['payment_id']}/receipt").status_code == 404
    desk.post(f"/v1/payments/{paid['payment_id']}/settle", json={})
    assert balances(world)["cash"] == 500


def test_a_till_is_its_cashiers(clients: Clients, desk: TestClient) -> None:
    address = begin(desk).headers["location"]
    other = clients("dhanmondi").post("/v1/api-keys", json={"name": "Second desk"}).json()["token"]
    second = clients("")
    headers = {"X-API-Key": other}
    body = {"counted_minor": 0}
    assert second.post(f"{address}/close", json=body, headers=headers).status_code == 403
    assert clients("pokhara").post(f"{address}/close", json=body).status_code == 404
    assert clients("pokhara").get(f"{address}/report").status_code == 404
