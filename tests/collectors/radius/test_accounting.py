"""What an Accounting-Request says, oddity by oddity."""

from __future__ import annotations

import dataclasses
import hashlib
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.config import NasConfig, RadiusConfig
from collectors.radius.accounting import decode_block, decode_record, unique_session_id
from collectors.radius.clients import ClientTable
from collectors.radius.log_codec import encode_packets
from collectors.radius.packet import Attribute, decode_packet
from collectors.radius.vendors import encode_vendor
from rating.accounting import AccountingRecord, Prefix
from tests.collectors.radius.packets import (
    INTERIM,
    NAS_ADDRESS,
    OFF,
    ON,
    RECEIVED_AT,
    START,
    STOP,
    integer,
    logged,
    request,
)

NAS = NasConfig("bng1", "192.0.2.1", "testing123")
CONFIG = RadiusConfig()
RECEIVED_SECOND = RECEIVED_AT // 1000


def record(
    *attributes: Attribute, status: int = INTERIM, nas: NasConfig = NAS, session_id: bytes = b"5A"
) -> AccountingRecord:
    packet = logged(request(*attributes, status=status, session_id=session_id))
    decoded = decode_record(packet, nas, CONFIG)
    assert isinstance(decoded, AccountingRecord)
    return decoded


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (START, "start"),
        (STOP, "stop"),
        (INTERIM, "interim"),
        (ON, "accounting_on"),
        (OFF, "accounting_off"),
        (9, "other"),
        (0x80000001, "other"),
    ],
)
def test_the_status_type_has_a_name(number: int, status: str) -> None:
    assert record(status=number).status == status


def test_input_is_upload_and_output_is_download() -> None:
    found = record(integer(42, 10), integer(43, 20), integer(47, 1), integer(48, 2))
    assert (found.octets_up, found.octets_down) == (10, 20)
    assert (found.packets_up, found.packets_down) == (1, 2)


def test_a_nas_that_swaps_them_is_set_right() -> None:
    swapped = dataclasses.replace(NAS, swap_input_output=True)
    found = record(
        integer(42, 10),
        integer(52, 1),
        integer(43, 20),
        integer(47, 1),
        integer(48, 2),
        nas=swapped,
    )
    assert (found.octets_up, found.octets_down) == (20, 10 + (1 << 32))
    assert (found.packets_up, found.packets_down) == (2, 1)


def test_absent_counters_are_absent_not_zero() -> None:
    found = record(status=STOP)
    assert (found.octets_up, found.octets_down, found.packets_up) == (None, None, None)
    assert found.session_seconds is None
    assert not found.has_gigawords


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 1))
def test_gigawords_count_the_wraps_of_32_bits(low: int, wraps: int) -> None:
    found = record(integer(42, low), integer(52, wraps))
    assert found.octets_up == wraps * 2**32 + low
    assert found.has_gigawords
    assert found.octets_modulus is None


def test_gigawords_of_zero_are_present() -> None:
    assert record(integer(42, 5), integer(52, 0)).has_gigawords


@given(st.integers(0, 2**32 - 1), st.integers(1, 1 << 20))
def test_a_nas_without_gigawords_wraps_at_a_multiple_of_its_unit(low: int, unit: int) -> None:
    nas = dataclasses.replace(NAS, has_gigawords=False, unit_octets=unit)
    found = record(integer(43, low), integer(53, 7), nas=nas)
    assert found.octets_down == low * unit
    assert found.octets_modulus == unit * 2**32
    assert 0 <= found.octets_down < found.octets_modulus


def test_a_nas_that_counts_bits_is_set_right() -> None:
    nas = dataclasses.replace(NAS, counts_bits=True, has_gigawords=False)
    found = record(integer(42, 8_007), integer(43, 80), nas=nas)
    assert (found.octets_up, found.octets_down) == (1_000, 10)
    assert found.octets_modulus == 2**29


def test_counters_of_ipv6_are_inside_the_total_and_never_added() -> None:
    total = (integer(42, 1_000), integer(43, 5_000))
    erx = encode_vendor(4874, [(number, b"\0\0\1\0") for number in range(151, 157)])
    huawei = encode_vendor(2011, [(number, b"\0\0\1\0") for number in range(144, 150)])
    found = record(*total, erx, huawei)
    assert (found.octets_up, found.octets_down) == (1_000, 5_000)
    assert (found.packets_up, found.has_gigawords) == (None, False)


def test_all_three_times_of_an_event_are_kept() -> None:
    stamped = RECEIVED_SECOND - 7_200  # Of a clock two hours behind.
    found = record(integer(55, stamped), integer(41, 20))
    assert (found.event_timestamp_at, found.received_at) == (stamped * 1000, RECEIVED_AT)
    assert (found.delay_seconds, found.event_at) == (20, RECEIVED_AT - 20_000)


def test_the_unique_session_id_is_freeradius_32s() -> None:
    known = request((1, b"bob"), (4, bytes((192, 0, 2, 9))), (32, b"bras"), integer(5, 17))
    text = b"bob,5A001,192.0.2.9,bras,,17"
    assert unique_session_id(decode_packet(known)) == hashlib.md5(text).hexdigest()
    by_v6 = request((95, IPv6Address("2001:db8::1").packed), (4, bytes(4)), (87, b"eth1"))
    text = b",5A001,2001:db8::1,,eth1,"
    assert unique_session_id(decode_packet(by_v6)) == hashlib.md5(text).hexdigest()


@given(st.lists(st.tuples(st.integers(1, 255), st.binary(max_size=20)), max_size=8))
def test_every_packet_has_a_unique_session_id(attributes: list[Attribute]) -> None:
    kept = [each for each in attributes if each[0] not in (79, 80)]
    assert len(unique_session_id(decode_packet(request(*kept)))) == 32


def test_a_volume_beyond_63_bits_is_a_fault_not_usage() -> None:
    found = record(integer(42, 1), integer(52, 2**31))
    assert found.octets_up is None
    assert found.faults == ("Acct-Input-Gigawords",)


def test_attributes_of_impossible_length_are_named_and_ignored() -> None:
    found = record((42, b"\x01\x02\x03"), (8, b"\x0a"), (97, b"\x00"), integer(43, 9))
    assert found.faults == ("Acct-Input-Octets", "Framed-IP-Address", "Framed-IPv6-Prefix")
    assert (found.octets_up, found.octets_down, found.framed_address) == (None, 9, b"")


def test_the_first_of_a_repeated_counter_counts() -> None:
    assert record(integer(42, 1), integer(42, 2)).octets_up == 1


def test_every_class_is_kept_in_order() -> None:
    assert record((25, b"\xff\x00"), (25, b"two")).classes == (b"\xff\x00", b"two")


def test_addresses_have_sixteen_octets() -> None:
    six = IPv6Address("2001:db8::1").packed
    found = record(
        (8, bytes((10, 0, 0, 7))),
        (168, six),
        (97, b"\x00\x40" + six[:8]),
        (96, b"\x00\x00\x00\x00\x00\x00\x00\x09"),
        (123, b"\x00\x38" + IPv6Address("2001:db8:100:ff01::").packed[:8]),
    )
    assert found.framed_address == IPv6Address("::ffff:10.0.0.7").packed
    assert found.framed_ipv6_addresses == (six,)
    assert found.framed_ipv6_prefixes == (Prefix(IPv6Address("2001:db8::").packed, 64),)
    assert found.interface_id == bytes(7) + b"\x09"
    # Bits behind the length are zeroed, or the same prefix would have many names.
    assert found.delegated_prefixes == (Prefix(IPv6Address("2001:db8:100:ff00::").packed, 56),)


@pytest.mark.parametrize("value", ["00000000", "ffffffff", "fffffffe"])
def test_an_address_that_is_none_is_not_bound_to_anybody(value: str) -> None:
    found = record((8, bytes.fromhex(value)))
    assert (found.framed_address, found.faults) == (b"", ())


def test_a_default_route_is_nobodys_delegated_prefix() -> None:
    assert record((123, b"\x00\x00")).delegated_prefixes == ()


def test_the_nas_address_is_its_own_word_first() -> None:
    assert record().nas_address == NAS_ADDRESS
    assert record((4, bytes((10, 9, 8, 7)))).nas_address == IPv6Address("::ffff:10.9.8.7").packed
    six = IPv6Address("2001:db8::9").packed
    assert record((4, bytes((10, 9, 8, 7))), (95, six)).nas_address == six


def test_text_that_is_not_utf8_still_is_text() -> None:
    found = record((1, "Rahim রহিম".encode()), (31, b"\xfe\x00x"), session_id=b"5A\0")
    assert found.user_name == "Rahim রহিম"
    assert found.calling_station_id == r"\xfe\x00x"
    assert found.acct_session_id == "5A"


@pytest.mark.parametrize(
    ("offset_seconds", "is_trusted"),
    [
        (0, True),
        (299, True),
        (300, False),
        (-3599, True),
        (-3600, False),
        (-RECEIVED_SECOND, False),
    ],
)
def test_event_timestamp_counts_inside_its_window_only(
    offset_seconds: int, is_trusted: bool
) -> None:
    stamp = RECEIVED_SECOND + offset_seconds
    found = record(integer(55, stamp), integer(41, 12))
    assert found.event_timestamp_at == stamp * 1000
    if is_trusted:
        assert (found.event_at, found.event_at_source) == (stamp * 1000, "event_timestamp")
    else:
        assert (found.event_at, found.event_at_source) == (RECEIVED_AT - 12_000, "delay")


def test_without_event_timestamp_the_delay_is_subtracted() -> None:
    found = record(integer(41, 7))
    assert (found.event_at, found.delay_seconds) == (RECEIVED_AT - 7_000, 7)


def test_an_impossible_delay_does_not_move_usage_into_another_year() -> None:
    found = record(integer(41, 2**32 - 1))
    assert (found.event_at, found.faults) == (RECEIVED_AT, ("Acct-Delay-Time",))


@pytest.mark.parametrize("status", [START, INTERIM, STOP])
def test_a_session_packet_needs_a_session_id(status: int) -> None:
    packet = logged(request(status=status, session_id=b""))
    assert decode_record(packet, NAS, CONFIG) == "session_id_missing"


def test_a_reboot_needs_no_session_id() -> None:
    assert record(status=ON, session_id=b"").status == "accounting_on"


def test_a_block_gives_records_and_counts_what_gave_none() -> None:
    table = ClientTable([dataclasses.replace(NAS, swap_input_output=True)])
    packets = [
        logged(request(integer(42, 3))),
        logged(request(status=STOP, session_id=b"")),
        logged(b"rubbish"),
        logged(request((42, b"x")), nas_id="gone"),
    ]
    records, faults = decode_block(encode_packets(packets), table, CONFIG)
    assert [(r.nas_id, r.octets_down) for r in records] == [("bng1", 3), ("gone", None)]
    assert faults == {"session_id_missing": 1, "packet_too_short": 1, "Acct-Input-Octets": 1}
