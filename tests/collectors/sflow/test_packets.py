"""Sampled packet headers, layer by layer: which packet is found, and how many octets it has."""

from __future__ import annotations

import pytest

from tests.collectors.sflow import agents as a
from tests.collectors.sflow.sampling import Packet, flows_of, packets_of, sampled

V4 = a.ipv4("10.0.0.1", "203.0.113.9", a.ports(40_000, 443))
V6 = a.ipv6("2001:db8::1", "2001:db8:9::2", a.ports(40_000, 443))
PACKET_V4 = Packet("10.0.0.1", "203.0.113.9", 120, 17, 40_000, 443)
PACKET_V6 = Packet("2001:db8::1", "2001:db8:9::2", 140, 17, 40_000, 443)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (a.header(a.ethernet(0x0800, V4)), PACKET_V4),
        (a.header(a.ethernet(0x86DD, V6)), PACKET_V6),
        (a.header(a.ethernet(0x0800, V4, tags=[(0x8100, 5)])), PACKET_V4),
        (a.header(a.ethernet(0x86DD, V6, tags=[(0x88A8, 5), (0x8100, 6)])), PACKET_V6),
        (a.header(a.ethernet(0x0800, V4, tags=[(0x9100, 5), (0x9100, 6), (0x8100, 7)])), PACKET_V4),
        (a.header(a.ethernet(0x8847, a.labels([16_001], V4))), PACKET_V4),
        (a.header(a.ethernet(0x8848, a.labels([16_001, 24_002, 2], V6))), PACKET_V6),
        (a.header(a.ethernet(0x8864, a.pppoe(0x0021, V4))), PACKET_V4),
        (
            a.header(
                a.ethernet(0x8864, a.pppoe(0x0057, V6), tags=[(0x88A8, 900), (0x8100, 1_001)])
            ),
            PACKET_V6,
        ),
        (a.header(a.ethernet(0x8847, a.labels([3], V4), tags=[(0x8100, 8)])), PACKET_V4),
        (a.header(a.snap(0x0800, V4)), PACKET_V4),
        (a.header(V4, protocol=a.IPV4), PACKET_V4),
        (a.header(V6, protocol=a.IPV6), PACKET_V6),
        (a.header(a.labels([17, 18], V4), protocol=a.MPLS), PACKET_V4),
    ],
    ids=[
        "ethernet_v4",
        "ethernet_v6",
        "vlan",
        "qinq_88a8",
        "three_tags_9100",
        "one_label",
        "three_labels_multicast_type",
        "pppoe_v4",
        "pppoe_v6_in_qinq",
        "vlan_and_label",
        "llc_snap",
        "bare_v4",
        "bare_v6",
        "bare_mpls",
    ],
)
def test_the_ip_packet_is_found_below_any_layers(record: bytes, expected: Packet) -> None:
    run = sampled(record)
    assert packets_of(flows_of(run)) == [expected]
    assert run.totals["packets"] == 1
    assert run.totals["octets_scaled"] == expected.octets * 1_000


def test_padding_of_a_short_frame_is_not_billed() -> None:
    small = a.ipv4("10.0.0.1", "203.0.113.9", b"", protocol=6)
    frame = a.ethernet(0x0800, small + bytes(26))
    assert len(frame) == 60
    assert sampled(a.header(frame)).totals["octets"] == 20


def test_a_header_sampled_from_a_long_frame_counts_the_packets_own_length() -> None:
    packet = a.ipv4("10.0.0.1", "203.0.113.9", a.ports(1, 2, 1_480))
    frame = a.ethernet(0x0800, packet, tags=[(0x8100, 5)])
    record = a.header(frame[:128], frame_octets=len(frame) + 4)
    assert sampled(record).totals["octets"] == 1_500


@pytest.mark.parametrize("tags", [[], [(0x8100, 5)]])
def test_an_offloaded_segment_of_length_0_counts_what_its_frame_holds(
    tags: list[tuple[int, int]],
) -> None:
    packet = a.ipv4("10.0.0.1", "203.0.113.9", a.ports(1, 2, 64_000), protocol=6, total=0)
    frame = a.ethernet(0x0800, packet, tags=tags)
    record = a.header(frame[:128], frame_octets=len(frame) + 4)
    assert packets_of(flows_of(sampled(record))) == [
        Packet("10.0.0.1", "203.0.113.9", 64_020, 6, 1, 2)
    ]


def test_a_tag_that_the_agent_stripped_is_not_in_the_length_of_the_packet() -> None:
    packet = a.ipv4("10.0.0.1", "203.0.113.9", a.ports(1, 2, 64_000), protocol=6, total=0)
    frame = a.ethernet(0x0800, packet)
    # FCS and one VLAN tag: both are in frame_length and in stripped (sFlow v5 §5).
    record = a.header(frame[:128], frame_octets=len(frame) + 8, stripped=8)
    assert sampled(record).totals["octets"] == 64_020


def test_a_jumbogram_counts_what_its_frame_holds() -> None:
    body = a.extension(17) + a.ports(1, 2, 70_000)
    packet = a.ipv6("2001:db8::1", "2001:db8:9::2", body, following=0, length=0)
    frame = a.ethernet(0x86DD, packet)
    record = a.header(frame[:128], frame_octets=len(frame) + 4)
    assert packets_of(flows_of(sampled(record))) == [
        Packet("2001:db8::1", "2001:db8:9::2", 40 + 8 + 70_000, 17, 1, 2)
    ]


def test_an_ipv6_packet_with_nothing_in_it_has_40_octets() -> None:
    packet = a.ipv6("2001:db8::1", "2001:db8:9::2", following=59)
    frame = a.ethernet(0x86DD, packet + bytes(6))
    assert sampled(a.header(frame)).totals["octets"] == 40


def test_ports_lie_behind_ipv4_options() -> None:
    packet = a.ipv4("10.0.0.1", "203.0.113.9", a.ports(7, 8), options=bytes(12))
    found = packets_of(flows_of(sampled(a.header(a.ethernet(0x0800, packet)))))
    assert found == [Packet("10.0.0.1", "203.0.113.9", 132, 17, 7, 8)]


def test_only_the_first_fragment_has_ports() -> None:
    first = a.ipv4("10.0.0.1", "203.0.113.9", a.ports(7, 8), fragment=0x2000)
    later = a.ipv4("10.0.0.1", "203.0.113.9", a.ports(7, 8), fragment=0x2000 | 13)
    found = [
        packets_of(flows_of(sampled(a.header(a.ethernet(0x0800, packet)))))[0]
        for packet in (first, later)
    ]
    assert found[0] == Packet("10.0.0.1", "203.0.113.9", 120, 17, 7, 8)
    assert found[1] == Packet("10.0.0.1", "203.0.113.9", 120, 17, 0, 0)


def test_only_the_first_ipv6_fragment_has_ports() -> None:
    for offset, ports in ((0, (7, 8)), (8, (0, 0))):
        fragment = bytes([17, 0]) + (offset | 1).to_bytes(2, "big") + bytes(4)
        packet = a.ipv6("2001:db8::1", "2001:db8::2", fragment + a.ports(7, 8), following=44)
        found = packets_of(flows_of(sampled(a.header(a.ethernet(0x86DD, packet)))))
        assert found == [Packet("2001:db8::1", "2001:db8::2", 148, 17, *ports)]


def test_ipv6_extension_headers_are_walked_to_the_ports() -> None:
    authentication = bytes([17, 4]) + bytes(22)
    body = a.extension(43) + a.extension(60, 24) + a.extension(51) + authentication
    packet = a.ipv6("2001:db8::1", "2001:db8::2", body + a.ports(7, 8), following=0)
    found = packets_of(flows_of(sampled(a.header(a.ethernet(0x86DD, packet)))))
    assert found == [Packet("2001:db8::1", "2001:db8::2", 40 + len(body) + 100, 17, 7, 8)]


def test_an_endless_chain_of_extension_headers_ends() -> None:
    packet = a.ipv6("2001:db8::1", "2001:db8::2", a.extension(60) * 100, following=60)
    found = packets_of(flows_of(sampled(a.header(a.ethernet(0x86DD, packet)))))
    assert found == [Packet("2001:db8::1", "2001:db8::2", 840, 60, 0, 0)]


def test_ports_of_a_protocol_without_ports_are_0() -> None:
    packet = a.ipv4("10.0.0.1", "203.0.113.9", a.ports(7, 8), protocol=50)
    found = packets_of(flows_of(sampled(a.header(a.ethernet(0x0800, packet)))))
    assert found == [Packet("10.0.0.1", "203.0.113.9", 120, 50, 0, 0)]


def test_ports_that_were_not_sampled_are_0_and_the_packet_counts() -> None:
    frame = a.ethernet(0x0800, V4)[: 14 + 22]
    found = packets_of(flows_of(sampled(a.header(frame, frame_octets=138))))
    assert found == [Packet("10.0.0.1", "203.0.113.9", 120, 17, 0, 0)]


def test_a_tunnel_counts_as_its_outer_packet() -> None:
    inner = a.ipv4("192.168.0.1", "192.168.0.2", a.ports(7, 8))
    gre = a.ipv4("10.0.0.1", "203.0.113.9", bytes.fromhex("00000800") + inner, protocol=47)
    found = packets_of(flows_of(sampled(a.header(a.ethernet(0x0800, gre)))))
    assert found == [Packet("10.0.0.1", "203.0.113.9", len(gre), 47, 0, 0)]


def test_the_type_of_service_is_the_whole_octet_of_both_families() -> None:
    v4 = a.ipv4("10.0.0.1", "203.0.113.9", a.ports(1, 2), tos=0xB9)
    v6 = a.ipv6("2001:db8::1", "2001:db8::2", a.ports(1, 2), traffic_class=0xB9)
    for ether_type, packet in ((0x0800, v4), (0x86DD, v6)):
        assert flows_of(sampled(a.header(a.ethernet(ether_type, packet)))).tos.tolist() == [0xB9]


@pytest.mark.parametrize(
    "frame",
    [
        a.ethernet(0x0806, bytes(28)),
        a.ethernet(0x88CC, bytes(40)),
        a.ethernet(0x8863, bytes(20)),
        a.ethernet(0x8864, a.pppoe(0xC021, bytes(8))),
        a.ethernet(0x0026, bytes.fromhex("424203") + bytes(35)),
        a.ethernet(0x8847, a.labels([16], bytes(4) + a.ethernet(0x0800, V4))),
        a.ethernet(0x88E7, bytes(60)),
    ],
    ids=["arp", "lldp", "pppoe_discovery", "lcp", "spanning_tree", "pseudowire", "mac_in_mac"],
)
def test_a_frame_without_an_ip_packet_is_counted_and_no_flow(frame: bytes) -> None:
    run = sampled(a.header(frame))
    assert len(flows_of(run)) == 0
    assert run.counts["samples_not_ip"] == 1
    assert run.counts["flow_samples"] == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (a.header(a.ethernet(0x0800, V4)[:33]), "sflow_header_truncated"),
        (a.header(a.ethernet(0x86DD, V6)[:53]), "sflow_header_truncated"),
        (a.header(a.ethernet(0x0800, V4)[:13]), "sflow_header_truncated"),
        (a.header(a.ethernet(0x0800, V4, tags=[(0x8100, 1)])[:16]), "sflow_header_truncated"),
        (a.item(1, bytes(12)), "sflow_header_truncated"),
        (a.header(a.ethernet(0x0800, V6)), "sflow_header_malformed"),
        (a.header(a.ethernet(0x86DD, V4 + bytes(40))), "sflow_header_malformed"),
        (a.header(a.ethernet(0x0800, b"\x44" + V4[1:])), "sflow_header_malformed"),
        (
            a.header(a.ethernet(0x0800, a.ipv4("10.0.0.1", "10.0.0.2", bytes(8), total=19))),
            "sflow_header_malformed",
        ),
        (a.header(a.ethernet(0x0800, V4, tags=[(0x8100, 1)] * 17)), "sflow_header_layers"),
        (a.header(a.ethernet(0x8847, a.labels([1] * 17, V4))), "sflow_header_layers"),
        (a.header(b"\xff\x03\x00\x21" + V4, protocol=a.PPP), "sflow_header_protocol"),
        (a.header(V4, protocol=99), "sflow_header_protocol"),
    ],
)
def test_a_header_that_cannot_be_read_is_refused_for_its_reason(record: bytes, reason: str) -> None:
    run = sampled(record)
    assert len(flows_of(run)) == 0
    assert run.counts[reason] == 1
    assert run.counts["samples_not_ip"] == 0


def test_sixteen_layers_are_read() -> None:
    deep = a.header(a.ethernet(0x0800, V4, tags=[(0x8100, 1)] * 16))
    assert packets_of(flows_of(sampled(deep))) == [PACKET_V4]
