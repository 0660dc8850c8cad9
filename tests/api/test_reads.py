"""What the API answers: paging, search, usage, evidence, status."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, update

from billing.adapters import tables
from billing.adapters.databases import writing
from tests.api.sample import World
from tests.api.sample_usage import DAY, PREVIOUS_START


def items(client: TestClient, path: str, **query: Any) -> list[dict[str, Any]]:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def test_a_page_neither_repeats_nor_skips_where_rows_vanish(
    world: World, operator: TestClient
) -> None:
    first = operator.get("/v1/subscribers?limit=5").json()
    with writing(world.engine) as connection:
        gone = first["items"][1]["subscriber_id"]
        connection.execute(
            delete(tables.subscriber).where(tables.subscriber.c.subscriber_id == gone)
        )
    second = operator.get(f"/v1/subscribers?limit=5&cursor={first['next_cursor']}").json()
    assert second["items"][0]["subscriber_id"] > first["items"][-1]["subscriber_id"]
    whole = [s["subscriber_id"] for s in items(operator, "/v1/subscribers", limit=500)]
    wanted = whole.index(first["items"][-1]["subscriber_id"]) + 1
    assert second["items"][0]["subscriber_id"] == whole[wanted]


def test_descending_pages_are_ordered_and_whole(operator: TestClient) -> None:
    seen: list[tuple[str, str]] = []
    cursor = None
    while True:
        query = {"limit": 11} | ({"cursor": cursor} if cursor else {})
        answer = operator.get("/v1/invoices", params=query).json()
        seen += [(i["period_end_at"], i["invoice_id"]) for i in answer["items"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 48


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("KAMAL", True),
        ("hossain01a", True),
        ("sub_0001a", True),
        ("10.20.1.14", True),
        ("zz", False),
    ],
)
def test_search(operator: TestClient, words: str, found: bool) -> None:
    ids = {s["subscriber_id"] for s in items(operator, "/v1/subscribers", q=words)}
    assert ("sub_0001a" in ids) == found


def test_a_subscriber_tells_its_pool_plan_and_service(operator: TestClient) -> None:
    member = operator.get("/v1/subscribers/sub_0000b").json()
    assert (member["pool_id"], member["plan_name"]) == ("pool_0000", "Family 100")
    alone = operator.get("/v1/subscribers/sub_0001a").json()
    assert (alone["pool_id"], alone["service"]) == (None, "profile:slow-2m")


def test_counters_tell_how_full_they_are(operator: TestClient) -> None:
    [counter] = items(operator, "/v1/usage/counters", rating_key="sub_0001a")
    assert counter["used_permille"] == 1124
    assert counter["amount"] == {"amount_minor": 12400, "currency": "BDT", "text": "124.00"}


def test_a_series_in_each_step(operator: TestClient) -> None:
    for step, hours in (("minute", 1), ("hour", 24), ("day", 240)):
        query = {"step": step, "from_at": f"2026-11-{21 - hours // 24:02d}T09:15:00Z"}
        series = operator.get("/v1/usage/series", params=query).json()
        starts = [point["start_at"] for point in series["points"]]
        assert starts == sorted(starts)
        assert len(set(starts)) == len(starts) >= 10
    split = operator.get("/v1/usage/series?by_class=true").json()["points"]
    assert len({p["traffic_class"] for p in split}) == 5


def test_shares_of_classes_make_the_whole(operator: TestClient) -> None:
    classes = operator.get("/v1/usage/by-class").json()["classes"]
    assert 995 <= sum(one["share_permille"] for one in classes) <= 1000


def test_evidence_leads_down_to_the_minute(operator: TestClient) -> None:
    invoice = operator.get("/v1/invoices/inv_acc_0001_2026-10").json()
    urls = {line["kind"]: line["evidence_url"] for line in invoice["lines"]}
    assert urls["recurring"] is None
    assert urls["tax"] is None
    days = operator.get(urls["usage"]).json()
    assert [piece["key"] for piece in days["pieces"]][:2] == ["2026-10-01", "2026-10-02"]
    sessions = operator.get(days["pieces"][0]["next_url"]).json()
    assert sessions["level"] == "session"
    minutes = operator.get(sessions["pieces"][0]["next_url"]).json()
    assert minutes["level"] == "minute"
    rows = operator.get(minutes["pieces"][0]["next_url"]).json()
    assert (rows["level"], rows["pieces"]) == ("row", [])
    octets, counted = rows["rows"]
    assert (octets["log_partition"], octets["log_position"]) == (3, 81_204)
    assert octets["octets_up"] + octets["octets_down"] == counted["quantity"]
    first = minutes["pieces"][0]["first_at"]
    assert first == days["pieces"][0]["first_at"] == "2026-09-30T18:00:00Z"


def test_evidence_begins_with_the_price_in_steps(operator: TestClient) -> None:
    days = operator.get("/v1/invoices/inv_acc_0001_2026-10/lines/2/evidence").json()
    price = days["price"]
    assert [(step["text"], step["amount"]) for step in price["steps"]] == [
        ("152 GB used", None),
        ("100 GB included", None),
        ("52 GB × 10.00 per GB", "520.00"),
    ]
    assert price["rounded"]["amount_minor"] == 52_000
    assert (price["amount_exact"], price["billed_before"]) == ("520.00", None)
    posted = {piece["key"]: piece["amount"] for piece in days["pieces"] if piece["amount"]}
    assert {day: amount["amount_minor"] for day, amount in posted.items()} == {"2026-10-31": 52_000}


@pytest.mark.parametrize(
    "query",
    ["level=row", "level=row&minute=2026-11-02T00:00:00Z", "minute=2026-10-02T00:00:00", "level=x"],
)
def test_evidence_that_cannot_be_asked_for(operator: TestClient, query: str) -> None:
    path = f"/v1/invoices/inv_acc_0001_2026-10/lines/2/evidence?{query}"
    assert operator.get(path).status_code == 422


def test_evidence_outside_the_period(operator: TestClient) -> None:
    path = "/v1/invoices/inv_acc_0001_2026-10/lines/2/evidence?level=session&on=2026-11-02"
    assert operator.get(path).status_code == 422
    missing = "/v1/invoices/inv_acc_0001_2026-10/lines/9/evidence"
    assert operator.get(missing).status_code == 404
    flat = "/v1/invoices/inv_acc_0001_2026-10/lines/1/evidence"
    assert operator.get(flat).status_code == 404


def test_a_pdf(operator: TestClient) -> None:
    answer = operator.get("/v1/invoices/inv_acc_0001_2026-10/pdf")
    assert answer.headers["content-type"] == "application/pdf"
    assert 'filename="DHM-2026-000401.pdf"' in answer.headers["content-disposition"]
    assert answer.content.startswith(b"%PDF-")


def test_sessions_live_and_past(operator: TestClient) -> None:
    live = items(operator, "/v1/sessions", subscriber_id="sub_0001a", state="live")
    past = items(operator, "/v1/sessions", subscriber_id="sub_0001a", state="ended")
    assert (len(live), len(past)) == (1, 3)
    assert live[0]["ended_at"] is None
    whole = items(operator, "/v1/sessions", subscriber_id="sub_0001a")
    assert [s["started_at"] for s in whole] == sorted(
        (s["started_at"] for s in whole), reverse=True
    )


def test_status_tells_who_was_restarted(world: World, operator: TestClient) -> None:
    status = operator.get("/v1/status").json()
    engine = next(p for p in status["processes"] if p["name"] == "engine")
    assert engine["restarted_seconds_ago"] == 12
    assert engine["reason"] == "killed by SIGKILL"
    assert status["healthy"]
    object.__setattr__(world.services, "read_watermarks", lambda: {"rate": 0})
    assert not operator.get("/v1/status").json()["healthy"]
    object.__setattr__(world.services, "read_watermarks", dict)
    object.__setattr__(world.services, "read_processes", lambda: None)
    assert operator.get("/v1/status").json()["supervised"] is False


def test_commands_by_outcome(operator: TestClient) -> None:
    verified = items(operator, "/v1/commands", outcome="verified")
    assert verified
    assert all(command["verified_at"] for command in verified)
    assert items(operator, "/v1/commands", outcome="timeout")[0]["attempt"] == 3


def test_a_segments_evidence_stays_on_its_days(world: World, operator: TestClient) -> None:
    """October with a plan change on the 12th has two segments; the line bills the first."""
    ended_at = PREVIOUS_START + 11 * DAY
    subscription = tables.subscription
    with writing(world.engine) as connection:
        connection.execute(
            update(subscription)
            .where(subscription.c.rating_key == "sub_0001a")
            .values(ends_at=ended_at)
        )
    answer = operator.get("/v1/invoices/inv_acc_0001_2026-10/lines/2/evidence").json()
    days = [piece["key"] for piece in answer["pieces"]]
    assert (days[0], days[-2], days[-1]) == ("2026-10-01", "2026-10-11", "2026-10-31")
    assert answer["price"]["until_at"] == "2026-10-11T18:00:00Z"
    assert [step["text"] for step in answer["price"]["steps"]] == [
        "152 GB used",
        "as rating priced it",
    ]
