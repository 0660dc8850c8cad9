"""Every RADIUS capture, vector and dictionary of the corpus, as its sources decode it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from collectors.radius.attributes import ATTRIBUTES, decode_prefix6
from collectors.radius.dictionary import read_dictionary
from collectors.radius.packet import decode_attributes, decode_packet
from collectors.radius.vendors import (
    VendorAttribute,
    decode_extended,
    decode_vendor,
    encode_vendor,
)
from infra.inspect_radius import inspect, main
from tests.corpus import ROOT, corpus_path


def expected() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(corpus_path("radius/expected.json").read_text())
    return found


def names(key: str) -> list[str]:
    """Case names for parametrising; without a corpus one that skips or fails when it runs."""
    path = ROOT / "radius/expected.json"
    if not path.exists():
        return ["absent"]
    listed = json.loads(path.read_text())[key]
    return [case["file"] if isinstance(case, dict) else case for case in listed]


def shown(packet: dict[str, Any]) -> dict[str, Any]:
    """What the corpus and `inspect` both say of a packet."""
    attributes = [(a["type"], a["value"]) for a in packet["attributes"]]
    keys = ("code", "name", "identifier", "length", "authenticator", "valid")
    return {**{key: packet[key] for key in keys}, "attributes": attributes}


@pytest.mark.parametrize("name", names("pcaps"))
def test_a_capture_holds_what_its_source_says(name: str, tmp_path: Path) -> None:
    cases = {case["file"]: case for case in expected()["pcaps"]}
    path = corpus_path(f"radius/{name}")
    wanted = cases[name]["packets"]
    report = inspect([path])
    if "payload" in wanted[0]:
        # The capture has only the first fragment of an IP packet, which is no datagram yet; its
        # payload goes to the decoder as a raw file.
        assert report["totals"]["skipped"] == {"frame_cut": 1}
        raw = tmp_path / "payload.bin"
        raw.write_bytes(bytes.fromhex(wanted[0]["payload"]))
        (found,) = inspect([raw])["packets"]
        assert shown(found) == shown(wanted[0])
        assert found["reason"] == "length_field_too_large"
        return
    assert [shown(packet) for packet in report["packets"]] == [shown(packet) for packet in wanted]
    for found, packet in zip(report["packets"], wanted, strict=True):
        assert found["source"] == packet["source"]
        assert str(found["destination_port"]) == packet["destination"].rpartition(":")[2]
    refused = [packet for packet in wanted if not packet["valid"]]
    assert sum(report["totals"]["refused"].values()) == len(refused)
    assert report["totals"]["packets"] == len(wanted)


def vectors(name: str, operation: str) -> list[dict[str, Any]]:
    found = json.loads(corpus_path(f"radius/freeradius-vectors/{name}.json").read_text())
    return [vector for vector in found["vectors"] if vector["op"] == operation]


@pytest.mark.parametrize(
    "name",
    [Path(n).stem for n in names("vectors") if Path(n).stem.startswith("packet_")] or ["absent"],
)
def test_a_packet_vector_decodes_as_a_raw_file(name: str, tmp_path: Path) -> None:
    found = vectors(name, "decode-proto")
    assert found
    raw = tmp_path / "packets.bin"
    raw.write_bytes(b"".join(bytes.fromhex(vector["hex"]) for vector in found))
    report = inspect([raw])["packets"]
    assert len(report) == len(found)
    for packet, vector in zip(report, found, strict=True):
        assert packet["valid"]
        assert f"Packet-Type = ::{packet['name']}," in vector["expect"]
        assert f"Packet-Authentication-Vector = 0x{packet['authenticator']}" in vector["expect"]
        for attribute in packet["attributes"]:
            if attribute["name"] in ("User-Password", "Ingress-Filters"):
                continue  # A secret, and names of values that we do not keep.
            says = attribute["text"]
            if attribute["name"] == "Framed-IPv6-Prefix" and says.startswith("0x"):
                attribute["name"] = "raw.Framed-IPv6-Prefix"
            if attribute["name"] in ("User-Name", "Egress-VLAN-Name"):
                says = f'"{says}"'
            if attribute["name"] == "Error-Cause" and not says.isdecimal():
                says = f"::{says}"
            assert f"{attribute['name']} = {says}" in vector["expect"]


def test_prefix_vectors() -> None:
    for vector in vectors("packet_rfc3162", "decode-pair"):
        ((_, value),), fault = decode_attributes(bytes.fromhex(vector["hex"]))
        assert fault == ""
        is_raw = vector["expect"].startswith("raw.")
        assert (decode_prefix6(value) is None) == is_raw, vector


LENGTH_BELOW_TWO = "010100"
"""FreeRADIUS names this fault differently alone and inside a packet; we say the same for both."""


def test_malformed_vectors_are_refused_for_their_reason() -> None:
    packets, pairs = vectors("errors", "decode-proto"), vectors("errors", "decode-pair")
    assert len(packets) + len(pairs) == 23
    for vector in packets:
        assert decode_packet(bytes.fromhex(vector["hex"])).fault == vector["reason"], vector
    for vector in pairs:
        wanted = "attribute_length_lt_2" if vector["hex"] == LENGTH_BELOW_TWO else vector["reason"]
        assert decode_attributes(bytes.fromhex(vector["hex"]))[1] == wanted, vector


VENDOR_VALUES: dict[str, list[tuple[int, int, str]] | None] = {
    "1a0d00001fe400020007666f6f": [(8164, 2, "666f6f")],
    "1a0e000001ad0000bfbe000004d2": [(429, 0xBFBE, "000004d2")],
    "1a1500004e20010f6c6974686961737072696e6773": [(20000, 1, "6c6974686961737072696e6773")],
    "1a0c0000002b0106000000001a260000002b3c203135352e342e31322e313030"
    "2030303a30303a30303a30303a30303a3030": [
        (43, 1, "00000000"),
        (43, 60, "3135352e342e31322e3130302030303a30303a30303a30303a30303a3030"),
    ],
    "1a2e0000002b1c020106000000003c203135352e342e31322e313030"
    "2030303a30303a30303a30303a30303a3030": [
        (43, 28, ""),
        (43, 1, "00000000"),
        (43, 60, "3135352e342e31322e3130302030303a30303a30303a30303a30303a3030"),
    ],
    "1a2c0000002b0106000000003c203135352e342e31322e3130302030303a30303a30303a30303a30303a3030": [
        (43, 1, "00000000"),
        (43, 60, "3135352e342e31322e3130302030303a30303a30303a30303a30303a3030"),
    ],
    "1a0900000009abcdef": None,
    "1a1a0000130a3a14962ae3cfd7914334981eae38b732f78c599c": [
        (4874, 58, "962ae3cfd7914334981eae38b732f78c599c")
    ],
    "1a12000080000105abcdef02076161616161": [(32768, 1, "abcdef"), (32768, 2, "6161616161")],
    "1a3a0000013701347878787878787878787878787878787878787878787878787878787878787878787878"
    "787878787878787878787878787858": [(311, 1, "78" * 49 + "58")],
    "1a3900000137013378787878787878787878787878787878787878787878787878787878787878787878"
    "787878787878787878787878787878": [(311, 1, "78" * 49)],
    "1a0b00001a990105abcdef": [(6809, 1, "abcdef")],
    "1a0d00001a9901070205abcdef": [(6809, 1, "0205abcdef")],
    "1a0f00001a99010902070305abcdef": [(6809, 1, "02070305abcdef")],
    "f10b1a0000197f26abcdef": [(6527, 38, "abcdef")],
    "1a0b00000137c805abcdef": [(311, 200, "abcdef")],
}
"""Vector -> vendor, number, value of what is in it; None where it is opaque.

Values that FreeRADIUS decrypts stay as sent, and what it takes for attributes inside an attribute
stays one value.
"""


def test_vendor_vectors() -> None:
    decoded = vectors("vendor", "decode-pair")
    assert len(decoded) == 17
    for vector in decoded:
        attributes, fault = decode_attributes(bytes.fromhex(vector["hex"]))
        assert fault == ""
        found: list[VendorAttribute] | None = []
        for attribute_type, value in attributes:
            inner = decode_vendor(value) if attribute_type == 26 else [_extended(value)]
            found = None if inner is None or found is None else [*found, *inner]
        if vector["hex"].startswith("1ad8000039e7"):  # Aruba, one long encrypted value.
            assert found is not None
            assert [(a.vendor, a.number, len(a.value)) for a in found] == [(14823, 66, 208)]
            continue
        wanted = VENDOR_VALUES[vector["hex"]]
        inside = None
        if found is not None:
            inside = [(each.vendor, each.number, each.value.hex()) for each in found]
        assert inside == wanted, vector


def _extended(value: bytes) -> VendorAttribute:
    found = decode_extended(value)
    assert found is not None
    return found


def test_vendor_vectors_encode_to_the_same_octets() -> None:
    encoded = 0
    for vector in vectors("vendor", "encode-pair"):
        attributes, _ = decode_attributes(bytes.fromhex(vector["hex"]))
        for attribute_type, value in attributes:
            inner = decode_vendor(value) if attribute_type == 26 else None
            if inner:
                pairs = [(each.number, each.value) for each in inner]
                assert encode_vendor(inner[0].vendor, pairs) == (26, value), vector
                encoded += 1
    assert encoded >= 15


@pytest.mark.parametrize("name", names("dictionaries"))
def test_a_dictionary_is_read_whole_and_agrees_with_our_names(name: str) -> None:
    lines = corpus_path(f"radius/dictionaries/dictionary.{name}").read_text().splitlines()
    found = read_dictionary(lines)
    wanted = expected()["dictionaries"][name]
    assert len(found.attributes) == wanted["attributes"]
    assert len(found.values) == wanted["values"]
    for (vendor, number), kind in found.kinds().items():
        if vendor:
            continue
        ours = ATTRIBUTES[number]
        assert ours.name == kind.name
        assert kind.kind in (ours.kind, "octets") or kind.name == "Extended-Location-Policy-Rules"
        if ours.values:
            assert kind.values.items() <= {**ours.values, 3: kind.values.get(3)}.items()


def test_the_command_prints_json_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(corpus_path("radius/tcpdump/RADIUS-RFC4675.pcap"))
    assert main([path, "--json", "--secret", "testing123"]) == 0
    report = json.loads(capsys.readouterr().out)
    # Three requests with Message-Authenticator and their answers, all made with that secret.
    assert [packet["authentic"] for packet in report["packets"]] == [True] * 6
    assert report["totals"]["codes"] == {"Access-Accept": 3, "Access-Request": 3}
    assert main([path, "--secret", "guess"]) == 0
    assert "refused: message_authenticator_wrong: 3" in capsys.readouterr().out
    assert main([f"{path}.absent"]) == 1
    assert "absent" in capsys.readouterr().err
