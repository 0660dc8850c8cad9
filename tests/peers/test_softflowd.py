"""softflowd exports captures to our receiver: what Flowrate rates is what softflowd saw, octet by
octet, in NetFlow v1, v5, v9 and IPFIX, the last over UDP and over TCP.

Three counts are held against each other: the IP packets in the capture, softflowd's own
statistics, and rated usage with its counters, per subscriber and in sum.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from pathlib import Path

import pytest

from tests.corpus import corpus_path
from tests.peers.peer_metering import Line, Rated, now_ms, rate, receiving
from tests.peers.peer_softflowd import Export, export_capture
from tests.peers.peer_traffic import Address, Packet, moved_by, read_packets, write_traffic

VERSIONS = {"v1": 1, "v5": 5, "v9": 9, "ipfix": 10}
FOR_IPV4 = ("v1", "v5")
"""Versions without IPv6: softflowd leaves it out."""
CAPTURES = ("netflow/pmacct", "radius/tcpdump")
OVER_TCP = ("-P", "tcp")
LINES = 400
SAMPLING_RATE = 8


def export_all(directory: Path, captures: list[Path], version: int, *options: str) -> list[Export]:
    """Export each capture by a softflowd of its own, one after another, as after restarts."""
    with receiving(directory) as receiver:
        exports: list[Export] = []
        for capture in captures:
            port = receiver.tcp_port if OVER_TCP in (options, options[:2]) else receiver.port
            exports.append(export_capture(capture, port, version, *options))
            receiver.wait_for(sum(export.datagrams for export in exports))
    return exports


def line_of(address: Address) -> Line:
    """Return the line of an address: every second one shares a rating key with its neighbour."""
    bits = 8 * len(address.packed)
    return Line(f"line-{address}", f"{address}/{bits}", f"key-{int(address) // 2}")


def check_rated(rated: Rated, packets: list[Packet], own: list[Address]) -> int:
    """Compare rated usage with the packets, line by line; return all octets rated."""
    moved = moved_by(packets, own)
    expected_up = {line_of(a).subscriber_id: octets for a, octets in moved.up.items()}
    expected_down = {line_of(a).subscriber_id: octets for a, octets in moved.down.items()}
    assert {who: octets for who, octets in rated.up.items() if octets} == expected_up
    assert {who: octets for who, octets in rated.down.items() if octets} == expected_down
    by_key: Counter[str] = Counter()
    for address in own:
        by_key[line_of(address).rating_key] += moved.up[address] + moved.down[address]
    assert rated.counters == by_key
    return sum(rated.up.values()) + sum(rated.down.values())


def own_lines() -> list[Address]:
    """Return the generated network's addresses: IPv4 and IPv6."""
    ipv4 = ipaddress.IPv4Address("100.64.0.0")
    ipv6 = ipaddress.IPv6Address("2001:db8:64::")
    half = LINES // 2
    return [*(ipv4 + n for n in range(half)), *(ipv6 + (n << 64) for n in range(half))]


def generated(directory: Path) -> tuple[Path, list[Packet], tuple[int, int]]:
    """Write two minutes of traffic up to now; return capture, packets and the minutes it is in."""
    until = now_ms() - 5_000
    begin = until - 120_000
    capture = directory / "generated.pcap"
    write_traffic(capture, own_lines(), seed=5, from_ms=begin, until_ms=until)
    return capture, read_packets(capture), (begin // 60_000, until // 60_000)


def rate_generated(directory: Path) -> Rated:
    lines = [line_of(address) for address in own_lines()]
    return rate(directory, lines, ["100.64.0.0/10", "2001:db8:64::/48"])


@pytest.mark.parametrize("version", sorted(VERSIONS))
def test_generated_traffic_is_rated_to_the_octet(tmp_path: Path, version: str) -> None:
    capture, packets, minutes = generated(tmp_path)
    if version in FOR_IPV4:
        packets = [packet for packet in packets if packet.source.version == 4]
    (export,) = export_all(tmp_path, [capture], VERSIONS[version])
    rated = rate_generated(tmp_path)
    assert (export.octets, export.packets) == (sum(p.octets for p in packets), len(packets))
    assert check_rated(rated, packets, own_lines()) == export.octets
    assert rated.counts["decode_flows"] == export.records
    assert "decode_lost" not in rated.counts
    # The exporter's uptime and times are understood: nothing is laid where it was not.
    assert minutes[0] <= rated.minutes[0] < rated.minutes[1] <= minutes[1]


def test_ipfix_over_tcp_is_rated_to_the_octet(tmp_path: Path) -> None:
    capture, packets, minutes = generated(tmp_path)
    (export,) = export_all(tmp_path, [capture], 10, *OVER_TCP)
    rated = rate_generated(tmp_path)
    assert (export.octets, export.packets) == (sum(p.octets for p in packets), len(packets))
    assert check_rated(rated, packets, own_lines()) == export.octets
    assert rated.counts["decode_flows"] == export.records
    assert rated.counts["decode_connections_ended"] == 1
    assert "decode_lost" not in rated.counts
    assert minutes[0] <= rated.minutes[0] < rated.minutes[1] <= minutes[1]


def test_an_exporter_that_reconnects_over_tcp_loses_nothing(tmp_path: Path) -> None:
    captures = [path for folder in CAPTURES for path in sorted(corpus_path(folder).rglob("*.pcap"))]
    packets = [packet for capture in captures for packet in read_packets(capture)]
    own = sorted({packet.source for packet in packets}, key=str)
    exports = export_all(tmp_path, captures, 10, *OVER_TCP)
    lines = [line_of(address) for address in own]
    rated = rate(tmp_path, lines, [line.prefix for line in lines])
    check_rated(rated, packets, own)
    assert sum(rated.up.values()) == sum(export.octets for export in exports)
    assert rated.counts["decode_connections_ended"] == sum(e.datagrams > 0 for e in exports)
    assert "decode_lost" not in rated.counts


def test_both_directions_in_one_ipfix_record_are_rated(tmp_path: Path) -> None:
    capture, packets, _ = generated(tmp_path)
    (export,) = export_all(tmp_path, [capture], 10, "-b")  # RFC 5103
    rated = rate_generated(tmp_path)
    assert check_rated(rated, packets, own_lines()) == export.octets
    assert rated.counts["decode_flows"] == export.records


@pytest.mark.parametrize("version", sorted(VERSIONS.keys() - {"v1"}))  # It tells no rate.
def test_sampled_traffic_is_rated_at_what_the_sample_stands_for(
    tmp_path: Path, version: str
) -> None:
    capture, _, _ = generated(tmp_path)
    (export,) = export_all(tmp_path, [capture], VERSIONS[version], "-s", str(SAMPLING_RATE))
    rated = rate_generated(tmp_path)
    assert sum(rated.counters.values()) == SAMPLING_RATE * export.octets
    assert "decode_flows_rate_unknown" not in rated.counts


@pytest.mark.parametrize("version", sorted(VERSIONS))
def test_the_corpus_as_traffic_is_rated_to_the_octet(tmp_path: Path, version: str) -> None:
    captures = [path for folder in CAPTURES for path in sorted(corpus_path(folder).rglob("*.pcap"))]
    assert captures
    packets = [packet for capture in captures for packet in read_packets(capture)]
    if version in FOR_IPV4:
        packets = [packet for packet in packets if packet.source.version == 4]
    # Every source is a line: so each packet is counted up once, and down where both ends are own.
    own = sorted({packet.source for packet in packets}, key=str)
    exports = export_all(tmp_path, captures, VERSIONS[version])
    lines = [line_of(address) for address in own]
    rated = rate(tmp_path, lines, [line.prefix for line in lines])
    octets = sum(export.octets for export in exports)
    assert octets == sum(packet.octets for packet in packets)
    check_rated(rated, packets, own)
    assert sum(rated.up.values()) == octets
