"""What the decoder makes of each oddity that exporters show, one test per oddity."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import pytest

from collectors.datagrams import Datagram
from collectors.netflow.config import ExporterConfig, FlowDecodeConfig
from collectors.netflow.state import HELD, PROGRESS, SESSION
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run

NOW = x.EXPORTED_AT * 1000


def test_v5_records_with_the_header_rate_in_its_low_14_bits() -> None:
    records = [x.v5_record("10.0.0.1", "192.0.2.9", 1_500, 3)]
    run = Run()
    flows = run.take(x.block([x.v5(records, sampling=0x4000 | 100)])).flows
    assert run.totals["octets"] == 1_500
    assert run.totals["octets_scaled"] == 150_000
    assert run.totals["packets_scaled"] == 300
    assert flows.rate_known.tolist() == [True]
    assert (int(flows.start_at[0]), int(flows.end_at[0])) == (NOW - 10_000, NOW)
    assert int(flows.source_as[0]) == 64_500


def test_v5_whose_header_counts_more_records_than_there_are_is_refused() -> None:
    run = Run()
    run.take(x.block([x.v5([x.v5_record("10.0.0.1", "192.0.2.9", 1)], count=55_582)]))
    assert run.totals["flows"] == 0
    assert run.counts["count_mismatch"] == 1


@pytest.mark.parametrize("padding", [b"", bytes(4)], ids=["48 octets", "52 octets"])
def test_v1_records_are_as_long_as_the_datagram_says(padding: bytes) -> None:
    records = [x.v1_record("10.0.0.1", "192.0.2.9", octets, 3) + padding for octets in (7, 900)]
    run = Run()
    flows = run.take(x.block([x.v1(records), x.v1(records[:1])])).flows
    assert flows.octets.tolist() == [7, 900, 7]
    assert flows.packets.tolist() == [3, 3, 3]
    assert flows.protocol.tolist() == [6, 6, 6]
    assert flows.tos.tolist() == [0xB8] * 3
    assert set(run.tuples()) == {("10.0.0.1", "192.0.2.9", 40_000, 443, 6)}
    assert (int(flows.start_at[0]), int(flows.end_at[0])) == (NOW - 10_000, NOW)
    assert "lost" not in run.counts


def test_v1_whose_header_counts_more_records_than_there_are_is_refused() -> None:
    run = Run()
    run.take(x.block([x.v1([x.v1_record("10.0.0.1", "192.0.2.9", 1)], count=2)]))
    assert run.totals["flows"] == 0
    assert run.counts["count_mismatch"] == 1


def test_v7_is_v5_with_a_router_behind_each_record_and_counts_flows() -> None:
    records = [x.v5_record("10.0.0.1", "192.0.2.9", octets) for octets in (10, 20)]
    run = Run()
    flows = run.take(x.block([x.v7(records, sequence=100), x.v7(records, sequence=105)])).flows
    assert flows.octets.tolist() == [10, 20, 10, 20]
    assert flows.destination_as.tolist() == [64_501] * 4
    assert run.counts["lost"] == 3


def test_one_exporter_of_v1_v5_and_v7_is_three_sources() -> None:
    run = Run()
    five = [x.v5_record("10.0.0.1", "192.0.2.9", 5)]
    one = x.v1([x.v1_record("10.0.0.1", "192.0.2.9", 1)])
    run.take(x.block([x.v5(five, sequence=7), x.v7(five, sequence=90), one]))
    run.restart()
    two = x.v1([x.v1_record("10.0.0.1", "192.0.2.9", 2)])
    run.take(x.block([two, x.v7(five, sequence=91), x.v5(five, sequence=8)]))
    assert run.totals["octets"] == 23
    assert "lost" not in run.counts


def test_rate_zero_is_unknown_and_counts_as_one() -> None:
    run = Run()
    flows = run.take(x.block([x.v5([x.v5_record("10.0.0.1", "192.0.2.9", 7)], sampling=0)])).flows
    assert run.totals["octets_scaled"] == 7
    assert flows.rate_known.tolist() == [False]


@pytest.mark.parametrize("octets", range(1, 9))
def test_reduced_size_integers_of_every_length(octets: int) -> None:
    fields: list[x.Field] = [(8, 4), (12, 4), (1, octets), (2, 4)]
    value = int.from_bytes(bytes(range(1, octets + 1)), "big") & ((1 << 47) - 1)
    sent = x.record(fields, (1, 2, value & ((1 << (8 * octets)) - 1), 1))
    run = Run()
    run.take(x.block([x.v9([x.template(256, fields), x.data(256, [sent])])]))
    assert run.totals["octets"] == value & ((1 << (8 * octets)) - 1)


def test_variable_length_and_enterprise_fields_are_skipped_to_the_octet() -> None:
    fields: list[x.Field] = [
        (8, 4), (371, 0xFFFF), (12, 4), (9999, 3, 31_337), (1, 8), (372, 0xFFFF), (2, 4), (4, 1),
    ]  # fmt: skip
    sent = [
        x.record(fields, (1, b"a" * 10, 2, b"xyz", 1_000, b"", 1, 6)),
        x.record(fields, (3, b"b" * 300, 4, b"xyz", 2_000, b"c" * 255, 2, 17)),
    ]
    run = Run()
    message = x.ipfix([x.template(256, fields, version=10), x.data(256, [*sent, b"\0\0\0"])])
    flows = run.take(x.block([message])).flows
    assert flows.octets.tolist() == [1_000, 2_000]
    assert flows.protocol.tolist() == [6, 17]
    assert flows.destination_low.tolist() == [0xFFFF_0000_0002, 0xFFFF_0000_0004]


def test_a_variable_record_that_is_cut_ends_its_set_and_is_counted() -> None:
    fields: list[x.Field] = [(371, 0xFFFF), (1, 4)]
    whole = x.record(fields, (b"abc", 5))
    run = Run()
    message = x.ipfix([x.template(256, fields, version=10), x.data(256, [whole, b"\xc8abcdefgh"])])
    run.take(x.block([message]))
    assert run.totals["octets"] == 5
    assert run.counts["record_truncated"] == 1


def test_ipv6_and_ipv4_in_one_template_take_the_one_that_is_not_zero() -> None:
    fields: list[x.Field] = [(8, 4), (12, 4), (27, 16), (28, 16), (1, 4)]
    six = bytes.fromhex("20010db8000000000000000000000001")
    run = Run()
    flows = run.take(
        x.block(
            [
                x.v9(
                    [
                        x.template(256, fields),
                        x.data(256, [
                            x.record(fields, (0, 0, six, six, 1)),
                            x.record(fields, (x.v4("10.0.0.1"), 5, bytes(16), bytes(16), 2)),
                        ]),
                    ]
                )
            ]
        )
    ).flows  # fmt: skip
    assert flows.source_high.tolist() == [0x20010DB8_00000000, 0]
    assert flows.source_low.tolist() == [1, 0xFFFF_0A00_0001]


def test_the_first_counter_held_counts_even_when_it_is_zero() -> None:
    fields: list[x.Field] = [(85, 4), (1, 4), (23, 4), (24, 4), (2, 4)]
    run = Run()
    sent = x.record(fields, (500, 0, 700, 9, 3))
    run.take(x.block([x.v9([x.template(256, fields), x.data(256, [sent])])]))
    assert (run.totals["octets"], run.totals["packets"]) == (0, 3)


def test_reverse_octets_of_a_biflow() -> None:
    fields: list[x.Field] = [(8, 4), (12, 4), (1, 4), (1, 4, 29305), (2, 4), (2, 4, 29305)]
    run = Run()
    message = x.ipfix(
        [x.template(256, fields, version=10), x.data(256, [x.record(fields, (1, 2, 3, 4, 5, 6))])]
    )
    run.take(x.block([message]))
    named = ("octets", "octets_reverse", "packets", "packets_reverse")
    assert [run.totals[name] for name in named] == [3, 4, 5, 6]


def test_repeated_elements_first_counter_last_port() -> None:
    """Outer headers come first (RFC 7011 §8): octets of the whole packet, ports of the inner."""
    fields: list[x.Field] = [(8, 4), (12, 4), (7, 2), (1, 4), (7, 2), (1, 4)]
    run = Run()
    sent = x.record(fields, (1, 2, 4789, 1_000, 443, 900))
    flows = run.take(x.block([x.v9([x.template(256, fields), x.data(256, [sent])])])).flows
    assert (flows.octets.tolist(), flows.source_port.tolist()) == ([1_000], [443])


def test_data_waits_for_its_template_over_a_restart() -> None:
    data = x.v9([x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 900)])], sequence=1)
    run = Run()
    run.take(x.block([data]))
    assert (run.totals["flows"], run.held) == (0, 1)
    run.restart()
    run.take(x.block([x.v9([x.template(256, x.BASIC)], sequence=2)], received_at=NOW + 60_000))
    assert (run.totals["octets"], run.held) == (900, 0)
    flows = run.flows[-1].flows
    assert flows.received_at.tolist() == [NOW]
    assert int(flows.end_at[0]) == NOW


def test_data_whose_template_comes_too_late_is_forgotten() -> None:
    run = Run(FlowDecodeConfig(held_seconds=60))
    run.take(x.block([x.v9([x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 900)])])]))
    late = x.block([x.v9([x.template(256, x.BASIC)], sequence=2)], received_at=NOW + 60_001)
    run.take(late)
    assert (run.totals["flows"], run.held) == (0, 0)


def test_the_watermark_ends_the_wait() -> None:
    run = Run(FlowDecodeConfig(held_seconds=60))
    run.take(x.block([x.v9([x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 900)])])]))
    run.take(x.block([]), watermark_at=NOW + 60_000)
    assert run.held == 1
    run.take(x.block([]), watermark_at=NOW + 60_001)
    assert run.held == 0
    assert all(p.held_octets == 0 for p in run.state.collections[PROGRESS].values())


def test_what_waits_is_bounded() -> None:
    run = Run(FlowDecodeConfig(held_sets_per_session_limit=3))
    for sequence in range(5):
        body = [x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 900)])]
        run.take(x.block([x.v9(body, sequence=sequence)]))
    assert run.held == 3
    assert run.counts["held_limit"] == 2


def test_a_template_holds_from_its_place_on() -> None:
    other: list[x.Field] = [(8, 4), (12, 4), (2, 4), (1, 4)]
    first = x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 100)])
    second = x.data(256, [x.record(other, (1, 2, 7, 2_000))])
    sets = [x.template(256, x.BASIC), first, x.template(256, other), second]
    run = Run()
    run.take(x.block([x.v9(sets)]))
    assert run.totals["octets"] == 2_100
    run.take(x.block([x.v9([second], sequence=1)]))
    assert run.totals["octets"] == 4_100


@pytest.mark.parametrize("restart", [False, True])
def test_a_sampler_named_by_the_record(restart: bool) -> None:
    scopes: list[x.Field] = [(1, 4)]
    options: list[x.Field] = [(48, 1), (50, 4)]
    announce = x.v9(
        [
            x.options_template(300, scopes, options),
            x.data(300, [x.record([*scopes, *options], (0, number, rate))
                         for number, rate in ((1, 100), (2, 1_000))]),
        ]
    )  # fmt: skip
    fields = [*x.BASIC, (48, 1)]
    plain = (1, 2, 3, 4, 6, 10, 1, x.UPTIME, x.UPTIME)
    sent = [x.record(fields, (*plain, number)) for number in (1, 2, 3)]
    run = Run()
    run.take(x.block([announce]))
    if restart:
        run.restart()
    flows = run.take(
        x.block([x.v9([x.template(256, fields), x.data(256, sent)], sequence=1)])
    ).flows
    assert flows.scaled(flows.octets).tolist() == [1_000, 10_000, 10]
    assert flows.rate_known.tolist() == [True, True, False]
    assert run.counts["option_records"] == 2


@pytest.mark.parametrize(
    ("fields", "values", "scaled"),
    [
        ([(34, 4)], (64,), 640),
        ([(305, 4), (306, 4)], (1, 999), 10_000),
        ([(305, 4), (306, 4)], (3, 997), 3_333),
        ([(309, 4), (310, 4)], (2, 100), 500),
        ([(311, 8)], (struct.pack(">d", 0.01),), 1_000),
        ([(311, 4)], (struct.pack(">f", 0.01),), 1_000),
        ([(311, 8)], (1,), 10),  # a subnormal probability, whose inverse is infinite
        ([(34, 4)], (0,), 10),
    ],
)
def test_rates_that_options_of_a_domain_announce(
    fields: list[x.Field], values: tuple[int | bytes, ...], scaled: int
) -> None:
    scopes: list[x.Field] = [(149, 4)]
    sets = [
        x.options_template(300, scopes, fields, version=10),
        x.data(300, [x.record([*scopes, *fields], (0, *values))]),
        x.template(256, x.BASIC, version=10),
        x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 10)]),
    ]
    run = Run()
    run.take(x.block([x.ipfix(sets)]))
    assert run.totals["octets_scaled"] == scaled


def test_a_rate_holds_from_its_announcement_on() -> None:
    options: list[x.Field] = [(34, 4)]
    template = [x.options_template(300, [], options), x.template(256, x.BASIC)]
    flow = x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 10)])
    ten, hundred = (x.data(300, [x.record(options, (rate,))]) for rate in (10, 100))
    run = Run()
    run.take(x.block([x.v9([*template, flow, ten, flow, hundred, flow])]))
    assert run.totals["octets_scaled"] == 10 + 100 + 1_000


def test_a_rate_in_the_record_goes_before_the_options_and_the_setting_before_all() -> None:
    fields = [*x.BASIC, (34, 4)]
    sent = x.record(fields, (1, 2, 3, 4, 6, 10, 1, x.UPTIME, x.UPTIME, 50))
    sets = [
        x.options_template(300, [], [(34, 4)]),
        x.data(300, [x.record([(34, 4)], (7,))]),
        x.template(256, fields),
        x.data(256, [sent]),
    ]
    run = Run()
    run.take(x.block([x.v9(sets)]))
    assert run.totals["octets_scaled"] == 500
    forced = Run(FlowDecodeConfig(exporters=(ExporterConfig("192.0.2.1", sampling_rate=3),)))
    forced.take(x.block([x.v9(sets)]))
    assert forced.totals["octets_scaled"] == 30


def test_an_uptime_that_wrapped_between_the_flow_and_the_export() -> None:
    fields: list[x.Field] = [(8, 4), (12, 4), (1, 4), (22, 4), (21, 4)]
    sent = x.record(fields, (1, 2, 3, (1 << 32) - 5_000, 500))
    run = Run()
    flows = run.take(
        x.block([x.v9([x.template(256, fields), x.data(256, [sent])], uptime=1_000)])
    ).flows
    assert (int(flows.start_at[0]), int(flows.end_at[0])) == (NOW - 6_000, NOW - 500)


def _ntp(ms: int) -> int:
    seconds, rest = divmod(ms, 1000)
    return (seconds + 2_208_988_800) << 32 | (rest << 32) // 1000 + 1


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ([(152, 8), (153, 8)], (NOW - 2_500, NOW - 500)),
        ([(154, 8), (155, 8)], (_ntp(NOW - 2_500), _ntp(NOW - 500))),
        ([(156, 8), (157, 8)], (_ntp(NOW - 2_500), _ntp(NOW - 500))),
        ([(158, 4), (159, 4)], (2_500_000, 500_000)),
        ([(152, 8), (161, 4)], (NOW - 2_500, 2_000)),
        ([(153, 8), (162, 4)], (NOW - 500, 2_000_000)),
        ([(160, 8), (22, 4), (21, 4)], (NOW - 100_000, 97_500, 99_500)),
        ([(150, 4), (151, 4), (152, 8), (153, 8)], (1, 1, NOW - 2_500, NOW - 500)),
        ([(152, 8), (150, 4), (153, 8)], (NOW - 2_500, 99, NOW - 500)),
    ],
)
def test_every_way_to_tell_when_a_flow_was(fields: list[x.Field], values: tuple[int, ...]) -> None:
    both: list[x.Field] = [(8, 4), (12, 4), (1, 4), *fields]
    sent = x.record(both, (1, 2, 3, *values))
    run = Run()
    message = x.ipfix([x.template(256, both, version=10), x.data(256, [sent])])
    flows = run.take(x.block([message])).flows
    assert (int(flows.start_at[0]), int(flows.end_at[0])) == (NOW - 2_500, NOW - 500)


def test_uptimes_without_any_boot_time_keep_the_length_and_end_at_the_export() -> None:
    fields: list[x.Field] = [(8, 4), (12, 4), (1, 4), (22, 4), (21, 4)]
    run = Run()
    message = x.ipfix(
        [
            x.template(256, fields, version=10),
            x.data(256, [x.record(fields, (1, 2, 3, 70_000, 74_000))]),
        ]
    )
    flows = run.take(x.block([message])).flows
    assert (int(flows.start_at[0]), int(flows.end_at[0])) == (NOW - 4_000, NOW)


def test_implausible_counters_are_refused() -> None:
    fields: list[x.Field] = [(8, 4), (12, 4), (1, 8), (2, 8)]
    values = [(1, 2, (1 << 64) - 1, 1), (1, 2, 1 << 60, 1), (1, 2, 10, 1)]
    sent = [x.record(fields, value) for value in values]
    run = Run()
    run.take(x.block([x.v9([x.template(256, fields), x.data(256, sent)])]))
    assert run.totals["octets"] == 10
    assert run.counts["implausible_counter"] == 2
    assert run.counts["data_records"] == 3


def test_lost_datagrams_are_counted_and_late_ones_take_the_gap_back() -> None:
    payloads = [x.v9([x.template(256, x.BASIC)], sequence=n) for n in range(10)]
    run = Run()
    run.take(x.block([payloads[n] for n in (0, 1, 5, 9)]))
    assert run.counts["lost"] == 6
    run.take(x.block([payloads[n] for n in (8, 7, 6)]))
    assert run.counts["lost"] == 3
    run.take(x.block([payloads[n] for n in (2, 3, 4)]))
    assert run.counts["lost"] == 0


def test_ipfix_counts_records_and_wraps() -> None:
    flow = x.basic("10.0.0.1", "192.0.2.9", 1)
    template = x.template(256, x.BASIC, version=10)
    top = (1 << 32) - 2
    run = Run()
    run.take(x.block([x.ipfix([template], sequence=top)]))
    run.take(x.block([x.ipfix([x.data(256, [flow] * 3)], sequence=top)]))
    run.take(x.block([x.ipfix([x.data(256, [flow])], sequence=1)]))
    assert run.counts["lost"] == 0
    run.take(x.block([x.ipfix([x.data(256, [flow])], sequence=7)]))
    assert run.counts["lost"] == 5


def test_a_restarted_exporter_is_not_loss() -> None:
    run = Run()
    for sequence in (1_000_000, 1_000_001, 0, 1):
        run.take(x.block([x.v9([x.template(256, x.BASIC)], sequence=sequence)]))
    assert run.counts["lost"] == 0


def test_duplicates_within_the_window_and_not_beyond() -> None:
    payload = x.v9([x.template(256, x.BASIC), x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 5)])])
    run = Run(FlowDecodeConfig(flow_dedup_window_seconds=10))
    run.take(x.block([payload, payload]))
    run.restart()
    run.take(x.block([payload], received_at=NOW + 10_000))
    run.take(x.block([payload], source="192.0.2.2", received_at=NOW + 1))
    assert run.totals["octets"] == 10
    assert run.counts["duplicate"] == 2
    run.take(x.block([payload], received_at=NOW + 20_001))
    assert run.totals["octets"] == 15


def test_a_batch_that_moves_time_far_ahead_knows_the_duplicates_in_it() -> None:
    # A backlog is taken at once, with the newest watermark: what it holds may still be old.
    payload = x.v9([x.template(256, x.BASIC), x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 5)])])
    run = Run(FlowDecodeConfig(flow_dedup_window_seconds=10))
    run.take(x.block([payload], received_at=NOW), watermark_at=NOW)
    run.take(x.block([payload], received_at=NOW + 9_000), watermark_at=NOW + 300_000)
    assert run.totals["octets"] == 5
    assert run.counts["duplicate"] == 1
    assert len(run.state.collections["flow_seen"]) == 0


def test_what_duplicates_are_known_by_is_bounded() -> None:
    run = Run(FlowDecodeConfig(dedup_digests_limit=100))
    for sequence in range(300):
        run.take(x.block([x.v9([], sequence=sequence)], received_at=NOW + sequence))
    assert len(run.state.collections["flow_seen"]) <= 101


def test_equal_records_in_one_datagram_are_no_duplicates() -> None:
    flow = x.basic("10.0.0.1", "192.0.2.9", 5)
    run = Run()
    run.take(x.block([x.v9([x.template(256, x.BASIC), x.data(256, [flow, flow])])]))
    assert run.totals["octets"] == 10


OTHER: list[x.Field] = [(8, 4), (12, 4), (1, 4), (2, 4)]


def _of_port(port: int, payload: bytes, at: int = NOW) -> Datagram:
    return Datagram(at, x.mapped("192.0.2.1"), port, 2055, payload)


def test_two_exporters_behind_one_address_are_told_apart_by_their_contradiction() -> None:
    one, two = 40_001, 40_002
    small = x.data(256, [x.record(OTHER, (1, 2, 30, 1))])
    large = x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 700)])
    run = Run()
    run.take(x.block_of([_of_port(one, x.v9([x.template(256, x.BASIC)]))]))
    run.take(
        x.block_of(
            [
                _of_port(two, x.v9([x.template(256, OTHER), small], sequence=1)),
                _of_port(one, x.v9([large], sequence=1), NOW + 1),
                _of_port(two, x.v9([small], sequence=2), NOW + 2),
            ]
        )
    )
    assert run.totals["octets"] == 30 + 700 + 30
    run.restart()
    run.take(x.block_of([_of_port(one, x.v9([large], sequence=2), NOW + 3)]))
    assert run.totals["octets"] == 1_460


def test_a_restart_on_another_port_keeps_the_templates() -> None:
    large = x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 700)])
    run = Run()
    run.take(x.block_of([_of_port(1_000, x.v9([x.template(256, x.BASIC)]))]))
    run.take(x.block_of([_of_port(2_000, x.v9([large], sequence=1))]))
    assert run.totals["octets"] == 700


def test_separate_ports_by_setting() -> None:
    config = FlowDecodeConfig(exporters=(ExporterConfig("192.0.2.1", has_separate_ports=True),))
    large = x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 700)])
    run = Run(config)
    run.take(x.block_of([_of_port(1_000, x.v9([x.template(256, x.BASIC)]))]))
    run.take(x.block_of([_of_port(2_000, x.v9([large], sequence=1))]))
    assert (run.totals["octets"], run.held) == (0, 1)


def test_domains_are_apart() -> None:
    large = x.data(256, [x.basic("10.0.0.1", "192.0.2.9", 700)])
    run = Run()
    run.take(x.block([x.v9([x.template(256, x.BASIC)], domain=1), x.v9([large], domain=2)]))
    assert (run.totals["octets"], run.held) == (0, 1)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "header_truncated"),
        (b"\0", "header_truncated"),
        (b"\0\x09\0\0", "header_truncated"),
        (b"\0\x02" + bytes(30), "unknown_version"),
        (b"\0\x01" + bytes(30), "count_mismatch"),
        (b"\0\x01" + bytes(10), "header_truncated"),
        (b"\0\x07" + bytes(14), "header_truncated"),
        (x.v9([x.one_set(0, b"\x01\x00\xff\xff" + bytes(40))]), "template_truncated"),
        (x.v9([x.one_set(0, struct.pack(">HH", 256, 4_000) + bytes(16_000))]), "fields_limit"),
        (x.v9([x.one_set(300, b"", length=0)]), "set_length_lt_4"),
        (x.v9([x.one_set(300, b"", length=60_000)]), "set_overruns_datagram"),
        (x.v9([x.one_set(77, b"1234")]), "set_id_reserved"),
        (x.v9([x.one_set(0, struct.pack(">HHHH", 9, 1, 1, 4))]), "template_id_reserved"),
        (x.v9([x.template(256, [(1, 0)]), x.data(256, [b"12"])]), "record_length_zero"),
        (x.v9([x.template(256, []), x.data(256, [b"12"])]), "record_length_zero"),
        (x.ipfix([x.one_set(2, struct.pack(">HH", 256, 0))]), "withdrawal_ignored"),
        (x.ipfix([x.one_set(5, b"")]), "set_id_reserved"),
        (x.ipfix([])[:-1] + b"\0\0", "ipfix_length_mismatch"),
        (x.v9([x.one_set(300, b"")] * 2_000), "sets_per_datagram_limit"),
    ],
)
def test_hostile_datagrams_are_counted_by_reason(payload: bytes, reason: str) -> None:
    run = Run()
    run.take(x.block([payload]))
    assert run.totals["flows"] == 0
    assert sum(count for name, count in run.counts.items() if reason in name) == 1


def test_many_exporters_are_forgotten_the_longest_silent_first() -> None:
    run = Run(FlowDecodeConfig(sessions_limit=50))
    for number in range(200):
        payload = x.v9([x.template(256, x.BASIC)], domain=number)
        keep = x.v9([x.template(256, x.BASIC)], domain=1_000_000, sequence=number)
        run.take(x.block([payload, keep], received_at=NOW + number))
    sessions = run.state.collections[SESSION]
    assert len(sessions) <= 52
    assert any(":000f4240:" in key for key in sessions)


def test_templates_of_a_session_are_bounded() -> None:
    run = Run(FlowDecodeConfig(templates_per_session_limit=10))
    for number in range(20):
        run.take(x.block([x.v9([x.template(256 + number, x.BASIC)], sequence=number)]))
    (session,) = run.state.collections[SESSION].values()
    assert len(session.templates) == 10
    assert run.counts["templates_per_session_limit"] == 10


def test_the_template_in_the_state_is_untouched_by_a_refresh() -> None:
    """A refresh must not write the session again: exporters refresh every few seconds."""
    run = Run()
    run.take(x.block([x.v9([x.template(256, x.BASIC)])]))
    decoded = run.take(x.block([x.v9([x.template(256, x.BASIC)], sequence=1)]))
    assert SESSION not in {change.collection for change in decoded.changes}
    assert HELD not in run.state.collections


def test_flows_take_keeps_columns_together() -> None:
    run = Run()
    flow = [x.basic("10.0.0.1", "192.0.2.9", n) for n in (1, 2, 3)]
    flows = run.take(x.block([x.v9([x.template(256, x.BASIC), x.data(256, flow)])])).flows
    kept = flows.take(np.array([True, False, True]))
    assert kept.octets.tolist() == [1, 3]
    assert all(
        len(getattr(kept, field.name)) == 2
        for field in dataclasses.fields(kept)
        if field.name not in ("rows", "user_names", "applications")
    )
