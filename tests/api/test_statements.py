"""The statement of account by the API: days, balances, and its paper."""

from __future__ import annotations

from fastapi.testclient import TestClient

PATH = "/v1/accounts/acc_0003/statement"


def test_a_payment_stands_on_the_statement_and_on_its_paper(operator: TestClient) -> None:
    paid = {"amount_minor": 500, "currency": "BDT", "method": "cash", "reference": "r1"}
    invoice = "/v1/invoices/inv_acc_0003_2026-10"
    assert operator.post(f"{invoice}/payments", json=paid).status_code == 201
    body = operator.get(PATH).json()
    assert (body["first_on"], body["last_on"]) == ("2026-11-01", "2026-11-21")
    [statement] = body["statements"]
    assert statement["opening"]["amount_minor"] == 0
    assert [(line["kind"], line["amount"]["amount_minor"]) for line in statement["lines"]] == [
        ("Payment", -500)
    ]
    assert statement["closing"]["amount_minor"] == -500
    paper = operator.get(f"{PATH}/pdf?from=2026-11-01&to=2026-11-30")
    assert paper.content.startswith(b"%PDF-")
    assert "statement-acc_0003-2026-11-30.pdf" in paper.headers["content-disposition"]
    later = operator.get(f"{PATH}?from=2026-12-01&to=2026-12-31").json()["statements"]
    assert [s["opening"]["amount_minor"] for s in later] == [-500]


def test_an_account_without_postings_has_an_empty_statement(operator: TestClient) -> None:
    assert operator.get(PATH).json()["statements"] == []
    assert operator.get(f"{PATH}/pdf").content.startswith(b"%PDF-")


def test_days_in_the_wrong_order_are_refused(operator: TestClient) -> None:
    answer = operator.get(f"{PATH}?from=2026-12-01&to=2026-11-30")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["parameter"] == "to"
