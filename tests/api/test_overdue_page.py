"""The clerk's page of who owes: what is shown, and what its forms do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api import sample
from tests.api.conftest import Clients
from tests.api.sample import World
from tests.api.test_dunning import local_day, look, owed, state

__all__ = ["owed"]


@pytest.fixture
def clerk(clients: Clients) -> TestClient:
    """Someone who is logged in."""
    client = clients("")
    client.post("/login", data={"key": sample.OPERATOR_TOKEN})
    return client


def send(clerk: TestClient, account_id: str, form: str, **values: str) -> str:
    """Fill in a form of the account's page and return the page that follows."""
    shown = clerk.get(f"/overdue/{account_id}").text
    found = re.search(rf'action="(/overdue/{account_id}/{form})".*?</form>', shown, re.DOTALL)
    assert found, f"there is no form {form}"
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', found[0]))
    answer = clerk.post(found[1], data={**hidden, **values})
    assert answer.status_code == 200, answer.text
    text: str = answer.text
    return text


def test_who_owes_what_happens_next_and_when(
    world: World, clerk: TestClient, owed: dict[str, Any]
) -> None:
    look(world)
    shown = clerk.get("/overdue").text
    assert f"/overdue/{owed['account_id']}" in shown
    assert "Slowed down" in shown
    assert "Terminated" in shown


def test_a_promise_a_dispute_and_a_release(
    world: World, operator: TestClient, clerk: TestClient, owed: dict[str, Any]
) -> None:
    account_id = owed["account_id"]
    look(world)
    promised = send(clerk, account_id, "promises", amount="100", until_on=local_day(2))
    assert "The promise is taken" in promised
    assert state(operator, account_id)["paused_by"] == "promise"
    assert "Released" in send(clerk, account_id, "release")
    disputed = send(
        clerk, account_id, "holds", invoice_id=owed["invoice_id"], reason="<b>line 2</b> is wrong"
    )
    assert "&lt;b&gt;line 2&lt;/b&gt; is wrong" in disputed
    assert state(operator, account_id)["restriction"] is None


def test_a_branch_sees_its_own_alone(world: World, clients: Clients, owed: dict[str, Any]) -> None:
    foreign = clients("")
    foreign.post("/login", data={"key": world.keys["pokhara"]})
    assert owed["account_id"] not in foreign.get("/overdue").text
    assert foreign.get(f"/overdue/{owed['account_id']}").status_code == 404
