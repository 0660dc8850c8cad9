"""Vouchers: codes shown once, worth money once, and nobody guesses them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from billing.adapters import ledger
from billing.adapters.databases import reading, writing
from billing.adapters.rows import write_rows
from billing.adapters.topups import reverse_refused_topups
from billing.adapters.voucher_tables import voucher
from billing.vouchers import code_of
from rating.rows import AccountEventResult
from tests.api.conftest import Clients
from tests.api.sample import NOW, World

BATCH = {
    "name": "Cards",
    "branch_id": "dhanmondi",
    "amount_minor": 50_000,
    "currency": "BDT",
    "quantity": 3,
}
KEY = "sub_0001a"
OTHER = "sub_0002a"
UNKNOWN = code_of(b"no such one")


def make(client: TestClient, **changes: Any) -> tuple[str, list[str]]:
    answer = client.post("/v1/voucher-batches", json={**BATCH, **changes})
    assert answer.status_code == 201, answer.text
    body = answer.json()
    return body["batch_id"], body["codes"]


def redeem(client: TestClient, code: str, key: str = KEY) -> Any:
    return client.post("/v1/vouchers/redeem", json={"rating_key": key, "code": code})


def answered(world: World, event_id: str, outcome: str, reason: str = "") -> None:
    with writing(world.engine) as connection:
        write_rows(connection, [AccountEventResult(event_id, outcome, reason, NOW)])


def sent(world: World) -> list[dict[str, Any]]:
    return [
        row
        for one in world.appended
        if one.topic == "account.events"
        for row in one.frame.to_dicts()
    ]


def books(client: TestClient) -> dict[str, int]:
    trial = client.get("/v1/ledger/trial-balance").json()
    assert trial["balanced"]
    sums: Counter[str] = Counter()
    for account in trial["accounts"]:
        sums[account["code"]] += account["amount"]["amount_minor"]
    return dict(sums)


def states(client: TestClient, batch_id: str) -> list[str]:
    path = f"/v1/voucher-batches/{batch_id}/vouchers"
    return [one["state"] for one in client.get(path).json()["items"]]


def test_codes_are_shown_once_and_only_their_hashes_are_kept(
    world: World, operator: TestClient
) -> None:
    headers = {"Idempotency-Key": "batch-1"}
    first = operator.post("/v1/voucher-batches", json=BATCH, headers=headers)
    codes = first.json()["codes"]
    assert len(set(codes)) == 3
    again = operator.post("/v1/voucher-batches", json=BATCH, headers=headers)
    assert (again.status_code, again.json()["codes"]) == (201, None)
    assert again.json()["batch_id"] == first.json()["batch_id"]
    [batch] = operator.get("/v1/voucher-batches").json()["items"]
    assert (batch["quantity"], batch["redeemed"]) == (3, 0)
    with reading(world.engine) as connection:
        stored = " ".join(str(row) for row in connection.execute(select(voucher)))
    assert not any(code.replace("-", "") in stored for code in codes)


def test_a_code_becomes_a_top_up_once(world: World, operator: TestClient) -> None:
    batch_id, codes = make(operator)
    assert redeem(operator, codes[1].lower()).status_code == 202
    [event] = sent(world)
    assert event["event_id"] == f"voucher:{batch_id}:2:1"
    assert json.loads(event["payload"]) == {"amount_minor": 50_000, "currency": "BDT"}
    answered(world, event["event_id"], "applied")
    again = redeem(operator, codes[1])
    assert (again.status_code, again.json()["serial"]) == (201, 2), "the same: what was done"
    other = redeem(operator, codes[1], OTHER)
    assert (other.status_code, other.json()["detail"]) == (409, "The voucher was redeemed before.")
    assert len(sent(world)) == 1
    assert states(operator, batch_id) == ["valid", "redeemed", "valid"]
    assert operator.get(f"/v1/voucher-batches/{batch_id}").json()["redeemed"] == 1
    assert books(operator) == {"vouchers": 50_000, "prepaid": -50_000}


def test_of_two_at_the_same_moment_one_wins(world: World, clients: Clients) -> None:
    client = clients(None)
    _, codes = make(client, quantity=5)
    for code in codes:
        barrier = threading.Barrier(2)
        answers: list[int] = []

        def race(key: str, code: str = code, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            answers.append(redeem(client, code, key).status_code)  # noqa: B023 (joined below)

        threads = [threading.Thread(target=race, args=(key,)) for key in (KEY, OTHER)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [202, 409]
    assert len(sent(world)) == 5
    assert books(client) == {"vouchers": 250_000, "prepaid": -250_000}


def test_a_refused_redemption_gives_the_code_its_worth_back(
    world: World, operator: TestClient
) -> None:
    batch_id, codes = make(operator)
    redeem(operator, codes[0])
    answered(world, f"voucher:{batch_id}:1:1", "refused", "the plan is postpaid")
    assert reverse_refused_topups(world.engine, 10, NOW) == 1
    assert books(operator) == {"vouchers": 0, "prepaid": 0}
    assert states(operator, batch_id)[0] == "valid"
    assert operator.get(f"/v1/voucher-batches/{batch_id}").json()["redeemed"] == 0
    assert redeem(operator, codes[0], OTHER).status_code == 202
    assert [event["event_id"] for event in sent(world)] == [
        f"voucher:{batch_id}:1:1",
        f"voucher:{batch_id}:1:2",
    ]
    assert reverse_refused_topups(world.engine, 10, NOW) == 0
    with reading(world.engine) as connection:
        assert ledger.broken_link(connection, "dhanmondi") is None


def test_wrong_codes_are_counted_and_then_no_code_is_looked_up(operator: TestClient) -> None:
    _, codes = make(operator)
    assert [redeem(operator, UNKNOWN).status_code for _ in range(11)] == [404] * 10 + [429]
    refused = redeem(operator, codes[0])
    assert refused.status_code == 429
    assert "2026-11-21T11:00:00Z" in refused.json()["detail"]
    assert redeem(operator, codes[0], OTHER).status_code == 202, "others go on"


def test_a_typing_error_is_no_attempt(operator: TestClient) -> None:
    _, codes = make(operator)
    wrong = codes[0][:-1] + ("0" if codes[0][-1] != "0" else "2")
    for _ in range(12):
        refused = redeem(operator, wrong)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == "#/code"
    assert redeem(operator, codes[0]).status_code == 202


def test_void_vouchers_and_batches_are_worth_nothing(operator: TestClient) -> None:
    batch_id, codes = make(operator)
    path = f"/v1/voucher-batches/{batch_id}"
    redeem(operator, codes[0])
    assert operator.post(f"{path}/vouchers/1/void").status_code == 409
    assert operator.post(f"{path}/vouchers/2/void").status_code == 200
    assert operator.post(f"{path}/vouchers/4/void").status_code == 404
    assert redeem(operator, codes[1]).json()["detail"] == "The voucher is void."
    assert states(operator, batch_id) == ["redeemed", "void", "valid"]
    assert operator.post(f"{path}/void").json()["voided_at"] == "2026-11-21T10:15:07Z"
    assert redeem(operator, codes[2]).status_code == 409
    assert states(operator, batch_id) == ["redeemed", "void", "void"]


def test_a_batch_is_sold_once(operator: TestClient) -> None:
    batch_id, _ = make(operator)
    path = f"/v1/voucher-batches/{batch_id}/sell"
    assert operator.post(path, json={"paid_minor": 150_001}).status_code == 422
    assert operator.post(path, json={"paid_minor": 140_000}).json()["sold_at"]
    assert operator.post(path, json={"paid_minor": 140_000}).status_code == 409
    assert books(operator) == {"cash": 140_000, "adjustments": 10_000, "vouchers": -150_000}


def test_vouchers_of_a_branch_are_its_own(clients: Clients) -> None:
    ours, theirs = clients("dhanmondi"), clients("pokhara")
    batch_id, codes = make(ours)
    assert theirs.get(f"/v1/voucher-batches/{batch_id}").status_code == 404
    assert theirs.post(f"/v1/voucher-batches/{batch_id}/void").status_code == 404
    assert theirs.get("/v1/voucher-batches").json()["items"] == []
    assert redeem(theirs, codes[0]).status_code == 404
    [other] = theirs.get("/v1/subscribers?limit=1").json()["items"]
    assert redeem(theirs, codes[0], other["subscriber_id"]).status_code == 404
    assert redeem(ours, codes[0]).status_code == 202


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"currency": "USD"}, "#/currency"),
        ({"quantity": 10_001}, "#/quantity"),
        ({"quantity": 0}, "#/quantity"),
        ({"amount_minor": 0}, "#/amount_minor"),
        ({"expires_at": "2026-11-21T10:15:07Z"}, "#/expires_at"),
    ],
)
def test_a_batch_that_makes_no_sense(
    operator: TestClient, changes: dict[str, Any], pointer: str
) -> None:
    answer = operator.post("/v1/voucher-batches", json={**BATCH, **changes})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
