"""Every command is in the audit log, in its own transaction, with who, what before, what after."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from billing.adapters.audit import verify
from billing.adapters.databases import reading
from tests.api.conftest import Clients
from tests.api.sample import World


def entries(client: TestClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/audit").json()["items"]
    return found


def test_a_change_says_who_and_what(world: World, clients: Clients) -> None:
    desk = clients("dhanmondi")
    assert desk.patch("/v1/accounts/acc_0003", json={"phone": "+8801"}).status_code == 200
    [entry] = entries(desk)
    assert entry["action"] == "PATCH /v1/accounts/acc_0003"
    assert (entry["actor_id"], entry["branch_id"]) == ("key-dhanmondi", "dhanmondi")
    [change] = entry["changes"]
    assert change["key"] == {"account_id": "acc_0003"}
    assert change["after"] == {"phone": "+8801"}
    assert change["before"]["phone"] != "+8801"
    with reading(world.engine) as connection:
        assert verify(connection, {}).breaks == ()


def test_what_failed_or_was_done_before_is_no_entry(operator: TestClient) -> None:
    body = {"amount_minor": 500, "currency": "BDT", "reference": "r1"}
    due = "/v1/invoices/inv_acc_0003_2026-10/payments"
    for _ in range(2):
        operator.post(due, json=body, headers={"Idempotency-Key": "k"})
    operator.post(due, json=body)
    operator.post(due, json={**body, "amount_minor": 3})
    [entry] = entries(operator)
    changed = {change["table"] for change in entry["changes"]}
    assert {"payment", "allocation", "invoice", "customer_credit"} == changed


def test_a_key_is_logged_without_its_hash(operator: TestClient) -> None:
    operator.post("/v1/api-keys", json={"name": "Desk", "branch_id": "pokhara"})
    [entry] = entries(operator)
    assert entry["changes"][0]["after"]["hash"] == "(hidden)"


def test_a_branch_sees_its_own(clients: Clients) -> None:
    clients("dhanmondi").patch("/v1/accounts/acc_0003", json={"phone": "1"})
    clients(None).patch("/v1/accounts/acc_0003", json={"phone": "2"})
    assert entries(clients("pokhara")) == []
    assert len(entries(clients("dhanmondi"))) == 1
    assert len(entries(clients(None))) == 2


@pytest.mark.parametrize("dies_in", ["write_entry"])
def test_without_its_entry_a_command_does_nothing(
    operator: TestClient, monkeypatch: pytest.MonkeyPatch, dies_in: str
) -> None:
    def dies(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(f"api.commanding.{dies_in}", dies)
        answer = operator.patch("/v1/accounts/acc_0003", json={"phone": "9"})
        assert answer.status_code == 500
    assert operator.get("/v1/accounts/acc_0003").json()["phone"] != "9"
    assert entries(operator) == []
