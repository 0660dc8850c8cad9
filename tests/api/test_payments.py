"""Money for invoices: recorded once, posted to the ledger, and seen on the invoice."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import inspect, update

from billing.adapters import ledger, tables
from billing.adapters.databases import reading, writing
from tests.api import sample
from tests.api.conftest import Clients
from tests.api.sample import World
from tests.api.test_pages import csrf_of

DUE = "/v1/invoices/inv_acc_0003_2026-10"


def body(amount_minor: int = 500, **more: Any) -> dict[str, Any]:
    return {"amount_minor": amount_minor, "currency": "BDT", **more}


def balances(world: World) -> dict[str, int]:
    with reading(world.engine) as connection:
        found = ledger.trial_balance(connection, "dhanmondi")
    return {code: amount for (code, _), amount in found.items()}


def set_status(world: World, status: str, hold_reason: str = "") -> None:
    table = tables.invoice
    with writing(world.engine) as connection:
        connection.execute(
            update(table)
            .where(table.c.invoice_id == "inv_acc_0003_2026-10")
            .values(status=status, hold_reason=hold_reason)
        )


def test_a_payment_settles_its_invoice(world: World, operator: TestClient) -> None:
    open_minor = operator.get(DUE).json()["open"]["amount_minor"]
    answer = operator.post(f"{DUE}/payments", json=body(open_minor, reference="r1"))
    assert answer.status_code == 201
    paid = answer.json()
    assert (paid["method"], paid["reference"], paid["recorded_by"]) == ("cash", "r1", "Operator")
    assert (paid["invoice"]["status"], paid["invoice"]["open"]["amount_minor"]) == ("paid", 0)
    assert paid["excess"]["amount_minor"] == 0
    assert balances(world) == {"cash": open_minor, "receivable": -open_minor}
    [listed] = operator.get(answer.headers["location"]).json()["items"]
    assert listed["payment_id"] == paid["payment_id"]


def test_parts_add_up_and_the_rest_is_credit(world: World, operator: TestClient) -> None:
    whole = operator.get(DUE).json()["open"]["amount_minor"]
    first = operator.post(f"{DUE}/payments", json=body(100)).json()
    assert first["invoice"]["status"] == "finalized"
    assert first["invoice"]["open"]["amount_minor"] == whole - 100
    second = operator.post(f"{DUE}/payments", json=body(whole)).json()
    assert (second["invoice"]["status"], second["excess"]["amount_minor"]) == ("paid", 100)
    assert balances(world) == {"cash": whole + 100, "receivable": -whole, "customer_credit": -100}


def test_a_receipt_is_one_payment(world: World, operator: TestClient) -> None:
    wanted = body(500, reference="r1", method="card")
    first = operator.post(f"{DUE}/payments", json=wanted).json()
    assert operator.post(f"{DUE}/payments", json=wanted).json()["payment_id"] == first["payment_id"]
    assert balances(world)["cash"] == 500
    assert operator.post(f"{DUE}/payments", json={**wanted, "amount_minor": 501}).status_code == 409
    other = operator.post(f"{DUE}/payments", json={**wanted, "method": "cash"})
    assert other.status_code == 201
    assert balances(world)["cash"] == 1_000


def test_an_idempotency_key_is_one_payment(world: World, operator: TestClient) -> None:
    for _ in range(2):
        key = {"Idempotency-Key": "p1"}
        assert operator.post(f"{DUE}/payments", json=body(500), headers=key).status_code == 201
    assert balances(world)["cash"] == 500


@pytest.mark.parametrize(
    ("wrong", "pointer"),
    [
        ({"amount_minor": 0}, "#/amount_minor"),
        ({"currency": "USD"}, "#/currency"),
        ({"received_at": "2026-11-22T00:00:00Z"}, "#/received_at"),
        ({"method": "my wallet"}, "#/method"),
        ({"tip": 1}, "#/tip"),
    ],
)
def test_a_payment_that_cannot_be(
    world: World, operator: TestClient, wrong: dict[str, Any], pointer: str
) -> None:
    answer = operator.post(f"{DUE}/payments", json=body() | wrong)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert balances(world) == {}


@pytest.mark.parametrize("status", ["draft", "void"])
def test_what_asks_for_no_money_takes_none(world: World, operator: TestClient, status: str) -> None:
    set_status(world, status)
    assert operator.get(DUE).json()["open"]["amount_minor"] == 0
    assert operator.post(f"{DUE}/payments", json=body()).status_code == 409
    assert balances(world) == {}


def test_a_payment_is_posted_or_not_there(
    world: World, operator: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> int:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "post", dies)
        assert operator.post(f"{DUE}/payments", json=body(500)).status_code == 500
    assert operator.get(f"{DUE}/payments").json()["items"] == []
    assert operator.get(DUE).json()["paid"]["amount_minor"] == 0
    assert world.counted.get("api_payments_recorded_total") is None


def test_a_held_draft_is_released_once(world: World, operator: TestClient) -> None:
    assert operator.post(f"{DUE}/release").status_code == 409
    set_status(world, "draft", "exporter-7 was silent for 3 h")
    answer = operator.post(f"{DUE}/release")
    assert (answer.status_code, answer.json()["hold_reason"]) == (200, "")
    assert "lines" not in answer.json()
    again = operator.post(f"{DUE}/release")
    assert again.status_code == 409
    assert "released already" in again.json()["detail"]


@pytest.fixture
def visitor(clients: Clients) -> TestClient:
    client = clients("")
    client.post("/login", data={"key": sample.OPERATOR_TOKEN})
    return client


PAGE = "/invoices/inv_acc_0003_2026-10"


def test_a_clerk_takes_cash_at_the_counter(world: World, visitor: TestClient) -> None:
    shown = visitor.get(PAGE).text
    form = {"csrf": csrf_of(shown), "amount": "100.50", "reference": "r7", "once": "o1"}
    answer = visitor.post(f"{PAGE}/payments", data=form)
    assert answer.url.query == b"done=payment"
    assert "The payment is recorded." in answer.text
    assert "Still open" in answer.text
    assert "r7" in answer.text
    visitor.post(f"{PAGE}/payments", data=form)
    assert balances(world)["cash"] == 10_050, "a double click is one payment"
    form |= {"amount": "100000", "reference": "r8", "once": "o2"}
    answer = visitor.post(f"{PAGE}/payments", data=form)
    assert "credit" in answer.text
    assert "Record payment" not in answer.text


@pytest.mark.parametrize("wrong", [{"amount": "ten"}, {"method": "a b"}, {"csrf": "x"}])
def test_a_wrong_form_records_nothing(
    world: World, visitor: TestClient, wrong: dict[str, str]
) -> None:
    form = {"csrf": csrf_of(visitor.get(PAGE).text), "amount": "5", "method": "cash"} | wrong
    assert visitor.post(f"{PAGE}/payments", data=form).status_code in (403, 422)
    assert balances(world) == {}


def test_a_clerk_releases_a_held_draft(world: World, visitor: TestClient) -> None:
    set_status(world, "draft", "exporter-7 was silent for 3 h")
    shown = visitor.get(PAGE).text
    assert "exporter-7 was silent" in shown
    assert "Record payment" not in shown
    answer = visitor.post(f"{PAGE}/release", data={"csrf": csrf_of(shown), "once": "o1"})
    assert "Released" in answer.text
    assert "waits for a clerk" not in answer.text


class TestApiKeys:
    """Keys of a branch: issued, listed without their secret, revoked."""

    def test_a_key_works_from_its_answer_until_it_is_revoked(
        self, operator: TestClient, clients: Clients
    ) -> None:
        body = {"name": "Front desk", "branch_id": "pokhara"}
        answer = operator.post("/v1/api-keys", json=body)
        assert answer.status_code == 201
        issued = answer.json()
        headers = {"X-API-Key": issued["token"]}
        caller = clients("")
        branches = caller.get("/v1/branches", headers=headers).json()["items"]
        assert [branch["branch_id"] for branch in branches] == ["pokhara"]
        assert operator.delete(answer.headers["location"]).status_code == 204
        assert caller.get("/v1/branches", headers=headers).status_code == 401
        again = operator.delete(answer.headers["location"])
        assert (again.status_code, again.content) == (204, b"")
        revoked = operator.get(answer.headers["location"]).json()
        assert revoked["revoked_at"] == "2026-11-21T10:15:07Z"
        assert "token" not in revoked

    def test_the_token_is_kept_nowhere(self, world: World, operator: TestClient) -> None:
        body = {"name": "Front desk", "branch_id": "pokhara"}
        key = {"Idempotency-Key": "k1"}
        token = operator.post("/v1/api-keys", json=body, headers=key).json()["token"]
        again = operator.post("/v1/api-keys", json=body, headers=key)
        assert again.headers["idempotency-replayed"] == "true"
        assert again.json()["token"] is None
        with reading(world.engine) as connection:
            for name in inspect(connection).get_table_names():
                rows = connection.exec_driver_sql(f'select * from "{name}"').all()
                assert token not in str(rows), name

    def test_a_branchs_key_makes_keys_of_its_branch_only(self, clients: Clients) -> None:
        client = clients("pokhara")
        assert client.post("/v1/api-keys", json={"name": "X"}).json()["branch_id"] == "pokhara"
        refused = client.post("/v1/api-keys", json={"name": "X", "branch_id": "dhanmondi"})
        assert refused.status_code == 403
        assert client.delete("/v1/api-keys/key-dhanmondi").status_code == 404
        assert clients("dhanmondi").get("/v1/branches").status_code == 200

    def test_the_operators_key_needs_a_branch_and_is_no_row(self, operator: TestClient) -> None:
        assert operator.post("/v1/api-keys", json={"name": "X"}).status_code == 422
        unknown = operator.post("/v1/api-keys", json={"name": "X", "branch_id": "nowhere"})
        assert unknown.status_code == 404
        assert operator.delete("/v1/api-keys/operator").status_code == 404
