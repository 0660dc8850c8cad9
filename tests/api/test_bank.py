"""The queue of bank entries that nobody could match, as a clerk works through it."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from billing.accounts import Branch
from billing.adapters.bank import import_entry
from billing.adapters.databases import writing
from billing.adapters.repositories import find
from billing.bank_statements import BankEntry
from tests.api.conftest import Clients
from tests.api.sample import NOW, World


@pytest.fixture
def queue(world: World) -> list[str]:
    ids = ["bnk_1", "bnk_2"]
    with writing(world.engine) as connection:
        branch = find(connection, Branch, "dhanmondi")
        assert branch is not None
        for entry_id in ids:
            entry = BankEntry(
                entry_id, "BD1", "2026-11-20", 700, "BDT", "", "", "thanks", "Nobody", ""
            )
            import_entry(connection, branch, entry, "import", NOW)
    return ids


def test_a_clerk_works_through_the_queue(operator: TestClient, queue: list[str]) -> None:
    waiting = operator.get("/v1/bank-entries?status=unmatched").json()["items"]
    assert [entry["entry_id"] for entry in waiting] == queue[::-1]
    due = operator.get("/v1/invoices/inv_acc_0003_2026-10").json()["open"]["amount_minor"]
    body = {"account_id": "acc_0003"}
    matched = operator.post(f"/v1/bank-entries/{queue[0]}/match", json=body)
    assert (matched.status_code, matched.json()["status"]) == (200, "matched")
    payment = operator.get(f"/v1/payments/{matched.json()['payment_id']}").json()
    assert (payment["method"], payment["payer"]) == ("bank", "Nobody")
    left = operator.get("/v1/invoices/inv_acc_0003_2026-10").json()["open"]["amount_minor"]
    assert left == due - 700
    assert operator.post(f"/v1/bank-entries/{queue[0]}/match", json=body).status_code == 409
    ignored = operator.post(f"/v1/bank-entries/{queue[1]}/ignore", json={"reason": "rent"})
    assert ignored.json()["status"] == "ignored"
    assert operator.get("/v1/bank-entries?status=unmatched").json()["items"] == []


def test_another_branch_sees_and_resolves_none_of_it(clients: Clients, queue: list[str]) -> None:
    stranger = clients("pokhara")
    assert stranger.get("/v1/bank-entries").json()["items"] == []
    body = {"account_id": "acc_0003"}
    assert stranger.post(f"/v1/bank-entries/{queue[0]}/match", json=body).status_code == 404
    foreign = clients("dhanmondi").post(
        f"/v1/bank-entries/{queue[0]}/match", json={"account_id": "acc_0045"}
    )
    assert foreign.status_code == 404
