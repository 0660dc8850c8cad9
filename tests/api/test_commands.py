"""Commands: business row, directory rows and account events, all in one transaction or none."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, select

from api.instants import MINUTE_MS
from api.tables import account_event_sent
from billing.adapters import tables
from billing.adapters.databases import reading, writing
from billing.config import SpeedProfileConfig
from rating.events import PlanChanged, SubscriptionStarted, decode_payload
from tests.api.conftest import Clients
from tests.api.sample import NOW, World

NEXT_MINUTE = NOW // MINUTE_MS * MINUTE_MS + MINUTE_MS
NEW = {"account_id": "acc_0001", "user_name": "newcomer", "name": "New Comer"}


def rows(world: World, table: Any, *conditions: Any) -> list[Any]:
    with reading(world.engine) as connection:
        return list(connection.execute(select(table).where(*conditions)))


def appended(world: World, topic: str) -> list[dict[str, Any]]:
    return [row for one in world.appended if one.topic == topic for row in one.frame.to_dicts()]


def answer_event(world: World, event_id: str, outcome: str, reason: str = "") -> None:
    row = {"event_id": event_id, "outcome": outcome, "reason": reason, "decided_at": NOW}
    with writing(world.engine) as connection:
        connection.execute(insert(tables.account_event_result).values(row))


def test_a_new_subscriber_is_in_the_directory_from_the_next_minute(
    world: World, operator: TestClient
) -> None:
    body = {**NEW, "static_prefixes": ["203.0.113.8/29"]}
    answer = operator.post("/v1/subscribers", json=body)
    assert answer.status_code == 201
    subscriber_id = answer.json()["subscriber_id"]
    assert answer.headers["location"] == f"/v1/subscribers/{subscriber_id}"
    facts = {(e["kind"], e["match"], e["target"]) for e in appended(world, "directory")}
    assert facts == {
        ("identity", "user_name:newcomer", subscriber_id),
        ("membership", subscriber_id, subscriber_id),
        ("static_prefix", "203.0.113.8/29", subscriber_id),
    }
    assert {e["valid_from_at"] for e in appended(world, "directory")} == {NEXT_MINUTE}
    entry = tables.directory_entry.c
    assert len(rows(world, tables.directory_entry, entry.target == subscriber_id)) == 3


@pytest.mark.parametrize(
    ("cycle", "day", "month", "expected"),
    [
        ("weekly", 5, 1, ("weekly", 5, 1)),
        ("quarterly", 31, 2, ("quarterly", 31, 2)),
        ("yearly", 29, 2, ("yearly", 29, 2)),
        ("daily", 1, 1, ("daily", 1, 1)),
        ("month", 12, 1, ("monthly", 12, 1)),
    ],
)
def test_an_accounts_cycle_makes_its_subscriptions_periods(
    world: World, operator: TestClient, cycle: str, day: int, month: int, expected: tuple[Any, ...]
) -> None:
    body = {"branch_id": "dhanmondi", "name": "Cycle", "cycle": cycle, "anchor_day": day}
    account = operator.post("/v1/accounts", json={**body, "anchor_month": month}).json()
    assert (account["cycle"], account["anchor_day"], account["anchor_month"]) == expected
    line = {**NEW, "account_id": account["account_id"], "plan_id": "dhanmondi-home-100"}
    assert operator.post("/v1/subscribers", json=line).status_code == 201
    [event] = appended(world, "account.events")
    calendar = decode_payload(event["kind"], event["payload"]).calendar  # type: ignore[union-attr]
    assert (calendar.cycle, calendar.anchor_day, calendar.anchor_month) == expected


def test_a_week_has_seven_days_to_begin_on(operator: TestClient) -> None:
    body = {"branch_id": "dhanmondi", "name": "Cycle", "cycle": "weekly", "anchor_day": 8}
    answer = operator.post("/v1/accounts", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "#/anchor_day"


def test_a_plan_at_creation_opens_its_period(world: World, operator: TestClient) -> None:
    body = {**NEW, "plan_id": "dhanmondi-home-100"}
    answer = operator.post("/v1/subscribers", json=body).json()
    assert answer["plan_name"] == "Home 100"
    [event] = appended(world, "account.events")
    assert (event["kind"], event["rating_key"]) == ("subscription_started", answer["rating_key"])
    payload = decode_payload(event["kind"], event["payload"])
    assert isinstance(payload, SubscriptionStarted)
    assert (payload.calendar.timezone, payload.calendar.cycle) == ("Asia/Dhaka", "monthly")
    assert payload.plan.meters[0].meter_id == "data"
    [status] = answer["events"]
    assert operator.get(status["status_url"]).json()["outcome"] == "pending"


def test_nothing_is_written_where_the_topic_refuses(world: World, operator: TestClient) -> None:
    def full(*_: Any) -> None:
        raise OSError("disk full")

    object.__setattr__(world.services, "append_rows", full)
    assert operator.post("/v1/subscribers", json=NEW).status_code == 500
    assert rows(world, tables.subscriber, tables.subscriber.c.user_name == "newcomer") == []
    assert world.counted.get("api_directory_entries_total") is None


def test_a_user_name_means_one_subscriber_in_all_branches(
    world: World, operator: TestClient
) -> None:
    taken = rows(world, tables.subscriber, tables.subscriber.c.branch_id == "pokhara")[0]
    answer = operator.post("/v1/subscribers", json={**NEW, "user_name": taken.user_name})
    assert answer.status_code == 409
    assert world.appended == []


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-11-21T10:15:00Z", "not in the past"),
        ("2026-11-21T10:20:30Z", "whole minute"),
        ("2026-11-21T10:20:00", "UTC offset"),
        ("tomorrow", "RFC 3339"),
        (1795256400000, "RFC 3339"),
    ],
)
def test_effective_times_are_whole_minutes_to_come(
    operator: TestClient, at: Any, expected: str
) -> None:
    answer = operator.post("/v1/subscribers", json={**NEW, "effective_at": at})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == "#/effective_at"
    assert expected in error["expected"]


def test_an_effective_time_may_be_local(world: World, operator: TestClient) -> None:
    body = {**NEW, "effective_at": "2026-11-21T16:20:00+06:00"}
    assert operator.post("/v1/subscribers", json=body).status_code == 201
    assert {e["valid_from_at"] for e in appended(world, "directory")} == {NEXT_MINUTE + 240_000}


def test_joining_a_pool_is_one_directory_change_and_two_events(
    world: World, operator: TestClient
) -> None:
    body = {"subscriber_id": "sub_0001a"}
    pool = operator.post("/v1/pools/pool_0000/members", json=body).json()
    assert "sub_0001a" in pool["members"]
    ended, begun = appended(world, "directory")
    assert (ended["target"], ended["valid_until_at"]) == ("sub_0001a", NEXT_MINUTE)
    assert ended["revision"] == 2
    assert (begun["target"], begun["valid_from_at"]) == ("pool_0000", NEXT_MINUTE)
    left, joined = appended(world, "account.events")
    assert (left["kind"], left["rating_key"]) == ("pool_left", "sub_0001a")
    assert (joined["kind"], joined["rating_key"]) == ("pool_joined", "pool_0000")
    assert left["effective_at"] == joined["effective_at"] == NEXT_MINUTE
    assert len({id(one) for one in world.appended if one.topic == "account.events"}) == 1
    assert operator.post("/v1/pools/pool_0000/members", json=body).status_code == 409


def test_leaving_a_pool_goes_back_to_the_own_key(world: World, operator: TestClient) -> None:
    path = "/v1/pools/pool_0000/members/sub_0000b/leave"
    at = {"effective_at": "2026-12-01T00:00:00+06:00"}
    answer = operator.post(path, json=at)
    assert answer.json()["members"] == ["sub_0000a", "sub_0000c"]
    assert [e["kind"] for e in appended(world, "account.events")] == ["pool_left", "pool_joined"]
    assert operator.get("/v1/subscribers/sub_0000b").json()["rating_key"] == "pool_0000"
    sooner = operator.post(path, json={})
    assert sooner.status_code == 409
    assert "scheduled" in sooner.json()["detail"]


def test_joining_and_leaving_within_one_minute_ends_where_it_began(
    world: World, operator: TestClient
) -> None:
    operator.post("/v1/pools/pool_0000/members", json={"subscriber_id": "sub_0001a"})
    answer = operator.post("/v1/pools/pool_0000/members/sub_0001a/leave", json={})
    assert answer.status_code == 200
    assert "sub_0001a" not in answer.json()["members"]
    entry = tables.directory_entry.c
    facts = rows(world, tables.directory_entry, entry.match == "sub_0001a")
    newest = {}
    for fact in sorted(facts, key=lambda f: f.revision):
        newest[fact.entry_id] = fact
    valid = [f for f in newest.values() if f.valid_until_at is None]
    assert [f.target for f in valid] == ["sub_0001a"]


def test_a_new_user_name_closes_the_old_identity(world: World, operator: TestClient) -> None:
    path = "/v1/subscribers/sub_0001a"
    assert operator.patch(path, json={"user_name": "kamal-new"}).json()["user_name"] == "kamal-new"
    closed, opened = appended(world, "directory")
    assert (closed["match"], closed["valid_until_at"]) == ("user_name:hossain01a", NEXT_MINUTE)
    assert (opened["match"], opened["target"]) == ("user_name:kamal-new", "sub_0001a")


@pytest.mark.parametrize(("status", "kind"), [("suspended", "suspended"), ("ended", "suspended")])
def test_a_status_reaches_rating(
    world: World, operator: TestClient, status: str, kind: str
) -> None:
    answer = operator.patch("/v1/subscribers/sub_0001a", json={"status": status})
    assert answer.json()["status"] == status
    assert [e["kind"] for e in appended(world, "account.events")] == [kind]
    assert bool(appended(world, "directory")) == (status == "ended")


def test_a_pool_members_status_is_its_own(world: World, operator: TestClient) -> None:
    """Rating would suspend the whole pool: the office acts on the member's row."""
    path = "/v1/subscribers/sub_0000b"
    later = {"status": "suspended", "effective_at": "2026-11-21T11:00:00Z"}
    refused = operator.patch(path, json=later)
    assert refused.status_code == 422
    assert "acts at once" in refused.json()["errors"][0]["expected"]
    assert operator.patch(path, json={"status": "suspended"}).json()["status"] == "suspended"
    assert appended(world, "account.events") == []
    others = ["sub_0000a", "sub_0000c"]
    states = [operator.get(f"/v1/subscribers/{one}").json()["status"] for one in others]
    assert states == ["active", "active"]


def test_a_suspended_subscriber_keeps_its_pool(world: World, operator: TestClient) -> None:
    leave = "/v1/pools/pool_0000/members/sub_0000b/leave"
    operator.patch("/v1/subscribers/sub_0000b", json={"status": "suspended"})
    refused = operator.post(leave, json={})
    assert refused.status_code == 409
    assert "set its status to active" in refused.json()["detail"]
    operator.patch("/v1/subscribers/sub_0001a", json={"status": "suspended"})
    join = operator.post("/v1/pools/pool_0000/members", json={"subscriber_id": "sub_0001a"})
    assert join.status_code == 409
    assert appended(world, "directory") == []
    operator.patch("/v1/subscribers/sub_0000b", json={"status": "active"})
    assert operator.post(leave, json={}).status_code == 200


def test_a_patch_that_changes_nothing_writes_nothing(world: World, operator: TestClient) -> None:
    body = {"status": "active", "name": "Kamal Hossain"}
    assert operator.patch("/v1/subscribers/sub_0001a", json=body).status_code == 200
    assert world.appended == []


def test_a_change_of_plan_goes_on_at_the_same_minute(world: World, operator: TestClient) -> None:
    path = "/v1/subscriptions/scn_0001/change-plan"
    body = {"plan_id": "dhanmondi-family-100"}
    new = operator.post(path, json=body).json()
    old = operator.get("/v1/subscriptions/scn_0001").json()
    assert old["ends_at"] == new["starts_at"] == "2026-11-21T10:16:00Z"
    [event] = appended(world, "account.events")
    assert isinstance(decode_payload(event["kind"], event["payload"]), PlanChanged)
    assert operator.post(path, json=body).status_code == 409


def test_a_rating_key_has_one_subscription_at_a_time(operator: TestClient) -> None:
    body = {"rating_key": "sub_0001a", "plan_id": "dhanmondi-home-100"}
    assert operator.post("/v1/subscriptions", json=body).status_code == 409
    end = {"effective_at": "2026-12-01T00:00:00+06:00"}
    assert operator.post("/v1/subscriptions/scn_0001/end", json=end).status_code == 200
    assert operator.post("/v1/subscriptions", json=body).status_code == 409
    later = {**body, "starts_at": "2026-12-01T00:00:00+06:00"}
    assert operator.post("/v1/subscriptions", json=later).status_code == 201


def test_a_plan_gets_versions_and_is_checked(operator: TestClient) -> None:
    document = {"currency": "BDT", "recurring_fee": "700", "meters": []}
    body = {"plan_id": "p", "branch_id": "dhanmondi", "name": "P", "document": document}
    versions = [operator.post("/v1/plans", json=body).json()["version"] for _ in range(2)]
    assert versions == [1, 2]
    wrong = {**body, "document": {**document, "recurring_fee": 700}}
    refused = operator.post("/v1/plans", json=wrong)
    assert refused.status_code == 422
    assert "recurring_fee" in refused.json()["errors"][0]["expected"]


TOP_UP = {"rating_key": "sub_0001a", "amount_minor": 50_000, "currency": "BDT", "reference": "r1"}


def test_a_top_up_waits_for_rating_then_says_where_to_ask(
    world: World, operator: TestClient
) -> None:
    answer = operator.post("/v1/top-ups", json=TOP_UP)
    assert answer.status_code == 202
    [event] = appended(world, "account.events")
    assert json.loads(event["payload"]) == {"amount_minor": 50_000, "currency": "BDT"}
    assert event["effective_at"] == NOW // MINUTE_MS * MINUTE_MS
    answer_event(world, event["event_id"], "applied")
    assert operator.get(answer.headers["location"]).json()["outcome"] == "applied"


def test_an_event_is_known_once_it_is_sent_and_to_its_branch_only(
    world: World, clients: Clients
) -> None:
    operator, ours, theirs = clients(None), clients("dhanmondi"), clients("pokhara")
    path = "/v1/account-events/topup:dhanmondi:r1"
    for client in (operator, ours, theirs):
        assert client.get(path).status_code == 404
    ours.post("/v1/top-ups", json=TOP_UP)
    assert [client.get(path).status_code for client in (operator, ours, theirs)] == [200, 200, 404]
    assert ours.get(path).json()["outcome"] == "pending"
    answer_event(world, "topup:dhanmondi:r1", "applied")
    assert ours.get(path).json()["outcome"] == "applied"
    assert theirs.get(path).status_code == 404


def test_a_command_that_fails_leaves_no_event_to_ask_for(
    world: World, operator: TestClient
) -> None:
    answer = operator.post("/v1/top-ups", json={**TOP_UP, "currency": "USD"})
    assert answer.status_code == 422
    assert rows(world, account_event_sent) == []


def test_a_receipt_counts_once(world: World, operator: TestClient) -> None:
    answer_event(world, "topup:dhanmondi:r1", "applied")
    assert operator.post("/v1/top-ups", json=TOP_UP).status_code == 201
    assert operator.post("/v1/top-ups", json=TOP_UP).status_code == 201
    assert len(appended(world, "account.events")) == 1
    trial = operator.get("/v1/ledger/trial-balance").json()
    assert trial["balanced"]
    assert {a["code"]: a["amount"]["amount_minor"] for a in trial["accounts"]} == {
        "cash": 50_000,
        "prepaid": -50_000,
    }
    other = operator.post("/v1/top-ups", json={**TOP_UP, "amount_minor": 1})
    assert other.status_code == 409


def test_a_refused_top_up_says_why(world: World, operator: TestClient) -> None:
    answer_event(world, "topup:dhanmondi:r1", "refused", "no prepaid plan")
    answer = operator.post("/v1/top-ups", json=TOP_UP)
    assert answer.status_code == 409
    assert answer.json()["detail"] == "no prepaid plan"


def test_a_top_up_is_in_the_branchs_currency(operator: TestClient) -> None:
    answer = operator.post("/v1/top-ups", json={**TOP_UP, "currency": "USD"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "#/currency"


def test_a_command_request_is_a_row_for_the_office(world: World, operator: TestClient) -> None:
    body = {"action": "throttle", "profile": "slow-2m"}
    answer = operator.post("/v1/subscribers/sub_0001a/commands", json=body)
    assert answer.status_code == 202
    [row] = rows(world, tables.command_request)
    assert (row.action, row.profile, row.requested_by) == ("throttle", "slow-2m", "Operator")
    assert operator.get(answer.headers["location"]).json()["items"]


@pytest.mark.parametrize(
    "body", [{"action": "throttle"}, {"action": "restore", "profile": "x"}, {"action": "fly"}]
)
def test_a_command_that_makes_no_sense(operator: TestClient, body: dict[str, str]) -> None:
    answer = operator.post("/v1/subscribers/sub_0001a/commands", json=body)
    assert answer.status_code == 422


def test_a_throttle_names_a_speed_that_there_is(world: World, operator: TestClient) -> None:
    profiles = (SpeedProfileConfig("full", 10**9, 10**9), SpeedProfileConfig("slow", 10**6, 10**6))
    object.__setattr__(world.services, "speed_profiles", profiles)
    listed = operator.get("/v1/speed-profiles").json()["items"]
    slow = {"name": "slow", "up_bps": 10**6, "down_bps": 10**6, "filter_name": ""}
    assert listed[1] == slow
    path = "/v1/subscribers/sub_0001a/commands"
    refused = operator.post(path, json={"action": "throttle", "profile": "warp"})
    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert (error["pointer"], error["value"]) == ("#/profile", "warp")
    assert "full, slow" in error["expected"]
    answer = operator.post(path, json={"action": "throttle", "profile": "slow"})
    assert answer.status_code == 202


def test_there_is_nobody_to_disconnect(operator: TestClient) -> None:
    answer = operator.post("/v1/subscribers/sub_0009a/commands", json={"action": "disconnect"})
    assert answer.status_code == 409


class TestIdempotency:
    """The same POST under the same key is done once."""

    KEY: ClassVar = {"Idempotency-Key": "k1"}

    def test_a_repeat_gets_the_first_answer(self, world: World, operator: TestClient) -> None:
        first = operator.post("/v1/subscribers", json=NEW, headers=self.KEY)
        second = operator.post("/v1/subscribers", json=NEW, headers=self.KEY)
        assert (first.status_code, second.status_code) == (201, 201)
        assert first.json() == second.json()
        assert "idempotency-replayed" not in first.headers
        assert second.headers["idempotency-replayed"] == "true"
        assert second.headers["location"] == first.headers["location"]
        assert len(appended(world, "directory")) == 2

    def test_without_a_key_a_repeat_is_another_request(self, operator: TestClient) -> None:
        operator.post("/v1/subscribers", json=NEW)
        assert operator.post("/v1/subscribers", json=NEW).status_code == 409

    def test_a_key_stands_for_one_body(self, operator: TestClient) -> None:
        operator.post("/v1/subscribers", json=NEW, headers=self.KEY)
        other = operator.post("/v1/subscribers", json={**NEW, "name": "X"}, headers=self.KEY)
        assert other.status_code == 422
        assert other.json()["type"].endswith("idempotency-key-reused")

    def test_a_key_belongs_to_who_sent_it(self, world: World, clients: Any) -> None:
        body = {"name": "Someone"}
        ours = clients("dhanmondi").post("/v1/accounts", json=body, headers=self.KEY)
        theirs = clients("pokhara").post("/v1/accounts", json=body, headers=self.KEY)
        assert (ours.status_code, theirs.status_code) == (201, 201)
        assert ours.json()["account_id"] != theirs.json()["account_id"]

    def test_a_refusal_is_not_kept(self, operator: TestClient) -> None:
        body = {**NEW, "plan_id": "next-year"}
        assert operator.post("/v1/subscribers", json=body, headers=self.KEY).status_code == 404
        plan = {
            "plan_id": "next-year",
            "branch_id": "dhanmondi",
            "name": "N",
            "document": {"currency": "BDT"},
        }
        assert operator.post("/v1/plans", json=plan).status_code == 201
        assert operator.post("/v1/subscribers", json=body, headers=self.KEY).status_code == 201

    def test_a_repeated_top_up_waits_again(self, world: World, operator: TestClient) -> None:
        first = operator.post("/v1/top-ups", json=TOP_UP, headers=self.KEY)
        answer_event(world, "topup:dhanmondi:r1", "applied")
        second = operator.post("/v1/top-ups", json=TOP_UP, headers=self.KEY)
        assert (first.status_code, second.status_code) == (202, 201)
        assert len(appended(world, "account.events")) == 1
