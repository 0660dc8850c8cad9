"""Flow samples, their records, and the samples that are no traffic."""

from __future__ import annotations

import pytest

from collectors.netflow.config import ExporterConfig, FlowDecodeConfig
from collectors.netflow.decoder import Decoding
from collectors.sflow.records import AS_SEGMENTS_MAX
from rating.ports import MemoryState
from tests.collectors.netflow import exports as x
from tests.collectors.sflow import agents as a
from tests.collectors.sflow.sampling import Packet, decoded, flows_of, packets_of, sampled

FRAME = a.ethernet(0x0800, a.ipv4("10.0.0.1", "203.0.113.9", a.ports(40_000, 443)))
HEADER = a.header(FRAME)
PACKET = Packet("10.0.0.1", "203.0.113.9", 120, 17, 40_000, 443)


def test_an_expanded_sample_is_the_same_as_a_plain_one() -> None:
    run = decoded([a.datagram([a.flow_sample([HEADER]), a.expanded_sample([HEADER])])])
    assert packets_of(flows_of(run)) == [PACKET, PACKET]
    assert flows_of(run).direction.tolist() == [0, 0]
    assert run.totals["octets_scaled"] == 240_000


def test_the_octets_are_kept_as_sampled_and_as_scaled() -> None:
    run = decoded([a.datagram([a.flow_sample([HEADER], rate=512)])])
    assert (run.totals["octets"], run.totals["octets_scaled"]) == (120, 120 * 512)
    assert (run.totals["packets"], run.totals["packets_scaled"]) == (1, 512)
    assert flows_of(run).rate_known.tolist() == [True]


def test_a_rate_that_changes_in_mid_stream_holds_from_its_sample_on() -> None:
    samples = [a.flow_sample([HEADER], rate=rate) for rate in (1_000, 1_000, 2_000, 10)]
    assert flows_of(decoded([a.datagram(samples)])).rate_numerator.tolist() == [
        1_000, 1_000, 2_000, 10,
    ]  # fmt: skip


def test_a_rate_of_0_is_not_known_and_counts_as_1() -> None:
    run = decoded([a.datagram([a.flow_sample([HEADER], rate=0)])])
    assert run.totals["octets_scaled"] == 120
    assert flows_of(run).rate_known.tolist() == [False]


def test_an_absurd_rate_is_not_believed() -> None:
    run = decoded([a.datagram([a.flow_sample([HEADER], rate=1 << 31)])])
    assert run.totals["octets_scaled"] == 120
    assert flows_of(run).rate_known.tolist() == [False]
    assert run.counts["implausible_sampling_rate"] == 1


def test_settings_override_the_rate_of_an_agent_and_stand_in_for_an_unknown_one() -> None:
    forced = FlowDecodeConfig(exporters=(ExporterConfig("198.51.100.7", sampling_rate=64),))
    default = FlowDecodeConfig(default_sampling_rate=32)
    samples = [a.flow_sample([HEADER], rate=rate) for rate in (1_000, 0)]
    rates = [
        flows_of(decoded([a.datagram(samples)], config)).rate_numerator.tolist()
        for config in (forced, default)
    ]
    assert rates == [[64, 64], [1_000, 32]]


def test_the_time_is_that_of_receipt() -> None:
    flows = flows_of(sampled(HEADER))
    received_at = x.EXPORTED_AT * 1000
    assert (flows.start_at.tolist(), flows.end_at.tolist()) == ([received_at], [received_at])


@pytest.mark.parametrize(
    ("source", "ports", "direction"),
    [
        ((0, 3), ((0, 3), (0, 4)), 0),
        ((0, 4), ((0, 3), (0, 4)), 1),
        ((0, 3), ((0, 3), (0, 3)), 255),
        ((0, 5), ((0, 3), (0, 4)), 255),
        ((1, 3), ((0, 3), (0, 4)), 255),
        ((0, 5), ((0, 3), (2, 10)), 1),
        ((0, 3), ((0, 3), (2, 10)), 0),
        ((0, 3), ((0, 3), (0, 0x3FFF_FFFF)), 0),
    ],
    ids=["in", "out", "both", "neither", "vlan", "one_of_many", "to_many", "to_the_router"],
)
def test_the_direction_is_where_the_source_lies(
    source: tuple[int, int], ports: tuple[tuple[int, int], tuple[int, int]], direction: int
) -> None:
    expanded = a.expanded_sample([HEADER], source=source, ports=ports)
    plain = a.flow_sample(
        [HEADER],
        source=source[0] << 24 | source[1],
        ports=(ports[0][1], ports[1][0] << 30 | ports[1][1]),
    )
    flows = flows_of(decoded([a.datagram([expanded, plain])]))
    assert flows.direction.tolist() == [direction] * 2


def test_interfaces_are_known_where_they_are_one() -> None:
    samples = [
        a.flow_sample([HEADER], ports=(7, 9)),
        a.flow_sample([HEADER], ports=(0, 2 << 30 | 4)),
        a.expanded_sample([HEADER], ports=((0, 1_258_293_248), (0, 0x3FFF_FFFF))),
    ]
    flows = flows_of(decoded([a.datagram(samples)]))
    assert flows.ingress_interface.tolist() == [7, 0, 1_258_293_248]
    assert flows.egress_interface.tolist() == [9, 0, 0]


def test_a_packet_that_the_router_discarded_is_nobodys_usage() -> None:
    plain = a.flow_sample([HEADER], ports=(3, 1 << 30 | 258))
    expanded = a.expanded_sample([HEADER], ports=((0, 3), (1, 258)))
    run = decoded([a.datagram([plain, expanded, a.flow_sample([HEADER])])])
    assert run.counts["samples_discarded"] == 2
    assert run.totals["flows"] == 1


def test_counters_and_drop_notifications_are_never_traffic() -> None:
    run = decoded(
        [
            a.datagram(
                [
                    a.counter_sample([a.generic_counters(3, 10**12, 10**12)]),
                    a.counter_sample([a.generic_counters(4, 10**12, 0)], is_expanded=True),
                    a.drop_sample(),
                ]
            )
        ]
    )
    assert run.counts["counter_samples"] == 2
    assert run.counts["drop_notifications"] == 1
    assert not any(run.totals.values())


def test_a_packet_that_the_agent_parsed_itself() -> None:
    v4 = a.sampled_v4("10.0.0.1", "203.0.113.9", 1_400, tos=0xB8)
    v6 = a.sampled_v6("2001:db8::1", "2001:db8::2", 1_280, priority=0x20)
    run = decoded([a.datagram([a.flow_sample([v4]), a.flow_sample([v6])])])
    assert packets_of(flows_of(run)) == [
        Packet("10.0.0.1", "203.0.113.9", 1_400, 17, 53, 4_000),
        Packet("2001:db8::1", "2001:db8::2", 1_280, 17, 53, 4_000),
    ]
    assert flows_of(run).tos.tolist() == [0xB8, 0x20]


def test_a_sample_with_a_header_and_a_parsed_packet_counts_once() -> None:
    both = (a.sampled_v4("10.9.9.9", "203.0.113.9", 99), HEADER)
    assert packets_of(flows_of(sampled(*both))) == [PACKET]


def test_a_parsed_packet_helps_out_where_the_header_cannot_be_read() -> None:
    ppp = a.header(b"\xff\x03\x00\x21" + FRAME[14:], protocol=a.PPP)
    run = sampled(ppp, a.sampled_v4("10.0.0.1", "203.0.113.9", 120))
    assert run.totals["octets"] == 120
    assert run.counts["sflow_header_protocol"] == 0


def test_a_parsed_packet_that_is_cut_off_is_refused() -> None:
    run = sampled(a.item(3, a.sampled_v4("10.0.0.1", "203.0.113.9", 120)[8:36]))
    assert run.totals["flows"] == 0
    assert run.counts["sflow_header_truncated"] == 1


def test_a_sample_without_any_packet_is_no_flow() -> None:
    run = sampled(a.switch(5))
    assert (run.totals["flows"], run.counts["samples_not_ip"]) == (0, 1)


@pytest.mark.parametrize(
    ("path", "destination"),
    [
        ([(2, [64_510, 64_511])], 64_511),
        ([(2, [64_510]), (2, [64_512, 4_200_000_001])], 4_200_000_001),
        ([(2, [64_510]), (1, [64_512, 64_513])], 0),
        ([(1, [64_512]), (2, [64_514])], 64_514),
        ([], 0),
        ([(2, [])], 0),
        ([(2, [64_510])] * (AS_SEGMENTS_MAX + 1), 0),
    ],
    ids=["sequence", "two", "ends_with_set", "begins_with_set", "own_as", "empty", "too_long"],
)
def test_as_numbers_of_the_gateway(path: list[tuple[int, list[int]]], destination: int) -> None:
    flows = flows_of(sampled(HEADER, a.gateway(64_505, path)))
    assert flows.source_as.tolist() == [64_505]
    assert flows.destination_as.tolist() == [destination]


def test_an_as_path_longer_than_its_record_says_nothing() -> None:
    whole = a.gateway(64_505, [(2, [1, 2, 3, 4, 5, 6, 7])])
    flows = flows_of(sampled(a.item(1003, whole[8:-20]), HEADER))
    assert flows.source_as.tolist() == [64_505]
    assert flows.destination_as.tolist() == [0]


def test_translated_addresses() -> None:
    both = flows_of(sampled(HEADER, a.nat("198.18.0.1", "2001:db8::7")))
    assert both.nat_source_low.tolist() == [0xFFFF << 32 | 0xC612_0001]
    assert both.nat_source_high.tolist() == [0]
    assert both.nat_destination_high.tolist() == [0x2001_0DB8_0000_0000]
    assert both.nat_destination_low.tolist() == [7]
    assert not flows_of(sampled(HEADER)).nat_source_low.any()


def test_translated_ports() -> None:
    ports = flows_of(sampled(HEADER, a.nat_ports(61_000, 443)))
    assert (ports.nat_source_port.tolist(), ports.nat_destination_port.tolist()) == (
        [61_000],
        [443],
    )
    cut = flows_of(sampled(HEADER, a.item(1020, bytes([0, 0, 1, 0]))))
    assert (cut.nat_source_port.tolist(), cut.nat_destination_port.tolist()) == ([0], [0])


def test_records_and_samples_of_an_enterprise_are_stepped_over() -> None:
    vendor = 4_413 << 12 | 1
    samples = [a.item(vendor, bytes(24)), a.flow_sample([a.item(vendor, bytes(10)), HEADER])]
    run = decoded([a.datagram(samples)])
    assert packets_of(flows_of(run)) == [PACKET]
    assert run.counts["sflow_sample_unknown"] == 1


def test_an_item_of_odd_length_is_followed_by_its_padding() -> None:
    odd = a.item(4_413 << 12 | 1, bytes(10), length=10)
    run = decoded([a.datagram([odd, a.flow_sample([odd, HEADER, odd])])])
    assert packets_of(flows_of(run)) == [PACKET]


def test_a_header_whose_length_is_no_multiple_of_four_is_padded() -> None:
    odd = a.header(FRAME[:49], frame_octets=138)
    assert packets_of(flows_of(sampled(odd, a.gateway(7, [])))) == [PACKET]
    assert flows_of(sampled(odd, a.gateway(7, []))).source_as.tolist() == [7]


def test_counts_that_lie_are_not_believed() -> None:
    many = a.datagram([a.flow_sample([HEADER])], count=1_000_000_000)
    few = a.datagram([a.flow_sample([HEADER]), a.flow_sample([HEADER])], count=1, sequence=2)
    run = decoded([many, few])
    assert run.totals["flows"] == 2
    assert run.counts["sflow_count_mismatch"] == 1
    assert run.counts["samples_per_datagram_limit"] == 1


def test_a_sample_longer_than_its_datagram_is_read_as_far_as_it_is_there() -> None:
    cut = a.datagram([a.flow_sample([HEADER, a.switch(5)])])[:-8]
    run = decoded([cut])
    assert packets_of(flows_of(run)) == [PACKET]
    assert run.counts["sflow_sample_overruns"] == 1
    assert run.counts["sflow_record_overruns"] == 1


def test_a_flow_sample_shorter_than_its_head_is_refused() -> None:
    run = decoded([a.datagram([a.item(1, bytes(28)), a.item(3, bytes(40))])])
    assert run.counts["sflow_sample_truncated"] == 2
    assert run.totals["flows"] == 0


def test_samples_and_records_beyond_the_limits_are_not_read() -> None:
    config = FlowDecodeConfig(samples_per_datagram_limit=2, records_per_sample_limit=2)
    run = decoded([a.datagram([a.flow_sample([HEADER])] * 3)], config)
    assert (run.totals["flows"], run.counts["samples_per_datagram_limit"]) == (2, 1)
    run = decoded([a.datagram([a.flow_sample([a.switch(1), a.switch(2), HEADER])])], config)
    assert (run.totals["flows"], run.counts["records_per_sample_limit"]) == (0, 1)


def test_a_datagram_full_of_empty_samples_ends_soon() -> None:
    run = decoded([a.datagram([a.item(99, b"")] * 8_000)])
    assert run.counts["samples_per_datagram_limit"] == 1
    assert run.counts["sflow_sample_unknown"] == 1_024


def test_a_packet_of_more_octets_than_can_be_true_is_refused() -> None:
    absurd = a.sampled_v4("10.0.0.1", "203.0.113.9", 0xFFFF_FFFF)
    run = decoded([a.datagram([a.flow_sample([absurd], rate=16_777_216), a.flow_sample([HEADER])])])
    assert run.counts["implausible_counter"] == 1
    assert run.totals["flows"] == 1


def test_samples_in_parts_are_the_same_as_at_once() -> None:
    block = x.block([a.datagram([a.flow_sample([HEADER], rate=n + 1) for n in range(7)])])
    decoding = Decoding(MemoryState(), block, FlowDecodeConfig())
    parts = list(decoding.parts(watermark_at=0, records_max=3))
    assert [part.rate_numerator.tolist() for part in parts] == [[], [1, 2, 3], [4, 5, 6], [7]]
