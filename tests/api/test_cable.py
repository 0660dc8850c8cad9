"""Cable TV over the API: what a clerk does, what is refused, and what it answers."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.writes.endings import end_account
from billing.adapters.databases import writing
from tests.api.conftest import Clients
from tests.api.sample import NOW, World

KARIM = "/v1/subscribers/sub_0003a"


def ok(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


def refusal(answer: Any, status: int = 409) -> str:
    assert answer.status_code == status, answer.text
    return str(answer.json()["detail"])


def give_box(operator: TestClient, card: str = "DHM-C2", box: str = "DHM-B2") -> str:
    body = {"card_serial": card, "box_serial": box}
    return str(ok(operator.post(f"{KARIM}/tv/pairings", json=body), 201)["pairing_id"])


def test_a_new_customer(operator: TestClient) -> None:
    give_box(operator)
    body = {"add": ["dhm-basic", "dhm-hbo"]}
    tv = ok(operator.post(f"{KARIM}/tv/packages", json=body))
    assert tv == ok(operator.get(f"{KARIM}/tv"))
    [outlet] = tv["outlets"]
    assert [package["name"] for package in outlet["packages"]] == ["Basic", "HBO"]
    card = outlet["card"]
    assert (card["box_wanted"], card["box_known"], card["is_right"]) == ("DHM-B2", "", False)
    wanted = {e["entitlement"]: (e["is_wanted"], e["known_until"]) for e in card["entitlements"]}
    assert wanted == {"P-DHM-BASIC": (True, None), "P-DHM-HBO": (True, None)}


def test_a_customer_whose_card_is_right(operator: TestClient) -> None:
    [outlet] = ok(operator.get("/v1/subscribers/sub_0001a/tv"))["outlets"]
    assert outlet["pairing"]["box_serial"] == "DHM-B1"
    assert outlet["card"]["is_right"]
    assert {e["name"] for e in outlet["card"]["entitlements"]} == {"Basic", "Sports"}
    commands = ok(operator.get("/v1/tv/commands?subscriber_id=sub_0001a"))["items"]
    assert [(c["operation"], c["outcome"]) for c in commands] == [
        ("entitle", "acknowledged"), ("entitle", "verified"), ("pair", "verified"),
    ]  # fmt: skip
    assert commands[-1]["expires_at"] is None
    verified = ok(operator.get("/v1/tv/commands?card_serial=DHM-C1&outcome=verified"))["items"]
    assert len(verified) == 2


def test_a_swap_and_a_return_move_the_boxes(operator: TestClient) -> None:
    pairing = give_box(operator)
    ok(operator.post(f"{KARIM}/tv/packages", json={"add": ["dhm-basic"]}))
    body = {"box_serial": "DHM-B3", "reason": "faulty", "note": "no picture"}
    swapped = ok(operator.post(f"/v1/tv/pairings/{pairing}/swap", json=body))
    assert (swapped["card_serial"], swapped["box_serial"]) == ("DHM-C2", "DHM-B3")
    detail = ok(operator.get("/v1/tv/devices/DHM-B2"))
    assert detail["device"]["state"] == "faulty"
    assert [(m["action"], m["note"]) for m in detail["movements"][-2:]] == [
        ("issue", "outlet 1"), ("fault", "faulty: no picture"),
    ]  # fmt: skip
    ending = {"reason": "returned", "end_packages": True}
    url = f"/v1/tv/pairings/{swapped['pairing_id']}/end"
    assert ok(operator.post(url, json=ending))["end_reason"] == "returned"
    assert ok(operator.get(f"{KARIM}/tv")) == {
        "subscriber_id": "sub_0003a", "outlets": [], "unpaired": [],
    }  # fmt: skip
    store = {"action": "store"}
    assert ok(operator.post("/v1/tv/devices/DHM-B3/movements", json=store))["state"] == "in_store"


def test_who_ends_is_dark_and_not_billed_on_and_the_box_stays_his_to_return(
    operator: TestClient,
) -> None:
    give_box(operator)
    ok(operator.post(f"{KARIM}/tv/packages", json={"add": ["dhm-basic", "dhm-hbo"]}))
    ok(operator.patch(KARIM, json={"status": "ended"}))
    [outlet] = ok(operator.get(f"{KARIM}/tv"))["outlets"]
    assert {package["ends_at"] for package in outlet["packages"]} == {"2026-11-21T10:16:00Z"}
    assert outlet["card"]["barred"] == "the subscriber is ended"
    assert outlet["pairing"]["box_serial"] == "DHM-B2"
    more = {"card_serial": "DHM-C3", "box_serial": "DHM-B3", "outlet": 2}
    assert refusal(operator.post(f"{KARIM}/tv/pairings", json=more)) == (
        "An ended subscriber gets no box."
    )
    assert refusal(operator.post(f"{KARIM}/tv/packages", json={"add": ["dhm-sports"]})) == (
        "An ended subscriber gets no packages."
    )


def test_an_account_that_is_terminated_is_not_billed_for_television_any_more(
    world: World, operator: TestClient
) -> None:
    with writing(world.engine) as connection:
        end_account(world.services, connection, "acc_0001", NOW)
    [outlet] = ok(operator.get("/v1/subscribers/sub_0001a/tv"))["outlets"]
    assert {package["ends_at"] for package in outlet["packages"]} == {"2026-11-21T10:16:00Z"}


def test_a_stolen_box_leaves_the_card_with_the_customer(operator: TestClient) -> None:
    pairing = give_box(operator)
    body = {"reason": "stolen", "devices": ["DHM-B2"]}
    ok(operator.post(f"/v1/tv/pairings/{pairing}/end", json=body))
    tv = ok(operator.get(f"{KARIM}/tv"))
    assert [device["serial"] for device in tv["unpaired"]] == ["DHM-C2"]
    lost = ok(operator.get("/v1/tv/devices?state=lost"))["items"]
    assert [device["serial"] for device in lost] == ["DHM-B2"]


def test_what_is_refused_is_told_in_a_sentence(operator: TestClient) -> None:
    taken = {"card_serial": "DHM-C1", "box_serial": "DHM-B2"}
    assert refusal(operator.post(f"{KARIM}/tv/pairings", json=taken)) == (
        "The smart card 'DHM-C1' is issued to sub_0001a, not in store."
    )
    alone = {"add": ["dhm-sports"]}
    assert refusal(operator.post(f"{KARIM}/tv/packages", json=alone)) == (
        "Sports needs a base package on the same outlet."
    )
    used = {"action": "return"}
    assert refusal(operator.post("/v1/tv/devices/DHM-B1/movements", json=used)) == (
        "'DHM-B1' is in use (pairing 'pair-dhanmondi'): end or swap that first."
    )
    box = {"operation": "refresh"}
    assert refusal(operator.post("/v1/tv/cards/DHM-B1/commands", json=box)) == (
        "'DHM-B1' is a set-top box, not a card."
    )


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/v1/tv/channels", {"channel_id": "x", "number": 0, "name": "X"}, "#/number"),
        (
            "/v1/tv/packages",
            {"package_id": "x", "kind": "bronze", "name": "X", "entitlement": "x", "channels": []},
            "#/kind",
        ),
        ("/v1/tv/devices", {"model_id": "dhm-box", "serials": ["a b"]}, "#/serials/0"),
        (f"{KARIM}/tv/pairings", {"card_serial": "C", "box_serial": ""}, "#/box_serial"),
        ("/v1/tv/pairings/pair-dhanmondi/swap", {"reason": "faulty"}, "#"),
        ("/v1/tv/pairings/pair-dhanmondi/end", {"reason": "broken"}, "#/reason"),
        (f"{KARIM}/tv/packages", {}, "#"),
        ("/v1/tv/cards/DHM-C1/commands", {"operation": "message", "text": " "}, "#"),
    ],
)
def test_bad_input_names_its_member(
    operator: TestClient, path: str, body: dict[str, Any], pointer: str
) -> None:
    answer = operator.post(path, json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].rstrip("/") == pointer


def test_the_catalog_grows_and_a_sale_ends(clients: Clients) -> None:
    desk = clients("dhanmondi")
    channel = {"channel_id": "cup", "number": 90, "name": "Cup TV"}
    assert ok(desk.post("/v1/tv/channels", json=channel), 201)["branch_id"] == "dhanmondi"
    again = {**channel, "channel_id": "cup2"}
    assert refusal(desk.post("/v1/tv/channels", json=again)) == "The number 90 is taken by Cup TV."
    package = {
        "package_id": "cup", "kind": "addon", "name": "Cup", "entitlement": "P-CUP",
        "channels": ["cup"], "shown_until_on": "2026-12-20",
    }  # fmt: skip
    ok(desk.post("/v1/tv/packages", json=package), 201)
    give_box(desk)
    tv = ok(desk.post(f"{KARIM}/tv/packages", json={"add": ["dhm-basic", "cup"]}))
    ends = {p["package_id"]: p["ends_at"] for p in tv["outlets"][0]["packages"]}
    assert ends == {"dhm-basic": None, "cup": "2026-12-19T18:00:00Z"}, "midnight in Dhaka"
    limit = {"offered_until_on": "2026-11-21"}
    changed = ok(desk.patch("/v1/tv/packages/cup", json=limit))
    assert (changed["offered_until_on"], changed["shown_until_on"]) == ("2026-11-21", "2026-12-20")
    other = {"card_serial": "DHM-C3", "box_serial": "DHM-B3"}
    ok(desk.post("/v1/subscribers/sub_0004a/tv/pairings", json=other), 201)
    late = {"add": ["dhm-basic", "cup"]}
    assert refusal(desk.post("/v1/subscribers/sub_0004a/tv/packages", json=late)) == (
        "Cup is not on sale on 2026-11-21."
    )
    missing = {**package, "package_id": "x", "entitlement": "x", "product_id": "nothing"}
    assert refusal(desk.post("/v1/tv/packages", json=missing)) == (
        "Cup: there is no product 'nothing' in this branch."
    )


def test_stock_comes_in_whole_or_not_at_all(operator: TestClient) -> None:
    body = {"model_id": "dhm-box", "serials": ["N-1", "DHM-B1", "N-2"], "into_store": True}
    assert refusal(operator.post("/v1/tv/devices", json=body)) == (
        "The serial 'DHM-B1' is in stock already: serials are unique."
    )
    assert operator.get("/v1/tv/devices/N-1").status_code == 404
    body["serials"] = ["N-1", "N-2"]
    made = ok(operator.post("/v1/tv/devices", json=body), 201)["devices"]
    assert [(device["serial"], device["state"]) for device in made] == [
        ("N-1", "in_store"), ("N-2", "in_store"),
    ]  # fmt: skip


def test_a_repeated_request_is_done_once(operator: TestClient) -> None:
    body = {"operation": "message", "text": "Your bill is ready."}
    headers = {"Idempotency-Key": "once"}
    url = "/v1/tv/cards/DHM-C1/commands"
    first = ok(operator.post(url, json=body, headers=headers), 202)
    assert ok(operator.post(url, json=body, headers=headers), 202) == first
    assert first["commands_url"] == "/v1/tv/commands?card_serial=DHM-C1"
