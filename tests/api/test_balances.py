"""Buckets through the API: an event for rating and its money on the ledger, once."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from fastapi.testclient import TestClient

from billing.adapters.databases import writing
from billing.adapters.expiries import post_expiries
from billing.adapters.rows import write_rows
from billing.adapters.topups import reverse_refused_topups
from rating.rows import AccountEventResult, Balance, BalanceBucket
from tests.api.conftest import Clients
from tests.api.sample import NOW, World

KEY = "sub_0001a"
BOOST = {
    "rating_key": KEY,
    "reference": "b1",
    "unit": "octets",
    "amount": 5_000,
    "currency": "BDT",
    "price_minor": 9_900,
    "days": 7,
}
BONUS = {"rating_key": KEY, "reference": "m1", "unit": "money", "amount": 300, "currency": "BDT"}


def write(world: World, *rows: Any) -> None:
    with writing(world.engine) as connection:
        write_rows(connection, list(rows))


def sent(world: World) -> list[dict[str, Any]]:
    frames = [one.frame for one in world.appended if one.topic == "account.events"]
    return [row for frame in frames for row in frame.to_dicts()]


def books(client: TestClient) -> dict[str, int]:
    trial = client.get("/v1/ledger/trial-balance").json()
    assert trial["balanced"]
    sums: Counter[str] = Counter()
    for account in trial["accounts"]:
        sums[account["code"]] += account["amount"]["amount_minor"]
    return dict(sums)


def test_a_booster_is_one_event_and_its_price_is_revenue(
    world: World, operator: TestClient
) -> None:
    assert operator.post("/v1/balance-buckets", json=BOOST).status_code == 202
    write(world, AccountEventResult("bucket:dhanmondi:b1", "applied", "", NOW))
    again = operator.post("/v1/balance-buckets", json=BOOST)
    assert (again.status_code, again.json()["bucket_id"]) == (201, "b1")
    [event] = sent(world)
    assert event["kind"] == "bucket_granted"
    payload = json.loads(event["payload"])
    assert (payload["price_minor"], payload["unit"]) == (9_900, "octets")
    assert payload["valid_until_at"] == event["effective_at"] + 7 * 86_400_000
    assert books(operator) == {"prepaid": 9_900, "revenue_quota": -9_900}


def test_a_refused_booster_costs_nothing(world: World, operator: TestClient) -> None:
    operator.post("/v1/balance-buckets", json=BOOST)
    write(world, AccountEventResult("bucket:dhanmondi:b1", "refused", "balance too low", NOW))
    refused = operator.post("/v1/balance-buckets", json=BOOST)
    assert (refused.status_code, refused.json()["detail"]) == (409, "balance too low")
    assert [reverse_refused_topups(world.engine, 10, NOW) for _ in range(2)] == [1, 0]
    assert books(operator) == {"prepaid": 0, "revenue_quota": 0}


def test_bonus_money_that_ends_comes_back(world: World, operator: TestClient) -> None:
    operator.post("/v1/balance-buckets", json=BONUS)
    assert books(operator) == {"prepaid": -300, "adjustments": 300}
    ended = BalanceBucket(KEY, "m1", "money", "", 100, 300, 120, 0, 180, NOW, NOW + 1, True)
    write(world, Balance(KEY, "BDT", "0/1", 0, NOW), ended)
    assert [post_expiries(world.engine, 10, NOW + 2) for _ in range(2)] == [1, 0]
    assert books(operator) == {"prepaid": -120, "adjustments": 120}


def test_buckets_are_listed_for_their_branch(world: World, clients: Clients) -> None:
    row = BalanceBucket(KEY, "b1", "octets", "data", 5, 9, 2, 0, 0, NOW, None, False)
    write(world, row)
    [shown] = clients("dhanmondi").get(f"/v1/balances/{KEY}/buckets").json()["items"]
    assert (shown["amount"], shown["spent"], shown["valid_until_at"]) == (9, 2, None)
    assert clients("pokhara").get(f"/v1/balances/{KEY}/buckets").status_code == 404
    assert clients("pokhara").post("/v1/balance-buckets", json=BONUS).status_code == 404


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"currency": "USD"}, "the branch's currency"),
        ({"ends_with_period": True}, "no ends_with_period"),
        ({"renews": True}, "renews: only quota that ends with its period does"),
        ({"unit": "money"}, "price_minor: money is not sold"),
        ({"amount": 0}, "greater than 0"),
    ],
)
def test_a_bucket_that_makes_no_sense(
    operator: TestClient, changes: dict[str, Any], said: str
) -> None:
    refused = operator.post("/v1/balance-buckets", json={**BOOST, **changes})
    assert refused.status_code == 422
    assert said in refused.json()["detail"]
