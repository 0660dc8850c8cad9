"""The OpenAPI document is whole: ids, tags, examples that fit their models, documented errors."""

from __future__ import annotations

import html
import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import BaseModel

import api.models
from api.problems import MEDIA_TYPE
from tests.api.conftest import Clients

METHODS = {"get", "post", "put", "patch", "delete"}


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert method in METHODS
            yield path, method, operation


@pytest.fixture
def document(operator: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = operator.get("/v1/openapi.json").json()
    return found


def test_every_operation_has_its_own_id_a_tag_and_words(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(ids) == len(set(ids)) > 40
    tags = {tag["name"] for tag in document["tags"]}
    for path, method, operation in operations(document):
        assert set(operation["tags"]) <= tags, (method, path)
        assert operation["description"].endswith("."), (method, path)
        assert re.fullmatch(r"[a-z][a-z_]+", operation["operationId"])


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        bodies = dict(operation["responses"])
        if "requestBody" in operation:
            bodies["request"] = operation["requestBody"]
        assert any(status.startswith("2") for status in bodies), (method, path)
        for name, body in bodies.items():
            for kind, media in body.get("content", {}).items():
                assert media.get("example") is not None, (method, path, name, kind)


def test_every_error_is_a_problem(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        if path == "/v1/health":
            continue
        for status, body in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert set(body["content"]) == {MEDIA_TYPE}, (method, path, status)
        assert {"401", "422"} <= set(operation["responses"]), (method, path)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/([\w-]+)", str(document)):
        assert name in schemas


def examples() -> list[tuple[type[BaseModel], dict[str, Any]]]:
    """Return every model that carries an example, with it."""
    found: dict[str, tuple[type[BaseModel], dict[str, Any]]] = {}
    for info in pkgutil.iter_modules(api.models.__path__):
        module = importlib.import_module(f"api.models.{info.name}")
        for thing in vars(module).values():
            if isinstance(thing, type) and issubclass(thing, BaseModel):
                extra: Any = thing.model_config.get("json_schema_extra") or {}
                for example in extra.get("examples", []):
                    found[thing.__name__] = (thing, example)
    return [found[name] for name in sorted(found)]


@pytest.mark.parametrize(
    ("model", "example"), examples(), ids=lambda one: getattr(one, "__name__", "")
)
def test_examples_fit_their_models(model: type[BaseModel], example: dict[str, Any]) -> None:
    """Answers read their instants as text only on the way out, so names are compared there."""
    fields = model.model_fields
    required = {name for name, field in fields.items() if field.is_required()}
    assert required <= set(example) <= set(fields)
    if model.__name__.endswith(("Create", "Patch", "Request", "Change", "Ending", "Member")):
        model.model_validate(example)


def test_the_page_of_operations_names_them_all(clients: Clients, document: dict[str, Any]) -> None:
    answer = clients("").get("/v1/docs")
    assert answer.status_code == 200
    shown = {html.unescape(row) for row in re.findall(r'class="num break">(.*?)</th>', answer.text)}
    assert shown == {f"{method.upper()} {path}" for path, method, _ in operations(document)}
    assert "//" not in answer.text.replace("</", "<"), "nothing comes from elsewhere"


def test_get_operations_answer_what_they_promise(operator: TestClient) -> None:
    """Call every GET of the document with the sample's ids: all answer 200."""
    known = {
        "branch_id": "dhanmondi",
        "account_id": "acc_0001",
        "plan_id": "dhanmondi-home-100",
        "subscriber_id": "sub_0001a",
        "pool_id": "pool_0000",
        "subscription_id": "scn_0001",
        "event_id": "topup:dhanmondi:r1",
        "rating_key": "sub_0001a",
        "invoice_id": "inv_acc_0001_2026-10",
        "line": "2",
        "key_id": "key-dhanmondi",
        "serial": "DHM-C1",
        "name": "revenue",
    }
    top_up = {"rating_key": "sub_0001a", "amount_minor": 1, "currency": "BDT", "reference": "r1"}
    assert operator.post("/v1/top-ups", json=top_up).status_code == 202
    till = {"branch_id": "dhanmondi", "float_minor": 1, "currency": "BDT"}
    known["shift_id"] = operator.post("/v1/cash-shifts", json=till).json()["shift_id"]
    parts = {"count": 1, "first_on": "2026-12-15"}
    due = "/v1/invoices/inv_acc_0003_2026-10/instalment-plans"
    known["instalment_plan_id"] = operator.post(due, json=parts).json()["plan_id"]
    paid = {"amount_minor": 1, "currency": "BDT"}
    known["payment_id"] = operator.post("/v1/accounts/acc_0001/payments", json=paid).json()[
        "payment_id"
    ]
    batch = {"name": "Cards", "branch_id": "dhanmondi", "amount_minor": 1, "currency": "BDT"}
    made = operator.post("/v1/voucher-batches", json={**batch, "quantity": 1})
    known["batch_id"] = made.json()["batch_id"]
    product = {"product_id": "tv", "branch_id": "dhanmondi", "name": "TV", "kind": "tv"}
    product |= {"currency": "BDT", "price": "300.00"}
    known["product_id"] = operator.post("/v1/products", json=product).json()["product_id"]
    sold = {"account_id": "acc_0001", "product_id": known["product_id"]}
    known["service_id"] = operator.post("/v1/services", json=sold).json()["service_id"]
    document = operator.get("/v1/openapi.json").json()
    called = 0
    for path, method, _operation in operations(document):
        if method == "get":
            address = re.sub(r"\{(\w+)\}", lambda m: known[m[1]], path)
            assert operator.get(address).status_code == 200, address
            called += 1
    assert called > 25
