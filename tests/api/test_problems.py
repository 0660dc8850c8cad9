"""Every error is a problem document (RFC 9457) that says what was wrong and what was expected."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from api.keys import revoke_key
from api.metrics import METRICS
from api.ports import UsageFilter, WarehouseUnavailableError
from api.problems import TYPES
from billing.adapters.databases import writing
from tests.api.conftest import Clients
from tests.api.sample import NOW, World


def problem(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"].startswith("urn:flowrate:problem:")
    assert {"title", "detail", "instance"} <= set(document)
    return document


def test_no_key(clients: Clients) -> None:
    answer = clients("").get("/v1/subscribers")
    problem(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("token", ["frk_wrong", "x" * 5000, "ключ"])
def test_an_unknown_key(clients: Clients, token: str) -> None:
    problem(clients("").get("/v1/subscribers", headers={"X-API-Key": token.encode()}), 401)


def test_a_revoked_key(world: World, clients: Clients) -> None:
    client = clients("pokhara")
    assert client.get("/v1/subscribers").status_code == 200
    with writing(world.engine) as connection:
        revoke_key(connection, "key-pokhara", revoked_at=NOW)
    problem(client.get("/v1/subscribers"), 401)


def test_either_header_carries_the_key(world: World, clients: Clients) -> None:
    headers = {"X-API-Key": world.keys["pokhara"]}
    assert clients("").get("/v1/branches", headers=headers).status_code == 200


def test_an_unknown_address_and_method(operator: TestClient) -> None:
    problem(operator.get("/v1/nothing"), 404)
    problem(operator.delete("/v1/subscribers"), 405)


@pytest.mark.parametrize(
    ("body", "pointer", "value"),
    [
        ({"account_id": "acc_0001", "name": "N"}, "#/user_name", None),
        ({"account_id": "acc_0001", "name": "", "user_name": "u"}, "#/name", ""),
        ({"account_id": "acc_0001", "name": "N", "user_name": "a b"}, "#/user_name", "a b"),
        ({"account_id": "acc_0001", "name": "N", "user_name": "u", "x": 1}, "#/x", 1),
        (
            {"account_id": "a", "name": "N", "user_name": "u", "static_prefixes": ["1.2.3.4/8"]},
            "#/static_prefixes",
            ["1.2.3.4/8"],
        ),
    ],
)
def test_a_wrong_member_is_named(
    operator: TestClient, body: dict[str, Any], pointer: str, value: Any
) -> None:
    document = problem(operator.post("/v1/subscribers", json=body), 422)
    [error] = document["errors"]
    assert (error["pointer"], error["value"]) == (pointer, value)
    assert error["expected"]


def test_a_body_that_is_no_json(operator: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    document = problem(operator.post("/v1/subscribers", content=b"{", headers=headers), 422)
    assert document["errors"][0]["expected"] == "a JSON document"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("cursor=nonsense", "cursor"),
        ("cursor=WzFd", "cursor"),
        ("status=asleep", "status"),
    ],
)
def test_a_wrong_parameter_is_named(operator: TestClient, query: str, parameter: str) -> None:
    document = problem(operator.get(f"/v1/subscribers?{query}"), 422)
    assert document["errors"][0]["parameter"] == parameter


@pytest.mark.parametrize(
    "query",
    [
        "from_at=2026-11-21T11:00:00Z&until_at=2026-11-21T10:00:00Z",
        "from_at=2020-01-01T00:00:00Z&step=minute",
        "step=week",
        "from_at=yesterday",
    ],
)
def test_a_range_that_cannot_be_drawn(operator: TestClient, query: str) -> None:
    problem(operator.get(f"/v1/usage/series?{query}"), 422)


def test_a_body_without_end_is_not_read(world: World, operator: TestClient) -> None:
    content = b"[" * (world.services.config.request_octets_max + 1)
    problem(operator.post("/v1/subscribers", content=content), 413)

    def parts() -> Any:
        for _ in range(10):
            yield b"[" * 100_000

    problem(operator.post("/v1/subscribers", content=parts()), 413)


def test_a_silent_warehouse(world: World, operator: TestClient) -> None:
    class Silent:
        def by_class(self, _which: UsageFilter) -> Any:
            raise WarehouseUnavailableError("refused")

    object.__setattr__(world.services, "usage", Silent())
    answer = operator.get("/v1/usage/by-class")
    problem(answer, 503)
    assert answer.headers["retry-after"] == "5"
    assert world.counted["api_warehouse_failures_total"] == 1


def test_a_form_is_told_to_be_json(operator: TestClient) -> None:
    answer = operator.post("/v1/accounts", data={"name": "X"})
    problem(answer, 422)
    assert "Content-Type: application/json" in answer.json()["errors"][0]["expected"]


def test_an_unknown_outcome_is_no_empty_list(operator: TestClient) -> None:
    problem(operator.get("/v1/commands?outcome=done"), 422)


def test_our_own_failure_tells_nothing(world: World, operator: TestClient) -> None:
    def broken() -> dict[str, int]:
        raise RuntimeError("secret path /srv/x")

    object.__setattr__(world.services, "read_watermarks", broken)
    answer = operator.get("/v1/status")
    assert "secret" not in answer.text
    problem(answer, 500)
    assert world.counted["api_failures_total"] == 1


@pytest.mark.parametrize("path", ["/v1/branches", "/v1/openapi.json", "/login", "/nowhere"])
def test_head_is_get_without_its_body(operator: TestClient, path: str) -> None:
    got, head = operator.get(path), operator.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers == got.headers
    assert operator.head("/v1/top-ups").status_code == 405


def test_health_needs_no_key_and_fails_with_the_database(world: World, clients: Clients) -> None:
    client = clients("")
    assert client.get("/v1/health").json()["status"] == "ok"
    with writing(world.engine) as connection:
        connection.execute(text("alter table subscriber rename to gone"))
    assert client.get("/v1/health").status_code == 200


def test_a_hostile_search_is_only_text(operator: TestClient) -> None:
    for words in ("%", "__", "' or 1=1 --", "\\"):
        answer = operator.get("/v1/subscribers", params={"q": words})
        assert answer.status_code == 200
        assert answer.json()["items"] == []
    problem(operator.get("/v1/subscribers", params={"q": "a\x00"}), 422)


def test_the_documentation_lists_every_problem() -> None:
    text = (Path(__file__).parents[2] / "docs/api.md").read_text()
    listed = dict(re.findall(r"\| `([a-z-]+)` \| (\d{3}) \|", text))
    assert listed == {kind: str(status) for kind, (status, _) in TYPES.items()}


def test_every_counter_is_declared() -> None:
    api = Path(__file__).parents[2] / "api"
    source = "".join(path.read_text() for path in api.rglob("*.py"))
    counted = set(re.findall(r'count(?:ed)?\W{1,2}"([a-z_]+)"|_add\("([a-z_]+)"', source))
    names = {name for pair in counted for name in pair if name}
    assert names == set(METRICS)


NUL_BODIES = (rb'{"branch_id": "pokhara", "name": "a\u0000b", "kind": "person"}',)


@pytest.mark.parametrize("body", NUL_BODIES)
def test_text_with_a_nul_is_refused_by_every_database(operator: TestClient, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    problem(operator.post("/v1/accounts", content=body, headers=headers), 422)
    escaped = body.replace(rb"\u0000", rb"\\u0000")
    assert operator.post("/v1/accounts", content=escaped, headers=headers).status_code == 201


def test_a_path_with_a_nul_leads_nowhere(operator: TestClient) -> None:
    problem(operator.get("/v1/subscribers/a%00b"), 404)


def test_a_busy_database_is_told_from_an_error_of_ours(world: World, operator: TestClient) -> None:
    def busy() -> dict[str, int]:
        error = sqlite3.OperationalError("database is locked")
        raise OperationalError("select 1", {}, error)

    object.__setattr__(world.services, "read_watermarks", busy)
    answer = operator.get("/v1/status")
    problem(answer, 503)
    assert answer.headers["retry-after"] == "5"
