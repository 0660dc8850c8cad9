"""Payments of accounts over the API: allocated, in flight, bounced, refunded, written off."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import Clients

ACCOUNT = "/v1/accounts/acc_0003"
DUE = "inv_acc_0003_2026-10"


def pay(client: TestClient, **more: Any) -> Any:
    body = {"amount_minor": 500, "currency": "BDT", **more}
    return client.post(f"{ACCOUNT}/payments", json=body)


def open_of(client: TestClient) -> int:
    found: int = client.get(f"/v1/invoices/{DUE}").json()["open"]["amount_minor"]
    return found


def test_money_pays_what_is_open_and_the_rest_is_credit(operator: TestClient) -> None:
    due = open_of(operator)
    answer = pay(operator, amount_minor=due + 100, reference="r1")
    assert answer.status_code == 201
    paid = operator.get(answer.headers["location"]).json()
    assert paid == answer.json()
    assert [(a["invoice_id"], a["amount"]["amount_minor"]) for a in paid["allocations"]] == [
        (DUE, due)
    ]
    assert paid["credit_left"]["amount_minor"] == 100
    assert pay(operator, amount_minor=due + 100, reference="r1").json() == paid
    assert pay(operator, amount_minor=5, reference="r1").status_code == 409
    [credit] = operator.get(f"{ACCOUNT}/credit").json()["credit"]
    assert credit["text"] == "1.00"
    [listed] = operator.get(f"{ACCOUNT}/payments").json()["items"]
    assert listed["payment_id"] == paid["payment_id"]


def test_money_in_flight_settles_or_fails(operator: TestClient) -> None:
    due = open_of(operator)
    ids = [pay(operator, reference=r, is_pending=True).json()["payment_id"] for r in "ab"]
    assert open_of(operator) == due
    in_flight = operator.get(f"{ACCOUNT}/credit").json()["in_flight"]
    assert sorted(p["payment_id"] for p in in_flight) == sorted(ids)
    settled = operator.post(f"/v1/payments/{ids[0]}/settle", json={})
    assert (settled.status_code, settled.json()["status"]) == (200, "settled")
    assert open_of(operator) == due - 500
    failed = operator.post(f"/v1/payments/{ids[1]}/fail", json={"reason": "expired"})
    assert (failed.json()["status"], failed.json()["reason"]) == ("failed", "expired")
    assert operator.post(f"/v1/payments/{ids[0]}/fail", json={"reason": "x"}).status_code == 409


@pytest.mark.parametrize(
    ("gateway", "words"), [("bank", "Transfer 5.00 BDT"), ("counter", "Pay 5.00 BDT at a counter")]
)
def test_an_order_says_how_to_pay_and_is_in_flight(
    operator: TestClient, gateway: str, words: str
) -> None:
    body = {"gateway": gateway, "amount_minor": 500, "currency": "BDT"}
    answer = operator.post(f"{ACCOUNT}/payment-orders", json=body)
    assert answer.status_code == 201
    order = answer.json()
    assert words in order["instruction"]
    assert order["reference"] in order["instruction"]
    payment = operator.get(answer.headers["location"]).json()
    assert (payment["status"], payment["reference"]) == ("pending", order["reference"])
    due = open_of(operator)
    operator.post(f"/v1/payments/{order['payment_id']}/settle", json={})
    assert open_of(operator) == due - 500
    assert (
        operator.post(f"{ACCOUNT}/payment-orders", json={**body, "gateway": "x"}).status_code == 422
    )


def test_a_bounced_payment_opens_its_invoice_again(operator: TestClient) -> None:
    due = open_of(operator)
    paid = pay(operator, amount_minor=due).json()
    assert operator.get(f"/v1/invoices/{DUE}").json()["status"] == "paid"
    answer = operator.post(f"/v1/payments/{paid['payment_id']}/reverse", json={"reason": "R03"})
    assert answer.json()["status"] == "reversed"
    assert operator.get(f"/v1/invoices/{DUE}").json()["status"] == "finalized"
    assert open_of(operator) == due


def test_credit_is_given_back_and_no_more(operator: TestClient) -> None:
    paid = pay(operator, keeps_rest=True).json()
    wanted = {"amount_minor": 500, "currency": "BDT", "reason": "paid twice", "reference": "o1"}
    too_much = operator.post(f"{ACCOUNT}/refunds", json={**wanted, "amount_minor": 501})
    assert too_much.status_code == 409
    assert "expected at most 500" in too_much.json()["detail"]
    named = {**wanted, "payment_id": paid["payment_id"]}
    first = operator.post(f"{ACCOUNT}/refunds", json=named)
    assert first.status_code == 201
    assert operator.post(f"{ACCOUNT}/refunds", json=named).json() == first.json()
    [listed] = operator.get(f"{ACCOUNT}/refunds").json()["items"]
    assert listed == first.json()
    assert operator.get(f"{ACCOUNT}/credit").json()["credit"] == []


def test_money_is_moved_to_another_invoice(operator: TestClient) -> None:
    due = open_of(operator)
    paid = pay(operator, keeps_rest=True).json()
    assert open_of(operator) == due
    body = {"invoices": [{"invoice_id": DUE, "amount_minor": 200}], "keeps_rest": True}
    moved = operator.post(f"/v1/payments/{paid['payment_id']}/reallocate", json=body).json()
    assert moved["credit_left"]["amount_minor"] == 300
    assert open_of(operator) == due - 200
    body["invoices"] = [{"invoice_id": "inv_acc_0004_2026-10"}]
    refused = operator.post(f"/v1/payments/{paid['payment_id']}/reallocate", json=body)
    assert refused.status_code == 409
    assert open_of(operator) == due - 200


def test_bad_debt_is_given_up_once_and_may_be_paid_yet(operator: TestClient) -> None:
    due = open_of(operator)
    answer = operator.post(f"/v1/invoices/{DUE}/write-off", json={"reason": "moved away"})
    assert (answer.status_code, answer.json()["open"]["amount_minor"]) == (200, 0)
    assert answer.json()["written_off"]["amount_minor"] == due
    again = operator.post(f"/v1/invoices/{DUE}/write-off", json={"reason": "moved away"})
    assert again.status_code == 409
    assert pay(operator).json()["allocations"] == []
    paid = pay(operator, invoices=[{"invoice_id": DUE}], reference="late").json()
    assert paid["allocations"][0]["recovered"]["amount_minor"] == 500


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/accounts/acc_0003/payments", {"amount_minor": 1, "currency": "BDT"}),
        ("/v1/accounts/acc_0003/refunds", {"amount_minor": 1, "currency": "BDT", "reason": "x"}),
        (f"/v1/invoices/{DUE}/write-off", {"reason": "x"}),
        ("/v1/payments/{payment}/settle", {}),
        ("/v1/payments/{payment}/reverse", {"reason": "x"}),
        ("/v1/payments/{payment}/reallocate", {}),
    ],
)
def test_another_branch_reaches_none_of_it(
    operator: TestClient, clients: Clients, path: str, body: dict[str, Any]
) -> None:
    paid = pay(operator).json()
    stranger = clients("pokhara")
    answer = stranger.post(path.format(payment=paid["payment_id"]), json=body)
    assert answer.status_code == 404
    for address in (f"/v1/payments/{paid['payment_id']}", f"{ACCOUNT}/credit"):
        assert stranger.get(address).status_code == 404
