"""A key of a branch sees that branch only: lists, single resources, commands, usage, pages."""

from __future__ import annotations

import pytest

from tests.api.conftest import Clients
from tests.api.sample import World

LISTS = (
    "/v1/branches",
    "/v1/accounts",
    "/v1/plans",
    "/v1/subscribers",
    "/v1/pools",
    "/v1/subscriptions",
    "/v1/usage/counters",
    "/v1/sessions",
    "/v1/invoices",
    "/v1/alerts",
    "/v1/commands",
    "/v1/api-keys",
    "/v1/tv/channels",
    "/v1/tv/packages",
    "/v1/tv/models",
    "/v1/tv/devices",
    "/v1/tv/commands",
)
FOREIGN = (
    "/v1/branches/dhanmondi",
    "/v1/accounts/acc_0001",
    "/v1/plans/dhanmondi-home-100",
    "/v1/subscribers/sub_0001a",
    "/v1/pools/pool_0000",
    "/v1/subscriptions/scn_0001",
    "/v1/invoices/inv_acc_0001_2026-10",
    "/v1/invoices/inv_acc_0001_2026-10/pdf",
    "/v1/invoices/inv_acc_0001_2026-10/lines/2/evidence",
    "/v1/invoices/inv_acc_0001_2026-10/payments",
    "/v1/api-keys/key-dhanmondi",
    "/v1/balances/sub_0001a",
    "/v1/accounts/acc_0001/taxes",
    "/v1/accounts/acc_0001/statement",
    "/v1/accounts/acc_0001/statement/pdf",
    "/v1/usage/now?subscriber_id=sub_0001a",
    "/v1/usage/series?subscriber_id=sub_0001a",
    "/v1/usage/by-class?subscriber_id=sub_0001a",
    "/v1/subscribers/sub_0001a/flow-quality",
    "/v1/usage/counters?rating_key=sub_0001a",
    "/v1/alerts?subscriber_id=sub_0001a",
    "/v1/tv/devices/DHM-C1",
    "/v1/subscribers/sub_0001a/tv",
)


def everything(clients: Clients, branch: str | None, path: str) -> list[str]:
    """Return every row of a list as text, page by page."""
    client, rows, query = clients(branch), [], "?limit=7"
    for _ in range(200):
        answer = client.get(path + query).json()
        rows += [str(item) for item in answer["items"]]
        if answer["next_cursor"] is None:
            return rows
        query = f"?limit=7&cursor={answer['next_cursor']}"
    raise AssertionError(f"{path} never ends")


@pytest.mark.parametrize("path", LISTS)
def test_the_branches_lists_are_disjoint_and_make_the_whole(clients: Clients, path: str) -> None:
    ours = everything(clients, "pokhara", path)
    theirs = everything(clients, "dhanmondi", path)
    assert ours, "the sample must have something to hide"
    assert theirs, "the sample must have something to hide"
    assert set(ours).isdisjoint(theirs)
    assert sorted(ours + theirs) == sorted(everything(clients, None, path))
    assert len(set(ours)) == len(ours), "a page repeated a row"


@pytest.mark.parametrize("path", FOREIGN)
def test_what_belongs_to_another_branch_does_not_exist(clients: Clients, path: str) -> None:
    assert clients("dhanmondi").get(path).status_code == 200
    refused = clients("pokhara").get(path)
    assert refused.status_code == 404
    assert refused.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/subscribers/sub_0001a/commands", {"action": "restore"}),
        ("/v1/pools/pool_0042/members", {"subscriber_id": "sub_0001a"}),
        ("/v1/pools/pool_0000/members", {"subscriber_id": "sub_0043a"}),
        ("/v1/subscriptions/scn_0001/end", {}),
        ("/v1/subscriptions/scn_0043/change-plan", {"plan_id": "dhanmondi-home-100"}),
        (
            "/v1/invoices/inv_acc_0003_2026-10/payments",
            {"amount_minor": 100, "currency": "BDT"},
        ),
        ("/v1/invoices/inv_acc_0003_2026-10/release", {}),
        (
            "/v1/top-ups",
            {"rating_key": "sub_0001a", "amount_minor": 100, "currency": "NPR"},
        ),
        (
            "/v1/subscribers",
            {"account_id": "acc_0001", "user_name": "new", "name": "New"},
        ),
        ("/v1/tv/devices", {"model_id": "dhm-box", "serials": ["X"]}),
        ("/v1/tv/devices/DHM-B2/movements", {"action": "fault"}),
        ("/v1/tv/pairings/pair-dhanmondi/swap", {"box_serial": "PKR-B2", "reason": "faulty"}),
        ("/v1/tv/pairings/pair-dhanmondi/end", {"reason": "returned"}),
        ("/v1/tv/cards/DHM-C1/commands", {"operation": "refresh"}),
        (
            "/v1/subscribers/sub_0001a/tv/pairings",
            {"outlet": 2, "card_serial": "PKR-C2", "box_serial": "PKR-B2"},
        ),
        ("/v1/subscribers/sub_0001a/tv/packages", {"add": ["dhm-hbo"]}),
    ],
)
def test_commands_do_not_reach_over(
    world: World, clients: Clients, path: str, body: dict[str, object]
) -> None:
    assert clients("pokhara").post(path, json=body).status_code == 404
    assert world.appended == []


def test_an_account_cannot_be_made_in_another_branch(clients: Clients) -> None:
    body = {"branch_id": "dhanmondi", "name": "Smuggled"}
    assert clients("pokhara").post("/v1/accounts", json=body).status_code == 403


def test_usage_sums_over_the_branch(clients: Clients) -> None:
    sums = {}
    for branch in (None, "dhanmondi", "pokhara"):
        classes = clients(branch).get("/v1/usage/by-class").json()["classes"]
        sums[branch] = sum(one["octets_down"] for one in classes)
    assert sums["pokhara"] > 0
    assert sums[None] == pytest.approx(sums["dhanmondi"] + sums["pokhara"], abs=20)
    live = {b: clients(b).get("/v1/usage/now").json()["rate_down_bps"] for b in sums}
    assert live[None] == live["dhanmondi"] + live["pokhara"]


def test_what_has_no_branch_is_the_operators(clients: Clients) -> None:
    assert clients("pokhara").get("/v1/unattributed").status_code == 403
    assert clients(None).get("/v1/unattributed").json()["items"]
    body = {
        "branch_id": "b",
        "name": "B",
        "timezone": "UTC",
        "currency": "USD",
        "invoice_prefix": "B",
    }
    assert clients("pokhara").post("/v1/branches", json=body).status_code == 403
    assert clients(None).post("/v1/branches", json=body).status_code == 201
