"""Tax rates and certificates by the API; voids, credit notes and debit notes."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import Clients

RATE = {
    "branch_id": "dhanmondi",
    "tax_code": "internet",
    "tax_id": "vat",
    "valid_from_on": "2026-07-01",
    "name": "VAT",
    "percent": "15",
}
INVOICE = "/v1/invoices/inv_acc_0003_2026-10"
ACCOUNT = "/v1/accounts/acc_0003"


def post(client: TestClient, path: str, body: dict[str, Any], status: int = 201) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_rate_is_added_once_and_never_changed(operator: TestClient) -> None:
    for _ in range(2):
        assert post(operator, "/v1/tax-rates", RATE)["percent"] == "15"
    problem = post(operator, "/v1/tax-rates", {**RATE, "percent": "10"}, 409)
    assert problem["detail"].startswith("vat of internet has 15 % from then on")
    later = {**RATE, "valid_from_on": "2027-01-01", "percent": None}
    assert post(operator, "/v1/tax-rates", later)["percent"] == ""
    listed = operator.get("/v1/tax-rates?tax_code=internet&limit=1").json()
    assert [rate["valid_from_on"] for rate in listed["items"]] == ["2026-07-01"]
    assert listed["next_cursor"]


@pytest.mark.parametrize(
    ("member", "value"),
    [("percent", "101"), ("percent", "1e1"), ("percent", "-1"), ("tax_id", "VAT 15"),
     ("valid_from_on", "2026-02-30"), ("place", "a b")],
)  # fmt: skip
def test_a_wrong_rate_is_named(operator: TestClient, member: str, value: str) -> None:
    problem = post(operator, "/v1/tax-rates", {**RATE, member: value}, 422)
    assert problem["errors"][0]["pointer"].startswith(f"#/{member}")
    assert problem["errors"][0]["value"] == value


def test_a_plan_names_a_code_that_is_there(operator: TestClient) -> None:
    plan = {
        "plan_id": "coded",
        "branch_id": "dhanmondi",
        "name": "Coded",
        "document": {"currency": "BDT", "recurring_fee": "100", "tax_code": "internet"},
    }
    problem = post(operator, "/v1/plans", plan, 422)
    assert problem["errors"][0]["pointer"] == "#/document/tax_code"
    post(operator, "/v1/tax-rates", RATE)
    assert post(operator, "/v1/plans", plan)["document"]["tax_code"] == "internet"


def test_rates_of_another_branch_are_out_of_reach(clients: Clients) -> None:
    post(clients("dhanmondi"), "/v1/tax-rates", RATE)
    assert clients("pokhara").get("/v1/tax-rates").json()["items"] == []
    assert clients("pokhara").post("/v1/tax-rates", json=RATE).status_code == 403


def test_an_account_has_a_place_and_certificates(clients: Clients) -> None:
    client = clients("dhanmondi")
    body = {"kind": "withholding", "percent": "10", "basis": "net", "valid_from_on": "2026-07-01"}
    made = post(client, f"{ACCOUNT}/tax-certificates", body)
    path = f"/v1/tax-certificates/{made['status_id']}/end"
    assert clients("pokhara").post(path, json={"valid_until_on": "2027-01-01"}).status_code == 404
    assert post(client, path, {"valid_until_on": "2026-06-30"}, 422)
    ended = post(client, path, {"valid_until_on": "2027-06-30"}, 200)
    assert ended["valid_until_on"] == "2027-06-30"
    for changes in ({"place": "gulshan"}, {"tax_number": "BIN 7"}):
        assert client.patch(f"{ACCOUNT}/taxes", json=changes).status_code == 200
    found = client.get(f"{ACCOUNT}/taxes").json()
    assert (found["place"], found["tax_number"]) == ("gulshan", "BIN 7")
    assert found["certificates"] == [ended]


@pytest.mark.parametrize(
    "changes",
    [
        {"percent": None},
        {"basis": None},
        {"kind": "exempt"},
        {"valid_until_on": "2026-06-30"},
        {"kind": "diplomat"},
    ],
)
def test_a_wrong_certificate_is_refused(operator: TestClient, changes: dict[str, Any]) -> None:
    body = {"kind": "withholding", "percent": "10", "basis": "net", "valid_from_on": "2026-07-01"}
    post(operator, f"{ACCOUNT}/tax-certificates", body | changes, 422)


def test_a_credit_note_is_an_invoice_of_its_own(operator: TestClient) -> None:
    before = operator.get(INVOICE).json()
    body = {"reason": "Outage", "lines": [{"line": 1, "amount_minor": 10000}]}
    for _ in range(2):
        answer = operator.post(
            f"{INVOICE}/credit-notes", json=body, headers={"Idempotency-Key": "c1"}
        )
        assert answer.status_code == 201, answer.text
    note = operator.get(answer.headers["location"]).json()
    assert (note["series"], note["total"]["amount_minor"]) == ("CRN", -10500)
    assert [line["amount"]["amount_minor"] for line in note["lines"]] == [-10000, -500]
    after = operator.get(INVOICE).json()
    assert after["open"]["amount_minor"] == before["open"]["amount_minor"] - 10500
    assert operator.get(note["pdf_url"]).content.startswith(b"%PDF-")
    twice = {"reason": "x", "lines": [{"line": 1, "amount_minor": 1}] * 2}
    assert post(operator, f"{INVOICE}/credit-notes", twice, 422)
    much = {"reason": "x", "lines": [{"line": 1, "amount_minor": 60001}]}
    assert "60001 is more than" in post(operator, f"{INVOICE}/credit-notes", much, 409)["detail"]
    post(operator, f"{INVOICE}/credit-notes", {"reason": "All of it"})
    assert operator.get(INVOICE).json()["status"] == "paid"


def test_a_debit_note_asks_for_more(operator: TestClient) -> None:
    body = {"reason": "Forgotten", "lines": [{"line": 1, "amount_minor": 10000}]}
    note = post(operator, f"{INVOICE}/debit-notes", body)
    assert (note["series"], note["status"]) == ("DBN", "finalized")
    assert note["open"]["amount_minor"] == 10500


def test_a_void_invoice_stays_void(clients: Clients) -> None:
    client = clients("dhanmondi")
    assert clients("pokhara").post(f"{INVOICE}/void", json={"reason": "x"}).status_code == 404
    for _ in range(2):
        void = post(client, f"{INVOICE}/void", {"reason": "Wrong customer"}, 200)
        assert (void["status"], void["open"]["amount_minor"]) == ("void", 0)
    post(client, f"{INVOICE}/credit-notes", {"reason": "x"}, 409)
    assert client.get(f"{INVOICE}/pdf").status_code == 200
