"""Discounts over the API: offered, redeemed so often as allowed, granted once."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.conftest import Clients

COUPON = {
    "discount_id": "eid",
    "branch_id": "dhanmondi",
    "name": "Eid offer",
    "who": "coupon",
    "percent": "20",
    "code": "EID26",
    "uses_max": 2,
}
FRIENDS = {"discount_id": "friends", "branch_id": "dhanmondi", "name": "Friends", "percent": "5"}


def redeem(client: TestClient, account: str, code: str = "eid26") -> int:
    answer = client.post(f"/v1/accounts/{account}/discounts", json={"code": code})
    return int(answer.status_code)


def test_a_coupon_is_redeemed_once_an_account_and_so_often_in_all(operator: TestClient) -> None:
    assert operator.post("/v1/discounts", json=COUPON).status_code == 201
    assert redeem(operator, "acc_0001") == 201
    assert redeem(operator, "acc_0001") == 409
    assert redeem(operator, "acc_0003") == 201
    assert redeem(operator, "acc_0005") == 409
    assert redeem(operator, "acc_0001", "nothing") == 404
    [grant] = operator.get("/v1/discount-grants?account_id=acc_0001").json()["items"]
    assert (grant["discount_id"], grant["reason"]) == ("eid", "coupon")


def test_of_many_at_once_no_more_redeem_than_may(operator: TestClient) -> None:
    operator.post("/v1/discounts", json=COUPON)
    answers: list[int] = []
    accounts = ("acc_0001", "acc_0003", "acc_0005", "acc_0007", "acc_0009")
    threads = [
        threading.Thread(target=lambda a=a: answers.append(redeem(operator, a))) for a in accounts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, 201, 409, 409, 409]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"ends_at": "2026-11-01T00:00:00Z"}, 409),
        ({"starts_at": "2026-12-01T00:00:00Z"}, 409),
        ({"segment": "company"}, 409),
        ({"segment": "person"}, 201),
    ],
)
def test_a_coupon_has_dates_and_a_segment(
    operator: TestClient, change: dict[str, Any], status: int
) -> None:
    assert operator.post("/v1/discounts", json={**COUPON, **change}).status_code == 201
    assert redeem(operator, "acc_0001") == status


def test_a_referral_rewards_both_once(operator: TestClient) -> None:
    assert operator.post("/v1/discounts", json=FRIENDS).status_code == 201
    path = "/v1/accounts/acc_0001/discounts"
    body = {"discount_id": "friends", "referred_account_id": "acc_0003"}
    assert operator.post(path, json=body).json()["reason"] == "referral of acc_0003"
    assert operator.post(path, json=body).status_code == 409
    grants = operator.get("/v1/discount-grants").json()["items"]
    assert sorted((g["account_id"], g["reason"]) for g in grants) == [
        ("acc_0001", "referral of acc_0003"),
        ("acc_0003", "referred"),
    ]
    own = {**body, "referred_account_id": "acc_0001"}
    assert operator.post(path, json=own).status_code == 422
    assert operator.post(path, json={"discount_id": "friends"}).json()["reason"] == "clerk"
    assert operator.post(path, json={}).status_code == 422


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"percent": ""}, "#/percent"),
        ({"amount_minor": 5}, "#/percent"),
        ({"is_bundle": True}, "#/applies_to"),
        ({"who": "everyone"}, "#/code"),
    ],
)
def test_a_wrong_discount_is_named(
    operator: TestClient, change: dict[str, Any], pointer: str
) -> None:
    answer = operator.post("/v1/discounts", json={**COUPON, **change})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer


def test_ids_codes_and_branches(operator: TestClient, clients: Clients) -> None:
    assert operator.post("/v1/discounts", json=COUPON).status_code == 201
    assert operator.post("/v1/discounts", json=COUPON).status_code == 409
    same_code = {**COUPON, "discount_id": "other", "code": "eid26"}
    assert operator.post("/v1/discounts", json=same_code).status_code == 409
    granted = operator.post("/v1/accounts/acc_0001/discounts", json={"discount_id": "eid"})
    assert granted.status_code == 409
    other = clients("pokhara")
    assert other.get("/v1/discounts").json()["items"] == []
    assert redeem(other, "acc_0001") == 404
    assert len(operator.get("/v1/discounts").json()["items"]) == 1
