"""The page of a subscriber's television: what it shows, and what its forms do."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from billing.adapters import tables
from billing.adapters.databases import writing
from tests.api import sample
from tests.api.conftest import Clients

KARIM = "/subscribers/sub_0003a/tv"


@pytest.fixture
def visitor(clients: Clients) -> TestClient:
    """Return a client that is logged in."""
    client = clients("")
    assert client.post("/login", data={"key": sample.OPERATOR_TOKEN}).status_code == 200
    return client


def send(visitor: TestClient, path: str, page: str = KARIM, **fields: object) -> str:
    """Send a form of a page and return what is shown then."""
    text = visitor.get(page).text
    found = re.search(r'name="csrf" value="([^"]+)"', text)
    assert found is not None
    return str(visitor.post(path, data={"csrf": found[1], **fields}).text)


def give(visitor: TestClient) -> str:
    return send(visitor, f"{KARIM}/pairings", card="DHM-C2", box="DHM-B2", outlet="1")


def test_a_card_that_is_right(visitor: TestClient) -> None:
    shown = visitor.get("/subscribers/sub_0001a/tv").text
    assert "As it should be" in shown
    assert "DHM-B1" in shown
    assert shown.index("Show Sports") < shown.index("Pair with DHM-B1"), "the newest first"
    assert 'value="dhm-sports" checked' in shown
    assert 'value="dhm-gold" checked' not in shown


def test_from_nothing_to_packages_and_back(visitor: TestClient) -> None:
    assert "No television yet" in visitor.get(KARIM).text
    assert "On its way" in give(visitor)
    chosen = ["dhm-basic", "dhm-hbo"]
    shown = send(visitor, f"{KARIM}/packages", outlet="1", chosen=chosen)
    assert "The packages have changed" in shown
    assert 'value="dhm-hbo" checked' in shown
    shown = send(visitor, f"{KARIM}/packages", outlet="1", held=chosen, chosen=["dhm-gold"])
    assert 'value="dhm-gold" checked' in shown
    assert 'value="dhm-hbo" checked' not in shown


def test_a_box_is_swapped_and_taken_back(visitor: TestClient) -> None:
    pairing = re.search(r"/pairings/([^/]+)/swap", give(visitor))
    assert pairing is not None
    path = f"{KARIM}/pairings/{pairing[1]}/swap"
    shown = send(visitor, path, box="DHM-B3", reason="faulty")
    assert "The box was replaced" in shown
    pairing = re.search(r"/pairings/([^/]+)/end", shown)
    assert pairing is not None
    path = f"{KARIM}/pairings/{pairing[1]}/end"
    assert "No television yet" in send(visitor, path, reason="returned", end_packages="true")


def test_a_message_and_a_refresh(visitor: TestClient) -> None:
    give(visitor)
    path = f"{KARIM}/cards/DHM-C2"
    assert "on its way to the screen" in send(visitor, path, text="Hello")
    assert "sent again what it has" in send(visitor, path, text="")


def test_a_suspended_subscriber_is_dark_and_it_says_why(
    world: sample.World, visitor: TestClient
) -> None:
    table = tables.subscriber
    with writing(world.engine) as connection:
        connection.execute(
            update(table).where(table.c.subscriber_id == "sub_0001a").values(status="suspended")
        )
    shown = visitor.get("/subscribers/sub_0001a/tv").text
    assert "Shows nothing: the subscriber is suspended." in shown


def test_what_is_refused_is_told(visitor: TestClient) -> None:
    give(visitor)
    shown = send(visitor, f"{KARIM}/packages", outlet="1", chosen=["dhm-sports"])
    assert "Sports needs a base package on the same outlet." in shown


def test_a_form_of_nobody_is_refused(visitor: TestClient) -> None:
    data = {"card": "DHM-C2", "box": "DHM-B2", "csrf": "forged"}
    assert visitor.post(f"{KARIM}/pairings", data=data).status_code == 403
