"""Products, services, charges and holds over the API, from the sale to the invoice."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from billing.adapters import charge_tables
from billing.adapters.databases import writing
from tests.api.conftest import Clients
from tests.api.sample import World

TV = {
    "product_id": "tv-basic",
    "branch_id": "dhanmondi",
    "name": "TV Basic",
    "kind": "tv",
    "currency": "BDT",
    "price": "300.00",
    "charging": "advance",
    "tax_percent": "5",
}
BOX = {**TV, "product_id": "box", "name": "Set-top box", "kind": "equipment", "charging": "one_off"}
CHARGE = {
    "kind": "installation",
    "description": "Fibre installation",
    "amount_minor": 250000,
    "currency": "BDT",
}


@pytest.fixture
def shop(operator: TestClient) -> TestClient:
    for product in (TV, BOX):
        assert operator.post("/v1/products", json=product).status_code == 201
    return operator


def sell(client: TestClient, product_id: str = "tv-basic", **more: Any) -> dict[str, Any]:
    answer = client.post(
        "/v1/services", json={"account_id": "acc_0001", "product_id": product_id, **more}
    )
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_new_price_is_a_new_version_and_what_is_sold_keeps_its_own(shop: TestClient) -> None:
    sold = sell(shop)
    again = shop.post("/v1/products", json={**TV, "price": "350.00"}).json()
    assert again["version"] == 2
    assert shop.get("/v1/products/tv-basic").json()["price"] == "350.00"
    assert shop.get("/v1/products/tv-basic?version=1").json()["price"] == "300.00"
    assert shop.get(f"/v1/services/{sold['service_id']}").json()["product_version"] == 1
    assert sell(shop)["product_version"] == 2
    assert len(shop.get("/v1/products").json()["items"]) == 3


def test_a_single_sale_is_a_charge_at_once_and_once(shop: TestClient) -> None:
    headers = {"Idempotency-Key": "k1"}
    body = {"account_id": "acc_0001", "product_id": "box", "quantity": 2}
    first = shop.post("/v1/services", json=body, headers=headers)
    assert shop.post("/v1/services", json=body, headers=headers).json() == first.json()
    [charge] = shop.get("/v1/charges?account_id=acc_0001&waiting=true").json()["items"]
    assert (charge["description"], charge["amount"]["amount_minor"], charge["quantity"]) == (
        "Set-top box",
        60000,
        2,
    )
    assert charge["due_at"] == first.json()["starts_at"] == first.json()["ends_at"]


def test_a_service_changes_and_ends(shop: TestClient) -> None:
    sold = sell(shop, starts_at="2026-12-01T00:00:00+06:00")
    path = f"/v1/services/{sold['service_id']}"
    same = shop.post(f"{path}/change", json={"quantity": 1})
    assert same.status_code == 409
    early = shop.post(f"{path}/end", json={"effective_at": "2026-11-25T00:00:00+06:00"})
    assert early.status_code == 409
    later = {"quantity": 3, "effective_at": "2026-12-11T00:00:00+06:00"}
    changed = shop.post(f"{path}/change", json=later).json()
    assert (changed["quantity"], changed["starts_at"]) == (3, "2026-12-10T18:00:00Z")
    assert shop.get(path).json()["ends_at"] == changed["starts_at"]
    assert shop.post(f"{path}/end", json={}).status_code == 409
    assert shop.post(f"{path}/change", json={"product_id": "box"}).status_code == 409
    running = f"/v1/services/{changed['service_id']}"
    assert shop.post(f"{running}/change", json={"product_id": "box"}).status_code == 422
    ended = shop.post(f"{running}/end", json={"effective_at": "2027-01-01T00:00:00+06:00"})
    assert ended.json()["ends_at"] == "2026-12-31T18:00:00Z"
    listed = shop.get("/v1/services?account_id=acc_0001").json()["items"]
    assert {item["service_id"] for item in listed} == {sold["service_id"], changed["service_id"]}


def test_a_charge_by_a_clerk_is_one_by_its_reference(operator: TestClient, world: World) -> None:
    path = "/v1/accounts/acc_0001/charges"
    first = operator.post(path, json={**CHARGE, "reference": "slip-7"})
    assert first.status_code == 201
    assert operator.post(path, json={**CHARGE, "reference": "slip-7"}).json() == first.json()
    other = {**CHARGE, "reference": "slip-7", "amount_minor": 1}
    assert operator.post(path, json=other).status_code == 409
    credit = operator.post(path, json={**CHARGE, "amount_minor": -5000}).json()
    assert len(operator.get("/v1/charges?account_id=acc_0001").json()["items"]) == 2
    withdrawn = operator.post(f"/v1/charges/{credit['charge_id']}/withdraw")
    assert withdrawn.json()["charge_id"] == credit["charge_id"]
    assert operator.post(f"/v1/charges/{credit['charge_id']}/withdraw").status_code == 404
    table = charge_tables.charge
    with writing(world.engine) as connection:
        connection.execute(update(table).values(invoice_id="inv_acc_0001_2026-10"))
    charge_id = first.json()["charge_id"]
    assert operator.post(f"/v1/charges/{charge_id}/withdraw").status_code == 409
    assert operator.get("/v1/charges?waiting=true").json()["items"] == []
    assert len(operator.get("/v1/charges?waiting=false").json()["items"]) == 1


DECEMBER = {"starts_at": "2026-12-01T00:00:00+06:00", "ends_at": "2027-01-01T00:00:00+06:00"}


def test_a_hold_within_the_limits(shop: TestClient) -> None:
    path = "/v1/accounts/acc_0001/holds"
    held = shop.post(path, json=DECEMBER)
    assert held.status_code == 201
    assert (held.json()["fee_percent"], held.json()["target_id"]) == ("0", "")
    twice = shop.post(path, json=DECEMBER)
    assert twice.status_code == 422
    assert twice.json()["errors"][0]["pointer"] == "#/ends_at"
    short = {**DECEMBER, "ends_at": "2026-12-03T00:00:00+06:00"}
    assert "at least 7 days" in shop.post(path, json=short).json()["detail"]
    assert shop.post(path, json={**DECEMBER, "target_id": "nothing"}).status_code == 404
    ended = {"effective_at": "2026-12-11T00:00:00+06:00"}
    hold_id = held.json()["hold_id"]
    assert shop.post(f"/v1/holds/{hold_id}/end", json=ended).status_code == 200
    [listed] = shop.get("/v1/holds?account_id=acc_0001").json()["items"]
    assert listed["ends_at"] == "2026-12-10T18:00:00Z"
    assert shop.post(f"/v1/holds/{hold_id}/end", json=ended).status_code == 409


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/products", {**TV, "price": "-3"}, "#/price"),
        ("/v1/products", {**TV, "currency": "XXX"}, "#/currency"),
        ("/v1/products", {**TV, "tax_percent": "101"}, "#/tax_percent"),
        ("/v1/products", {**BOX, "cycle": "monthly"}, "#/cycle"),
        ("/v1/accounts/acc_0001/charges", {**CHARGE, "currency": "XXX"}, "#/currency"),
        ("/v1/accounts/acc_0001/charges", {**CHARGE, "kind": "Two words"}, "#/kind"),
        (
            "/v1/services",
            {"account_id": "acc_0001", "product_id": "box", "subscriber_id": "sub_0002a"},
            "#/subscriber_id",
        ),
        (
            "/v1/services",
            {"account_id": "acc_0001", "product_id": "box", "starts_at": "2026-11-01T00:00:00Z"},
            "#/starts_at",
        ),
    ],
)
def test_bad_input_is_named(
    shop: TestClient, path: str, body: dict[str, Any], pointer: str
) -> None:
    answer = shop.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_another_branch_sees_none_of_it(shop: TestClient, clients: Clients) -> None:
    sold = sell(shop)
    charge = shop.post("/v1/accounts/acc_0001/charges", json=CHARGE).json()
    hold = shop.post("/v1/accounts/acc_0001/holds", json=DECEMBER).json()
    other = clients("pokhara")
    for path in ("products", "services", "charges", "holds"):
        assert other.get(f"/v1/{path}").json()["items"] == []
        assert shop.get(f"/v1/{path}").json()["items"]
    for path, body in (
        (f"/v1/services/{sold['service_id']}/end", {}),
        (f"/v1/charges/{charge['charge_id']}/withdraw", {}),
        (f"/v1/holds/{hold['hold_id']}/end", {}),
        ("/v1/accounts/acc_0001/charges", CHARGE),
        ("/v1/accounts/acc_0001/holds", DECEMBER),
        ("/v1/services", {"account_id": "acc_0001", "product_id": "box"}),
    ):
        assert other.post(path, json=body).status_code == 404, path
    assert other.get("/v1/products/tv-basic").status_code == 404
    assert other.get(f"/v1/services/{sold['service_id']}").status_code == 404
