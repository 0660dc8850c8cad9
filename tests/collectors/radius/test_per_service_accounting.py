"""A NAS that accounts a session and the services inside it: the same octets are counted once."""

from __future__ import annotations

import pytest

from collectors.config import NasConfig, RadiusConfig
from collectors.radius.accounting import decode_record
from collectors.radius.packet import Attribute
from collectors.radius.vendors import encode_vendor
from rating.accounting import (
    COUNTS_ALL,
    COUNTS_NOTHING,
    COUNTS_OCTETS,
    COUNTS_SECONDS,
    AccountingRecord,
)
from tests.collectors.radius.packets import INTERIM, integer, logged, request

CISCO_SERVICE_INFO = encode_vendor(9, [(251, b"NINTERNET")])
CISCO_PARENT = encode_vendor(9, [(1, b"parent-session-id=000000A1")])
CISCO_OTHER_PAIR = encode_vendor(9, [(1, b"client-mac-address=0011.2233.4455")])
CISCO_TWO_IN_ONE = encode_vendor(9, [(1, b"ip:vrf-id=x"), (251, b"NINTERNET")])
CISCO_ACCOUNT_INFO = encode_vendor(9, [(250, b"S100.64.0.1")])
ERX_SERVICE_SESSION = encode_vendor(4874, [(83, b"video(10m)")])
ERX_VIRTUAL_ROUTER = encode_vendor(4874, [(1, b"isp")])
ALC_SUB_SERV = encode_vendor(6527, [(151, b"video")])
ALC_SUBSCRIBER = encode_vendor(6527, [(11, b"ipoe-1")])


def record(
    nas: NasConfig, *attributes: Attribute, session_id: bytes = b"000000A1"
) -> AccountingRecord:
    packet = logged(request(*attributes, status=INTERIM, session_id=session_id))
    decoded = decode_record(packet, nas, RadiusConfig())
    assert isinstance(decoded, AccountingRecord)
    return decoded


def nas(service_accounting: str = "session", pattern: str = "") -> NasConfig:
    return NasConfig(
        "bng1",
        "192.0.2.1",
        "testing123",
        service_accounting="services" if service_accounting == "services" else "session",
        service_session_pattern=pattern,
    )


MARKS = {
    "cisco-service-info": CISCO_SERVICE_INFO,
    "cisco-parent-session-id": CISCO_PARENT,
    "cisco-behind-another-pair": CISCO_TWO_IN_ONE,
    "juniper": ERX_SERVICE_SESSION,
    "nokia": ALC_SUB_SERV,
}


@pytest.mark.parametrize("mark", sorted(MARKS))
@pytest.mark.parametrize(
    ("setting", "of_service", "of_session"),
    [("session", COUNTS_NOTHING, COUNTS_ALL), ("services", COUNTS_OCTETS, COUNTS_SECONDS)],
)
def test_parent_or_children_count_never_both(
    mark: str, setting: str, of_service: str, of_session: str
) -> None:
    octets = integer(42, 1000)
    assert record(nas(setting), octets, MARKS[mark]).counts == of_service
    assert record(nas(setting), octets).counts == of_session


@pytest.mark.parametrize(
    "attribute", [CISCO_OTHER_PAIR, CISCO_ACCOUNT_INFO, ERX_VIRTUAL_ROUTER, ALC_SUBSCRIBER]
)
def test_other_attributes_of_these_vendors_mark_no_service(attribute: Attribute) -> None:
    assert record(nas(), attribute).counts == COUNTS_ALL


def test_a_counter_that_looks_like_a_vendors_number_marks_no_service() -> None:
    assert record(nas(), integer(42, 9), integer(43, 4874), integer(46, 6527)).counts == COUNTS_ALL


def test_a_session_id_marks_the_services_of_a_nas_without_such_attributes() -> None:
    configured = nas("services", ":")
    assert record(configured, session_id=b"81:2").counts == COUNTS_OCTETS
    assert record(configured, session_id=b"81").counts == COUNTS_SECONDS
    assert record(nas("services"), session_id=b"81:2").counts == COUNTS_SECONDS


def test_a_service_holds_no_address_of_its_own() -> None:
    address = (8, bytes((100, 64, 0, 1)))
    assert record(nas("services"), address, ERX_SERVICE_SESSION).framed_address == b""
    assert record(nas("services"), address).framed_address != b""


def test_two_packets_of_one_layout_are_told_apart() -> None:
    twin = encode_vendor(4874, [(82, b"video(10m)")])
    configured = nas()
    for _ in range(3):  # The plan of a layout is made by the first, and reads those behind it.
        assert record(configured, integer(42, 7), twin).counts == COUNTS_ALL
        assert record(configured, integer(42, 7), ERX_SERVICE_SESSION).counts == COUNTS_NOTHING
