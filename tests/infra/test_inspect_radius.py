"""`flowrate inspect radius` on files that need no corpus."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from collectors.radius.accounting import unique_session_id
from collectors.radius.packet import decode_packet, sign_response
from collectors.radius.vendors import encode_vendor
from infra.inspect_radius import inspect, main, split_packets
from tests.collectors.radius.packets import SECRET, integer, request

ASKED = request(integer(42, 7), encode_vendor(32473, [(10, b"\0\0\1\0")]))
ANSWER = sign_response(5, decode_packet(ASKED), [], SECRET)


def test_a_raw_file_may_hold_several_packets(tmp_path: Path) -> None:
    raw = tmp_path / "packets.bin"
    raw.write_bytes(ASKED + ANSWER)
    report = inspect([raw], secret="testing123")
    assert [p["name"] for p in report["packets"]] == ["Accounting-Request", "Accounting-Response"]
    assert [p["authentic"] for p in report["packets"]] == [True, True]
    asked, answer = report["packets"]
    assert asked["unique_session_id"] == unique_session_id(decode_packet(ASKED))
    assert "unique_session_id" not in answer


def test_an_answer_to_another_request_is_not_authentic(tmp_path: Path) -> None:
    raw = tmp_path / "packets.bin"
    raw.write_bytes(request(integer(42, 8)) + ANSWER)
    _, answer = inspect([raw], secret="testing123")["packets"]
    assert (answer["authentic"], answer["reason"]) == (False, "wrong_secret")


def test_without_a_secret_nothing_is_called_authentic(tmp_path: Path) -> None:
    raw = tmp_path / "packet.bin"
    raw.write_bytes(ASKED)
    (packet,) = inspect([raw])["packets"]
    assert (packet["valid"], packet["authentic"], packet["reason"]) == (True, None, "")


@pytest.mark.parametrize("tail", [b"", b"\x04", ASKED[:19], b"\x04\x01\x00\x05" + bytes(30)])
def test_what_is_no_series_of_packets_is_one(tail: bytes) -> None:
    assert split_packets(ASKED + tail) == ([ASKED] if not tail else [ASKED + tail])


def test_a_dictionary_names_a_vendors_attribute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, names = tmp_path / "packet.bin", tmp_path / "dictionary.example"
    raw.write_bytes(ASKED)
    names.write_text(
        "VENDOR Example 32473\nBEGIN-VENDOR Example\nATTRIBUTE Example-Rate 10 integer\n"
    )
    assert main([str(raw), "--dictionary", str(names)]) == 0
    assert "Example-Rate = 256" in capsys.readouterr().out
    assert main([str(raw)]) == 0
    assert "Vendor-32473-Attribute-10 = 0x00000100" in capsys.readouterr().out


def test_a_bad_dictionary_or_file_is_an_error_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, names = tmp_path / "packet.bin", tmp_path / "dictionary.example"
    raw.write_bytes(ASKED)
    names.write_text("ATTRIBUTE cut\n")
    assert main([str(raw), "--dictionary", str(names)]) == 1
    assert "line 1" in capsys.readouterr().err
    assert main([str(tmp_path / "absent")]) == 1
    assert "absent" in capsys.readouterr().err


def test_any_file_can_be_inspected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(7)
    raw = tmp_path / "noise.bin"
    for size in (0, 1, 3, 19, 20, 21, 100, 5_000):
        raw.write_bytes(chance.randbytes(size))
        assert main([str(raw), "--json", "--secret", "x"]) == 0
        assert json.loads(capsys.readouterr().out)["totals"]["packets"] >= 1
        assert main([str(raw)]) == 0
        assert "well-formed" in capsys.readouterr().out
