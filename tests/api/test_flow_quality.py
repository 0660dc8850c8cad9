"""How sure a subscriber's flow usage is: where a clerk, a page and an invoice line say so."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from api.ports import FlowQuality, UsageFilter, WarehouseUnavailableError
from api.reads.usage import quality_of
from api.warehouse_usage import WarehouseUsage
from billing.adapters import tables
from billing.adapters.databases import writing
from tests.api.conftest import Clients
from tests.api.sample import OPERATOR_TOKEN, World
from tests.api.test_warehouse_usage import Client

LINE = "/v1/invoices/inv_acc_0001_2026-10/lines/2/evidence"
PATH = "/v1/subscribers/sub_0001a/flow-quality"
COLUMNS = (
    "at", "octets", "octets_exported", "octets_rate_unknown", "octets_missing",
    "octets_unnumbered",
)  # fmt: skip


def measure_by_flows(world: World) -> None:
    """Let every plan be measured by flows."""
    plan = tables.plan
    with writing(world.engine) as connection:
        for row in connection.execute(select(plan)).all():
            document = json.dumps({**json.loads(row.document), "measured_by": "flows"})
            which = (plan.c.plan_id == row.plan_id) & (plan.c.version == row.version)
            connection.execute(update(plan).where(which).values(document=document))


@pytest.fixture
def visitor(clients: Clients) -> TestClient:
    client = clients("")
    client.post("/login", data={"key": OPERATOR_TOKEN})
    return client


def test_a_subscribers_hours_tell_what_may_be_missing(operator: TestClient) -> None:
    query = {"from_at": "2026-11-21T02:00:00Z"}
    found = operator.get(PATH, params=query).json()
    assert found["step"] == "hour"
    assert len(found["steps"]) >= 7
    for step in found["steps"]:
        assert step["missing_permille"] == 4, "1 in 200, rounded down"
        assert step["octets_exported"] == step["octets"] // 100
        assert step["octets_missing"] == step["octets"] // 199


def test_a_subscriber_of_another_branch_is_not_found(clients: Clients) -> None:
    assert clients("pokhara").get(PATH).status_code == 404
    assert clients("dhanmondi").get(PATH).status_code == 200
    assert clients(None).get("/v1/subscribers/nobody/flow-quality").status_code == 404


def test_the_share_is_of_what_came_and_what_did_not() -> None:
    assert quality_of(FlowQuality(0, 90, 90, 0, 10, 0)).missing_permille == 100
    assert quality_of(FlowQuality(0, 0, 0, 0, 0, 0)).missing_permille == 0


@pytest.mark.parametrize(("step", "zone"), [("hour", None), ("day", "Asia/Dhaka"), ("range", None)])
def test_the_warehouse_is_asked_for_subscribers_or_keys(step: str, zone: str | None) -> None:
    client = Client(COLUMNS, (3_600_000, 5, 4, 3, 2, 1))
    usage = WarehouseUsage(lambda: client)
    [found] = usage.flow_quality(UsageFilter(0, 90_000, ["s1"]), step, "Asia/Dhaka")
    assert found == FlowQuality(3_600_000, 5, 4, 3, 2, 1)
    assert client.asked[0][1].get("time_zone") == zone
    usage.flow_quality(UsageFilter(0, 90_000, rating_keys=["k"]), step, "UTC")
    assert client.asked[1][1]["rating_keys"] == ["k"]


def test_a_line_that_accounting_measured_says_nothing_of_flows(
    operator: TestClient, visitor: TestClient
) -> None:
    assert operator.get(LINE).json()["flow_quality"] is None
    assert 'id="flow-quality"' not in visitor.get(LINE.removeprefix("/v1")).text.replace("'", '"')


def test_a_line_that_flows_measured_tells_how_sure_it_is(
    world: World, operator: TestClient, visitor: TestClient
) -> None:
    measure_by_flows(world)
    quality = operator.get(LINE).json()["flow_quality"]
    assert quality["octets"] > quality["octets_missing"] > 0
    page = visitor.get("/invoices/inv_acc_0001_2026-10/lines/2").text
    assert "Measured by flows" in page
    assert "more, which is not billed" in page


def test_a_subscribers_page_shows_the_hours(visitor: TestClient) -> None:
    page = visitor.get("/subscribers/sub_0001a").text
    assert "Flows, hour by hour" in page
    assert "never billed" in page


def test_the_page_is_there_without_the_warehouse(
    world: World, visitor: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> list[FlowQuality]:
        raise WarehouseUnavailableError("away")

    monkeypatch.setattr(type(world.services.usage), "flow_quality", fail)
    answer = visitor.get("/subscribers/sub_0001a")
    assert answer.status_code == 200
    assert "Flows, hour by hour" not in answer.text
