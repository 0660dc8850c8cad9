"""Terms, schedules, promises and holds over the interface, and what an account is in for."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from api.writes.endings import end_account
from billing import proration
from billing.adapters import tables
from billing.adapters.databases import reading, writing
from billing.adapters.dunning import DunningLoop
from billing.config import DunningConfig
from tests.api.conftest import Clients
from tests.api.sample import NOW, World

DAY_MS = 86_400_000
DOCUMENT = {
    "name": "Homes",
    "acts_from_hour": 0,
    "steps": [
        {"step_id": "soon", "days": 0, "action": "remind", "template": "due_soon"},
        {"step_id": "slow", "days": 7, "action": "slow_down", "profile": "slow-2m"},
        {"step_id": "end", "days": 9, "action": "terminate"},
    ],
}
SCHEDULE = {"schedule_id": "homes", "branch_id": "dhanmondi", "document": DOCUMENT}


@pytest.fixture
def owed(world: World, operator: TestClient) -> dict[str, Any]:
    """An invoice of Dhanmondi that is ten days overdue, under a schedule: its row as JSON."""
    assert operator.post("/v1/dunning-schedules", json=SCHEDULE).status_code == 201
    said = operator.patch("/v1/branches/dhanmondi/terms", json={"schedule_id": "homes"})
    assert said.status_code == 200
    with writing(world.engine) as connection:
        row = connection.execute(
            select(tables.invoice)
            .where(tables.invoice.c.branch_id == "dhanmondi", tables.invoice.c.number.is_not(None))
            .order_by(tables.invoice.c.account_id)
        ).first()
        assert row is not None
        connection.execute(update(tables.invoice).values(status="paid", paid_minor=2**40))
        connection.execute(
            update(tables.invoice)
            .where(tables.invoice.c.invoice_id == row.invoice_id)
            .values(status="finalized", paid_minor=0, due_on=local_day(-10))
        )
    return dict(row._mapping)


def local_day(days: int) -> str:
    """Return a day so many days from today in Dhaka."""
    return (proration.local_day(NOW, "Asia/Dhaka") + datetime.timedelta(days=days)).isoformat()


def look(world: World, days: int = 0) -> None:
    """Let the office look at everybody, some days from now."""
    loop = DunningLoop(
        world.engine,
        DunningConfig(),
        ["log"],
        lambda connection, account_id, now: end_account(
            world.services, connection, account_id, now
        ),
    )
    loop.run_once(NOW + days * DAY_MS)


def state(client: TestClient, account_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/accounts/{account_id}/dunning").json()
    return found


def test_terms_are_said_by_branch_group_and_account(operator: TestClient) -> None:
    nothing = {"terms_days": None, "grace_days": None, "schedule_id": ""}
    assert operator.get("/v1/branches/dhanmondi/terms").json() == nothing
    group = {"group_id": "firms", "branch_id": "dhanmondi", "name": "Firms", "terms_days": 30}
    assert operator.post("/v1/customer-groups", json=group).json() == {**nothing, **group}
    assert operator.post("/v1/customer-groups", json={**group, "terms_days": 45}).status_code == 201
    [listed] = operator.get("/v1/customer-groups").json()["items"]
    assert listed["terms_days"] == 45
    joined = operator.patch("/v1/accounts/acc_0001/terms", json={"group_id": "firms"})
    assert joined.json()["group_id"] == "firms"
    assert operator.get("/v1/accounts/acc_0001/terms").json() == joined.json()


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer", "expected"),
    [
        ("patch", "/v1/branches/dhanmondi/terms", {"schedule_id": "x"}, "#/schedule_id", "branch"),
        ("patch", "/v1/branches/dhanmondi/terms", {"terms_days": 366}, "#/terms_days", "365"),
        ("patch", "/v1/accounts/acc_0001/terms", {"group_id": "x"}, "#/group_id", "group"),
        (
            "post",
            "/v1/dunning-schedules",
            {**SCHEDULE, "document": {**DOCUMENT, "acts_from_hour": 24}},
            "#/document",
            "acts_from_hour: expected 0 to 23, got 24",
        ),
        (
            "post",
            "/v1/accounts/acc_0001/dunning-holds",
            {"kind": "dispute", "reason": "wrong"},
            "#/invoice_id",
            "an invoice with kind dispute",
        ),
        (
            "post",
            "/v1/accounts/acc_0001/dunning-holds",
            {"kind": "hold", "reason": "away", "until_on": "2020-01-01"},
            "#/until_on",
            "or later",
        ),
        (
            "post",
            "/v1/accounts/acc_0001/promises",
            {"amount_minor": 1, "currency": "BDT", "until_on": local_day(1)},
            "#/until_on",
            "an account that is dunned",
        ),
    ],
)
def test_what_is_wrong_is_named(
    operator: TestClient, method: str, path: str, body: dict[str, Any], pointer: str, expected: str
) -> None:
    answer = operator.request(method, path, json=body)
    assert answer.status_code == 422, answer.text
    [error] = answer.json()["errors"]
    assert error["pointer"] == pointer
    assert expected in error["expected"]


def test_a_schedules_next_version(operator: TestClient) -> None:
    versions = [operator.post("/v1/dunning-schedules", json=SCHEDULE).json() for _ in range(2)]
    assert [one["version"] for one in versions] == [1, 2]
    assert operator.get("/v1/dunning-schedules").json()["items"] == versions


def test_what_an_account_is_in_for_and_what_was_done(
    world: World, operator: TestClient, owed: dict[str, Any]
) -> None:
    account_id = owed["account_id"]
    [overdue] = operator.get("/v1/overdue").json()["items"]
    assert overdue["account_id"] == account_id
    assert overdue["items"][0]["next"] == {
        "step_id": "slow",
        "action": "slow_down",
        "on": local_day(0),
    }
    look(world)
    found = state(operator, account_id)
    assert [step["step_id"] for step in found["steps"]] == ["slow"]
    assert found["restriction"]["action"] == "slow_down"
    assert found["items"][0]["next"]["on"] == local_day(1)
    assert found["items"][0]["days_overdue"] == 10


def test_a_promise_lifts_and_its_release_brings_back(
    world: World, operator: TestClient, owed: dict[str, Any]
) -> None:
    account_id = owed["account_id"]
    look(world)
    body = {"amount_minor": 1_000, "currency": owed["currency"], "until_on": local_day(3)}
    made = operator.post(f"/v1/accounts/{account_id}/promises", json=body)
    assert made.status_code == 201, made.text
    found = state(operator, account_id)
    assert (found["restriction"], found["paused_by"], found["paused_until_on"]) == (
        None,
        "promise",
        local_day(3),
    )
    again = operator.post(f"/v1/accounts/{account_id}/promises", json=body)
    assert again.status_code == 422
    assert "no promise that stands already" in again.json()["errors"][0]["expected"]
    pause_id = made.json()["pause_id"]
    assert operator.post(f"/v1/dunning-holds/{pause_id}/release").json()["outcome"] == "released"
    assert state(operator, account_id)["restriction"]["action"] == "slow_down"
    assert operator.post(f"/v1/dunning-holds/{pause_id}/release").status_code == 409


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"amount_minor": 10**14}, "at most what is owed"),
        ({"until_on": local_day(15)}, f"{local_day(0)} to {local_day(14)}"),
        ({"until_on": local_day(-1)}, f"{local_day(0)} to {local_day(14)}"),
    ],
)
def test_a_promise_that_cannot_be_taken(
    operator: TestClient, owed: dict[str, Any], body: dict[str, Any], expected: str
) -> None:
    whole = {"amount_minor": 1_000, "currency": owed["currency"], "until_on": local_day(3)} | body
    refused = operator.post(f"/v1/accounts/{owed['account_id']}/promises", json=whole)
    assert refused.status_code == 422
    assert expected in refused.json()["errors"][0]["expected"]


def test_a_second_promise_after_a_broken_one_is_refused(
    world: World, operator: TestClient, owed: dict[str, Any]
) -> None:
    path = f"/v1/accounts/{owed['account_id']}/promises"
    body = {"amount_minor": 1_000, "currency": owed["currency"], "until_on": local_day(0)}
    assert operator.post(path, json=body).status_code == 201
    look(world, days=1)
    assert state(operator, owed["account_id"])["pauses"][0]["outcome"] == "broken"
    refused = operator.post(path, json={**body, "until_on": local_day(3)})
    assert "fewer than 1 broken promises" in refused.json()["errors"][0]["expected"]


@pytest.mark.parametrize("kind", ["hold", "exemption", "dispute"])
def test_a_hold_stops_what_comes_next(
    world: World, operator: TestClient, owed: dict[str, Any], kind: str
) -> None:
    body = {"kind": kind, "reason": "he called"}
    if kind == "dispute":
        body["invoice_id"] = owed["invoice_id"]
    held = operator.post(f"/v1/accounts/{owed['account_id']}/dunning-holds", json=body)
    assert held.status_code == 201
    look(world)
    found = state(operator, owed["account_id"])
    assert (found["steps"], found["paused_by"]) == ([], kind)
    assert found["items"][0]["next"]["on"] is None
    assert operator.post(f"/v1/dunning-holds/{held.json()['pause_id']}/release").status_code == 200
    look(world)
    assert [step["step_id"] for step in state(operator, owed["account_id"])["steps"]] == ["slow"]


def test_terminating_ends_the_subscriptions_by_the_apis_own_command(
    world: World, operator: TestClient, owed: dict[str, Any]
) -> None:
    account_id = owed["account_id"]
    look(world)
    world.appended.clear()
    look(world, days=1)
    with reading(world.engine) as connection:
        subscription = tables.subscription.c
        rows = connection.execute(
            select(subscription.ends_at).where(subscription.account_id == account_id)
        ).all()
    assert rows
    assert all(row.ends_at == (NOW + DAY_MS) // 60_000 * 60_000 + 60_000 for row in rows)
    assert [one.topic for one in world.appended] == ["account.events"] * len(rows)
    assert state(operator, account_id)["steps"][0]["effect"] == f"{len(rows)} subscriptions ended"
    look(world, days=2)
    assert len(world.appended) == len(rows)


def test_another_branchs_dunning_does_not_exist(
    clients: Clients, operator: TestClient, owed: dict[str, Any]
) -> None:
    body = {"kind": "hold", "reason": "he called"}
    made = operator.post(f"/v1/accounts/{owed['account_id']}/dunning-holds", json=body).json()
    foreign = clients("pokhara")
    assert foreign.get("/v1/overdue").json()["items"] == []
    assert foreign.get("/v1/dunning-schedules").json()["items"] == []
    for path in ("/v1/branches/dhanmondi/terms", "/v1/branches/dhanmondi/holidays"):
        assert foreign.get(path).status_code == 404
    assert foreign.get(f"/v1/accounts/{owed['account_id']}/dunning").status_code == 404
    assert foreign.post(f"/v1/dunning-holds/{made['pause_id']}/release").status_code == 404


def test_holidays(operator: TestClient) -> None:
    for name in ("Victory", "Victory Day"):
        body = {"day_on": "2026-12-16", "name": name}
        assert operator.post("/v1/branches/dhanmondi/holidays", json=body).status_code == 201
    assert operator.get("/v1/branches/dhanmondi/holidays").json()["items"] == [
        {"day_on": "2026-12-16", "name": "Victory Day"}
    ]
