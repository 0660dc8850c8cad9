"""Whose packet it is: by source address, then by NAS-Identifier."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from collectors.adapters.sockets import to_address
from collectors.config import NasConfig
from collectors.radius.clients import ClientTable, choose

CORE = NasConfig("core", "192.0.2.1", "one")
HOTSPOTS = NasConfig("hotspots", "192.0.2.0/24", "two")
CAFE = NasConfig("cafe", "192.0.2.0/24", "three", nas_identifier="cafe")
SIX = NasConfig("six", "2001:db8::/32", "four")
TABLE = ClientTable([HOTSPOTS, CORE, CAFE, SIX])


def found(source: str, nas_identifier: str = "") -> str | None:
    address = to_address(source)
    client = choose(TABLE.candidates(address), nas_identifier)
    return client.nas_id_at(address) if client else None


def test_the_longest_prefix_wins() -> None:
    assert found("192.0.2.1") == "core"
    assert found("192.0.2.1", "cafe") == "core"


def test_each_host_of_a_prefix_is_its_own_nas() -> None:
    # Session ids are unique per NAS: two hotspots that share an entry must not share sessions.
    assert found("192.0.2.7") == "hotspots@192.0.2.7"
    assert found("2001:db8::5") == "six@2001:db8::5"


def test_a_nas_identifier_goes_before_none() -> None:
    assert found("192.0.2.7", "cafe") == "cafe@192.0.2.7"
    assert found("192.0.2.7", "elsewhere") == "hotspots@192.0.2.7"


def test_a_stranger_is_nobody() -> None:
    assert found("192.0.3.1") is None
    assert found("2001:db9::1") is None


def test_an_entry_with_an_identifier_is_for_that_identifier_only() -> None:
    table = ClientTable([CAFE])
    candidates = table.candidates(to_address("192.0.2.9"))
    assert choose(candidates, "") is None
    assert choose(candidates, "cafe") is not None


def test_logged_ids_find_their_settings_again() -> None:
    assert TABLE.config_of("hotspots@192.0.2.7") is HOTSPOTS
    assert TABLE.config_of("gone") == NasConfig("gone", "::", "")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nas_id": ""}, "must be a name"),
        ({"nas_id": "a@b"}, "must be a name"),
        ({"nas_id": "six"}, "used twice"),
        ({"secret": ""}, "secret is empty"),
        ({"unit_octets": 0}, "unit_octets is 0"),
        ({"address": "192.0.2.1/24"}, "host bits"),
        ({"address": "bng1.example"}, "address"),
        ({"address": "2001:db8::/32"}, "is already 'six'"),
    ],
)
def test_a_bad_entry_is_named(change: dict[str, Any], message: str) -> None:
    bad = dataclasses.replace(NasConfig("new", "198.51.100.1", "x"), **change)
    with pytest.raises(ValueError, match=message):
        ClientTable([SIX, bad])


BNG = NasConfig("bng", "192.0.2.9", "five", certificate="BNG.example")
NORTH = NasConfig("north", "", "", nas_identifier="north", certificate="proxy.example")
SOUTH = NasConfig("south", "", "", nas_identifier="south", certificate="proxy.example")
SECURED = ClientTable([BNG, NORTH, SOUTH, HOTSPOTS, CORE])


def secured(source: str, name: str, nas_identifier: str = "") -> str | None:
    address = to_address(source)
    client = choose(SECURED.secured([name], address), nas_identifier)
    return client.nas_id_at(address) if client else None


def test_by_radsec_a_certificate_goes_before_the_address() -> None:
    assert secured("192.0.2.1", "bng.example") == "bng"
    assert secured("198.51.100.1", "bng.example") == "bng"
    assert secured("192.0.2.1", "other.example") == "core"
    assert secured("192.0.2.7", "other.example") == "hotspots@192.0.2.7"
    assert secured("198.51.100.1", "other.example") is None


def test_by_radsec_a_client_with_a_certificate_is_not_known_by_its_address() -> None:
    assert secured("192.0.2.9", "other.example") == "hotspots@192.0.2.9"


def test_by_udp_a_client_with_a_certificate_is_known_by_its_address_as_ever() -> None:
    (first, *_) = SECURED.candidates(to_address("192.0.2.9"))
    assert first[""].config == BNG
    assert first[""].secret == b"five"


def test_several_nases_of_one_certificate_differ_by_nas_identifier() -> None:
    assert secured("198.51.100.1", "proxy.example", "south") == "south"
    assert secured("198.51.100.1", "proxy.example", "west") is None


@pytest.mark.parametrize(
    ("client", "message"),
    [
        (NasConfig("a", "", "x"), "address"),
        (NasConfig("a", "", ""), "secret is empty"),
        (NasConfig("a", "192.0.2.50", "", certificate="b"), "secret is empty"),
        (NasConfig("a", "", "", certificate="sha256:12"), "certificate: 'sha256:12'"),
        (NasConfig("a", "", "", certificate="BNG.EXAMPLE"), "is already 'bng'"),
    ],
)
def test_what_cannot_work_by_radsec_is_told(client: NasConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClientTable([BNG, client])
