"""`flowrate inspect flows`: the JSON's shape, the table, and what it says of hostile files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.inspect_flows import SUMS, inspect, main
from tests.collectors.netflow import exports as x
from tests.collectors.sflow import agents as a
from tests.collectors.test_captures import MACS, pcap, udp, v4


def _capture(path: Path, payloads: list[bytes]) -> Path:
    path.write_bytes(pcap([MACS + b"\x08\x00" + v4(udp(payload)) for payload in payloads]))
    return path


FLOW = x.basic("10.0.0.1", "192.0.2.9", 900, 3)


def test_the_shape_of_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    template, data = x.v9([x.template(256, x.BASIC)]), x.v9([x.data(256, [FLOW])], sequence=5)
    first = _capture(tmp_path / "a.pcap", [template])
    second = _capture(tmp_path / "b.pcap", [data, data, b"\0\x09cut"])
    assert main([str(first), str(second), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report) == ["exporters", "totals"]
    decoded = next(e for e in report["exporters"] if e["protocol"] == "netflow9")
    assert decoded == {
        "exporter": "192.0.2.1",
        "source_port": 50_000,
        "protocol": "netflow9",
        "observation_domain": 0,
        "clock_skew_ms": -123,
        "datagrams": 3,
        "templates": 1,
        "data_records": 1,
        "option_records": 0,
        "flows": 1,
        "octets_exported": 900,
        "octets_scaled": 900,
        "packets_exported": 3,
        "packets_scaled": 3,
        "octets_reverse": 0,
        "octets_counted": 900,
        "repeated": 0,
        "held": 0,
        "lost": 4,
        "clock_corrected": 0,
        "refused": {"duplicate": 1},
    }
    assert set(report["totals"]) == {*SUMS, "samples", "refused"}
    assert report["totals"]["refused"] == {"duplicate": 1, "header_truncated": 1}


def test_the_order_of_files_is_the_order_of_decoding_and_data_waits(tmp_path: Path) -> None:
    data, template = tmp_path / "data.dat", tmp_path / "template.dat"
    data.write_bytes(x.v9([x.data(256, [FLOW])]))
    template.write_bytes(x.v9([x.template(256, x.BASIC)], sequence=1))
    assert inspect([data])["totals"]["held"] == 1
    assert inspect([data, template])["totals"]["octets_exported"] == 900


def test_a_clock_that_is_an_hour_behind_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    payload = bytearray(x.v9([x.template(256, x.BASIC), x.data(256, [FLOW])]))
    payload[8:12] = (x.EXPORTED_AT - 3_600).to_bytes(4, "big")
    path = _capture(tmp_path / "a.pcap", [bytes(payload)])
    (exporter,) = inspect([path])["exporters"]
    assert (exporter["clock_skew_ms"], exporter["clock_corrected"]) == (-3_600_123, 1)
    assert main([str(path)]) == 0
    assert "clock: 192.0.2.1 is 3,600.1 s behind" in capsys.readouterr().out


def test_a_stream_of_messages(tmp_path: Path) -> None:
    path = tmp_path / "flows.ipfix"
    template = x.template(256, x.BASIC, version=10)
    path.write_bytes(x.ipfix([template]) + x.ipfix([x.data(256, [FLOW, FLOW])]))
    totals = inspect([path])["totals"]
    assert (totals["datagrams"], totals["octets_exported"]) == (2, 1_800)


def test_the_port_chooses(tmp_path: Path) -> None:
    path = _capture(tmp_path / "a.pcap", [x.v9([x.template(256, x.BASIC)]), b"other"])
    assert inspect([path])["totals"]["datagrams"] == 1
    assert inspect([path], port=2055)["totals"]["refused"] == {"unknown_version": 1}
    assert inspect([path], port=9)["totals"]["datagrams"] == 0


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [x.template(256, x.BASIC), x.data(256, [FLOW])]
    path = _capture(tmp_path / "a.pcap", [x.v9(sets), x.v9([x.one_set(77, b"")], sequence=1)])
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["exporter", "port", "protocol", "domain"]
    assert lines[1].split()[:3] == ["192.0.2.1", "50000", "netflow9"]
    assert lines[2].startswith("total")
    assert lines[3] == "refused: set_id_reserved: 1"


def test_an_sflow_agent_has_samples_and_interfaces_and_the_last_counters_stand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = a.ethernet(0x0800, a.ipv4("10.0.0.1", "192.0.2.9", a.ports(1, 2)))
    sample = a.flow_sample([a.header(frame)])
    payloads = [
        a.datagram(
            [
                sample,
                a.counter_sample([a.generic_counters(3, octets, 7)]),
                a.counter_sample([a.generic_counters(4, 2**64 - 1, 0, status=1)], is_expanded=True),
            ],
            sequence=number,
        )
        for number, octets in ((1, 1_000), (2, 5_000))
    ]
    path = _capture(
        tmp_path / "a.pcap", [*payloads, x.v5([x.v5_record("10.0.0.1", "10.0.0.2", 9)])]
    )
    assert main([str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    by_protocol = {e["protocol"]: e for e in report["exporters"]}
    assert "samples" not in by_protocol["netflow5"]
    agent = by_protocol["sflow5"]
    assert agent["exporter"] == "198.51.100.7"
    assert (agent["flows"], agent["octets_exported"], agent["octets_scaled"]) == (2, 240, 240_000)
    assert agent["samples"] == report["totals"]["samples"]
    assert (agent["samples"]["flow_samples"], agent["samples"]["counter_samples"]) == (2, 4)
    assert [
        (i["index"], i["octets_in"], i["octets_out"], i["is_running"]) for i in agent["interfaces"]
    ] == [(3, 5_000, 7, True), (4, None, 0, False)]
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "sFlow: counter samples: 4" in lines
    assert "sFlow: 198.51.100.7: interface 3, up, 1,000 Mbit/s, octets in 5,000 and out 7" in lines
    assert "sFlow: 198.51.100.7: interface 4, down, 1,000 Mbit/s, octets in ? and out 0" in lines


def test_the_first_packets_of_each_sflow_agent_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    payloads = [
        a.datagram(
            [
                a.flow_sample(
                    [
                        a.header(a.ethernet(0x0800, a.ipv4(f"10.0.0.{host}", "192.0.2.9", body))),
                        a.nat("198.18.0.1", "192.0.2.9"),
                    ],
                    rate=64,
                )
                for host, body in ((1, a.ports(7, 53)), (2, a.ports(8, 53)))
            ],
            agent=agent,
        )
        for agent in ("198.51.100.7", "2001:db8::7")
    ]
    path = _capture(tmp_path / "a.pcap", payloads)
    assert main([str(path), "--records", "1", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(t["exporter"], t["sub_agent"]) for t in told] == [
        ("198.51.100.7", 0), ("2001:db8::7", 0),
    ]  # fmt: skip
    assert told[0]["packet"] == {
        "source": "10.0.0.1", "destination": "192.0.2.9", "octets": 120, "protocol": 17,
        "source_port": 7, "destination_port": 53, "dscp": 0, "direction": 0, "source_as": 0,
        "destination_as": 0, "nat_source": "198.18.0.1", "nat_destination": "192.0.2.9",
        "sampling_rate": 64, "rate_known": True,
    }  # fmt: skip
    assert main([str(path), "--records", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("packet sampled by 2001:db8::7, sub-agent 0") == 2
    assert "  source            10.0.0.2" in lines


def test_a_file_that_is_not_there_and_one_that_is_rubbish(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "absent")]) == 1
    assert "absent" in capsys.readouterr().err
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"GIF89a" + bytes(100))
    assert main([str(rubbish)]) == 0
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    assert inspect([empty])["totals"]["refused"] == {"header_truncated": 1}
