"""Deposits over the API: set aside, no invoice's, released into what is open, refunded."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from billing.adapters import ledger
from billing.adapters.databases import reading
from tests.api.conftest import Clients
from tests.api.sample import World

ACCOUNT = "/v1/accounts/acc_0003"
DUE = "inv_acc_0003_2026-10"


def take(client: TestClient, amount: int, **more: Any) -> Any:
    body = {"amount_minor": amount, "currency": "BDT", "reason": "box 7", **more}
    return client.post(f"{ACCOUNT}/deposits", json=body)


def credit_of(client: TestClient) -> int:
    found = client.get(f"{ACCOUNT}/credit").json()["credit"]
    return sum(one["amount_minor"] for one in found)


def open_of(client: TestClient) -> int:
    found: int = client.get(f"/v1/invoices/{DUE}").json()["open"]["amount_minor"]
    return found


def books(world: World, code: str) -> int:
    with reading(world.engine) as connection:
        return ledger.customer_balance(connection, "acc_0003", code).get("BDT", 0)


def test_a_deposit_that_is_brought_pays_no_invoice(world: World, operator: TestClient) -> None:
    due = open_of(operator)
    money = {"method": "bank", "amount_minor": 700, "currency": "BDT", "reference": "d1"}
    answer = take(operator, 500, payment=money)
    assert answer.status_code == 201
    assert (answer.json()["held"]["amount_minor"], open_of(operator)) == (500, due)
    assert credit_of(operator) == 200
    assert (books(world, "deposits"), books(world, "customer_credit")) == (-500, -200)
    [listed] = operator.get(f"{ACCOUNT}/deposits").json()["items"]
    assert listed == answer.json()


def test_a_released_deposit_pays_what_is_open_and_the_rest_is_refunded(
    world: World, operator: TestClient
) -> None:
    due = open_of(operator)
    money = {"amount_minor": due + 900, "currency": "BDT"}
    held = take(operator, due + 900, payment=money).json()
    path = f"/v1/deposits/{held['deposit_id']}/release"
    part = operator.post(path, json={"amount_minor": 100, "reason": "rent"}).json()
    assert (part["held"]["amount_minor"], open_of(operator)) == (due + 800, due - 100)
    assert operator.post(path, json={"reason": "returned"}).json()["held"]["amount_minor"] == 0
    assert (open_of(operator), credit_of(operator)) == (0, 900)
    assert books(world, "deposits") == 0
    refund = {"amount_minor": 900, "currency": "BDT", "reason": "moved away", "method": "bank"}
    assert operator.post(f"{ACCOUNT}/refunds", json=refund).status_code == 201
    assert (credit_of(operator), books(world, "customer_credit")) == (0, 0)
    assert operator.post(path, json={"reason": "again"}).status_code == 409


def test_credit_that_is_not_there_is_no_deposit(operator: TestClient) -> None:
    answer = take(operator, 10)
    assert answer.status_code == 409
    assert "expected at most 0" in answer.json()["detail"]
    pending = {"amount_minor": 10, "currency": "BDT", "is_pending": True}
    assert take(operator, 10, payment=pending).status_code == 422


def test_a_deposit_is_its_branchs(operator: TestClient, clients: Clients) -> None:
    money = {"amount_minor": 10, "currency": "BDT"}
    held = take(operator, 10, payment=money).json()["deposit_id"]
    other = clients("pokhara")
    assert other.get(f"{ACCOUNT}/deposits").status_code == 404
    body = {"reason": "mine"}
    assert other.post(f"/v1/deposits/{held}/release", json=body).status_code == 404
