"""Names of elements and typed values, and lists inside records (RFC 6313), hostile ones too."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.adapters.captures import read_file
from collectors.datagrams import Datagram
from collectors.netflow.elements import FIRST, LAST, REVERSE, SCOPE_V9
from collectors.netflow.records import NamedRecord, RecordReader, label, value_of
from collectors.netflow.registry import describe
from collectors.netflow.templates import IPFIX, V9
from infra.inspect_flows import main
from infra.inspect_records import named_records
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run
from tests.corpus import corpus_path, corpus_present

ALL_OF = b"\3"


def _read(*payloads: bytes) -> list[NamedRecord]:
    reader = RecordReader()
    datagrams = [Datagram(0, x.mapped("192.0.2.1"), 1, 2055, payload) for payload in payloads]
    return [record for datagram in datagrams for record in reader.records(datagram)]


def _sent(paths: Sequence[Path]) -> list[Datagram]:
    return [datagram for path in paths for datagram in read_file(path).datagrams]


def _values(record: NamedRecord) -> dict[str, Any]:
    return {label(field): field.value for field in record.fields}


@pytest.mark.parametrize(
    ("version", "element", "name", "kind", "vendor"),
    [
        (IPFIX, (0, 1), "octetDeltaCount", "unsigned64", ""),
        (IPFIX, (0, 291), "basicList", "basicList", ""),
        (IPFIX, (0, 491), "bgpDestinationLargeCommunityList", "basicList", ""),
        (IPFIX, (REVERSE, 85), "reverseOctetTotalCount", "unsigned64", "reverse"),
        (IPFIX, (9, 12_236), "clientIPv4Address", "ipv4Address", "Cisco"),
        (IPFIX, (2636, 137), "commonPropertiesId", "unsigned64", "Juniper"),
        (IPFIX, (637, 93), "aluNatSubString", "string", "Nokia"),
        (IPFIX, (2011, 1), "ingressGponGemPortId", "unsigned16", "Huawei"),
        (IPFIX, (35_632, 118), "L7_PROTO", "unsigned16", "ntop"),
        (IPFIX, (6876, 881), "tenantSourceIPv4", "ipv4Address", "VMware"),
        (IPFIX, (15_397, 3), "proceraIncomingOctets", "unsigned64", "Procera"),
        (IPFIX, (3054, 176), "ixiaRevOctetDeltaCount", "unsigned64", "Ixia"),
        (IPFIX, (10_704, 4), "FW_Rule", "string", "Barracuda"),
        (IPFIX, (6871, 40), "flowAttributes", "unsigned16", "CERT"),
        (IPFIX, (6871, 16_424), "reverseFlowAttributes", "unsigned16", "CERT"),
        (IPFIX, (25_461, 7), "element7", "octetArray", "Palo Alto"),
        (IPFIX, (14_988, 7), "element7", "octetArray", "MikroTik"),
        (IPFIX, (4_000_000, 7), "element7", "octetArray", "4000000"),
        (IPFIX, (0, 32_000), "element32000", "octetArray", ""),
        (V9, (0, 40_001), "xlateSrcAddrIpv4", "ipv4Address", ""),
        (V9, (0, 56_702), "panUserId", "string", ""),
        (V9, (0, 57_590), "L7_PROTO", "unsigned16", ""),
        (V9, (0, 233), "firewallEvent", "unsigned8", ""),
        (V9, (SCOPE_V9, 1), "scopeSystem", "unsigned64", ""),
        (V9, (SCOPE_V9, 77), "scope77", "unsigned64", ""),
    ],
)  # fmt: skip
def test_an_element_has_a_name_a_type_and_a_vendor(
    version: int, element: tuple[int, int], name: str, kind: str, vendor: str
) -> None:
    found = describe(version, element)
    assert (found.name, found.vendor) == (name, vendor)
    if kind.startswith("unsigned"):
        assert found.kind.startswith("unsigned")
    else:
        assert found.kind == kind


def test_every_element_that_the_decoder_reads_has_a_name() -> None:
    for table in (FIRST, LAST):
        for elements in table.values():
            for element in elements:
                version = V9 if element[1] > 32_767 else IPFIX
                assert not describe(version, element).name.startswith("element"), element


@pytest.mark.parametrize(
    ("kind", "octets", "value"),
    [
        ("unsigned64", b"\1\0", 256),
        ("signed32", b"\xff\xff", -1),
        ("float64", struct.pack(">f", 0.5), 0.5),
        ("float64", struct.pack(">d", 0.25), 0.25),
        ("boolean", b"\1", True),
        ("boolean", b"\2", False),
        ("boolean", b"\3", "03"),
        ("string", b"caf\xc3\xa9\0\0", "café"),
        ("string", b"\xff", "�"),
        ("ipv4Address", b"\x0a\0\0\1", "10.0.0.1"),
        ("ipv4Address", b"\x0a\0", "0a00"),
        ("ipv6Address", bytes(15) + b"\1", "::1"),
        ("macAddress", bytes(range(6)), "00:01:02:03:04:05"),
        ("dateTimeSeconds", struct.pack(">I", 1_700_000_000), "2023-11-14T22:13:20.000Z"),
        ("dateTimeMilliseconds", struct.pack(">Q", 1_700_000_000_123), "2023-11-14T22:13:20.123Z"),
        ("dateTimeMicroseconds", struct.pack(">II", 3_908_988_800, 1 << 31),
         "2023-11-14T22:13:20.500Z"),
        ("dateTimeMilliseconds", b"\xff" * 8, str(0xFFFF_FFFF_FFFF_FFFF * 1000)),
        ("octetArray", b"\1\2", "0102"),
        ("unsigned256", b"\1" * 32, "01" * 32),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_its_type_says(kind: str, octets: bytes, value: object) -> None:
    assert value_of(kind, octets) == value


def test_records_of_v5_have_names_too() -> None:
    (record,) = _read(x.v5([x.v5_record("10.0.0.1", "192.0.2.9", 900)]))
    values = _values(record)
    assert values["sourceIPv4Address"] == "10.0.0.1"
    assert values["octetDeltaCount"] == 900
    assert "paddingOctets" not in values


INNER: tuple[x.Field, ...] = ((8, 4), (1, 4))
INNER_RECORD = x.record(INNER, (x.v4("10.0.0.7"), 50))


def _outer(element: int, content: bytes) -> tuple[bytes, bytes]:
    outer: tuple[x.Field, ...] = ((12, 4), (element, 0xFFFF))
    record = x.record(outer, (x.v4("192.0.2.9"), content))
    templates = [x.template(300, INNER, version=10), x.template(256, outer, version=10)]
    return x.ipfix(templates), x.ipfix([x.data(256, [record])])


def _list(element: int, content: bytes) -> Any:
    (record,) = _read(*_outer(element, content))
    return record.fields[1].value


def test_a_basic_list_holds_values_of_one_element() -> None:
    ports = struct.pack(">HHHH", 11, 2, 443, 80)
    assert _list(291, b"\0" + ports) == {
        "semantic": "noneOf", "element": "destinationTransportPort", "values": [443, 80],
    }  # fmt: skip
    name = struct.pack(">HHI", 93 | 0x8000, 0xFFFF, 637) + b"\5alice\3bob"
    assert _list(291, b"\4" + name) == {
        "semantic": "ordered", "element": "aluNatSubString", "values": ["alice", "bob"],
    }  # fmt: skip


def test_a_sub_template_list_holds_records() -> None:
    found = _list(292, ALL_OF + struct.pack(">H", 300) + INNER_RECORD * 2)
    one = {"sourceIPv4Address": "10.0.0.7", "octetDeltaCount": 50}
    assert found == {"semantic": "allOf", "lists": [{"template": 300, "records": [one, one]}]}


def test_a_sub_template_multi_list_holds_lists_of_records() -> None:
    part = struct.pack(">HH", 300, 4 + len(INNER_RECORD)) + INNER_RECORD
    stranger = struct.pack(">HH", 999, 6) + b"\1\2"
    found = _list(293, ALL_OF + part + stranger)
    assert [each["template"] for each in found["lists"]] == [300, 999]
    assert found["lists"][1] == {"template": 999, "octets": "0102"}


@pytest.mark.parametrize("element", [291, 292, 293])
@pytest.mark.parametrize(
    "content", [b"", b"\3", b"\3\1", b"\3\1\x2c", b"\3\1\x2c\0\0", b"\xff" * 9, b"\0\0\1\0\0\0\0"]
)
def test_a_list_that_is_cut_or_lies_ends(element: int, content: bytes) -> None:
    assert isinstance(_list(element, content), dict)


def test_lists_in_lists_end_at_the_bound_as_octets() -> None:
    outer: tuple[x.Field, ...] = ((292, 0xFFFF),)
    content = b"\0"
    for _ in range(60):
        inside = bytes([len(content)]) + content if len(content) < 255 else None
        if inside is None:
            inside = b"\xff" + struct.pack(">H", len(content)) + content
        content = ALL_OF + struct.pack(">H", 256) + inside
    sets = [x.template(256, outer, version=10), x.data(256, [x.record(outer, (content,))])]
    (record,) = _read(x.ipfix(sets))
    depth, value = 0, record.fields[0].value
    while isinstance(value, dict):
        depth += 1
        value = value["lists"][0]["records"][0]["subTemplateList"]
    assert depth == 4
    assert bytes.fromhex(value).startswith(ALL_OF)


def test_a_list_full_of_lists_of_one_octet_ends_soon() -> None:
    outer: tuple[x.Field, ...] = ((293, 0xFFFF), (291, 0xFFFF))
    multi = ALL_OF + struct.pack(">HH", 256, 4) * 7_000
    basic = b"\0" + struct.pack(">HH", 4, 0xFFFF) + b"\0" * 30_000
    record = x.record(outer, (multi, basic))
    started = time.process_time()
    assert len(_read(x.ipfix([x.template(256, outer, version=10), x.data(256, [record])]))) == 1
    assert time.process_time() - started < 5


@settings(max_examples=200, deadline=None)
@given(st.integers(291, 293), st.binary(max_size=300))
def test_any_octets_in_a_list_are_survived(element: int, content: bytes) -> None:
    json.dumps(_list(element, content))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([1, 5, 7, 9, 10]))
def test_any_datagram_is_survived(payload: bytes, version: int) -> None:
    _read(struct.pack(">H", version) + payload)


def test_a_list_is_no_volume_and_the_record_around_it_is() -> None:
    content = ALL_OF + struct.pack(">H", 300) + INNER_RECORD * 2
    outer: tuple[x.Field, ...] = ((8, 4), (12, 4), (292, 0xFFFF), (1, 4))
    values = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), content, 900)
    run = Run()
    templates = [x.template(300, INNER, version=10), x.template(256, outer, version=10)]
    run.take(x.block([x.ipfix([*templates, x.data(256, [x.record(outer, values)])])]))
    assert run.counted["octets"] == 900


def test_the_command_shows_records_of_each_template(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    templates, data = _outer(292, ALL_OF + struct.pack(">H", 300) + INNER_RECORD)
    first, second = tmp_path / "data.dat", tmp_path / "templates.dat"
    first.write_bytes(data)
    second.write_bytes(templates)
    assert main([str(first), str(second), "--records", "1"]) == 0
    text = capsys.readouterr().out
    assert "template 256" in text
    assert "  destinationIPv4Address  192.0.2.9\n" in text
    assert '"octetDeltaCount": 50' in text
    assert main([str(first), str(second), "--records", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["fields"][0] == {
        "enterprise": 0, "element": 12, "name": "destinationIPv4Address", "vendor": "",
        "value": "192.0.2.9",
    }  # fmt: skip
    assert main([str(first), str(second), "--records", "0"]) == 0
    assert capsys.readouterr().out == ""


def test_the_corpus_has_names_for_almost_all_that_it_holds() -> None:
    if not corpus_present():
        pytest.skip("the corpus is not there")
    folder = corpus_path("netflow/telegraf/ipfix_example")
    found = list(named_records(_sent(sorted(folder.glob("*.bin"))), 1_000))
    assert len(found) >= 29
    names = {field["name"] for told in found for field in told["fields"]}
    assert {"subTemplateMultiList", "reverseOctetTotalCount", "CERT:flowAttributes"} <= names
    assert not any(name.startswith("element") for name in names)
    nokia = corpus_path("netflow/logstash/ipfix_test_nokia_bras_tpl.dat").parent
    paths = sorted(nokia.glob("ipfix_test_nokia_bras_*"), reverse=True)
    (bras,) = named_records(_sent(paths), 1)
    values = {field["name"]: field["value"] for field in bras["fields"]}
    assert values["Nokia:aluNatSubString"] == "USER1@10.10.0.123"
    assert values["Nokia:aluInsideServiceId"] == 100
