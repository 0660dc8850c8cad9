"""Which of several counters in one record is its volume (decisions 0101, 0125, 0126)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from collectors.netflow.config import ExporterConfig, FlowDecodeConfig
from collectors.netflow.elements import IXIA, PROCERA, REVERSE
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run

ENDS: tuple[x.Field, ...] = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1))
VALUES = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), 40_000, 443, 6)


def _run(fields: Sequence[x.Field], values: Sequence[int | bytes], **rules: str) -> Run:
    """Return what one record of these fields, behind both ends, gives."""
    entry = ExporterConfig("192.0.2.1", **rules)  # type: ignore[arg-type]
    run = Run(FlowDecodeConfig(exporters=(entry,)))
    all_fields = (*ENDS, *fields)
    record = x.record(all_fields, (*VALUES, *values))
    sets = [x.template(256, all_fields, version=10), x.data(256, [record])]
    run.take(x.block([x.ipfix(sets)]))
    return run


def _volume(run: Run) -> tuple[int, int, int, int]:
    names = ("octets", "packets", "octets_reverse", "packets_reverse")
    octets, packets, reverse, packets_reverse = (run.counted[name] for name in names)
    return octets, packets, reverse, packets_reverse


def test_a_delta_of_0_beside_a_total_says_that_nothing_came() -> None:
    # Barracuda: 1 is 0 in every second record, whose 85 was told before.
    assert _volume(_run(((1, 8), (2, 8), (85, 8), (86, 8)), (0, 0, 65, 1))) == (0, 0, 0, 0)
    assert _volume(_run(((85, 8), (86, 8), (1, 8), (2, 8)), (900, 9, 81, 1))) == (81, 1, 0, 0)


def test_equal_counters_before_and_behind_the_device_count_once() -> None:
    assert _volume(_run(((1, 4), (2, 4), (23, 4), (24, 4)), (900, 3, 900, 3))) == (900, 3, 0, 0)


@pytest.mark.parametrize("element", [1, 23, 85, 171, 231, 352, 353, 417, 420, 20, 175])
def test_a_counter_that_is_alone_is_the_volume(element: int) -> None:
    assert _volume(_run(((element, 8),), (900,)))[0] == 900


@pytest.mark.parametrize("element", [2, 24, 86, 172, 298, 430, 431, 19, 174])
def test_a_packet_counter_that_is_alone_counts(element: int) -> None:
    assert _volume(_run(((1, 8), (element, 4)), (900, 7)))[1] == 7


@pytest.mark.parametrize("element", [40, 42, 132, 134, 164, 198, 424, 425])
def test_dropped_octets_and_an_exporters_own_totals_are_no_volume(element: int) -> None:
    assert _run(((element, 8),), (900,)).totals["flows"] == 0


@pytest.mark.parametrize("octets_of_ip", [(1, 4), (85, 4), (23, 4), (231, 4)])
def test_octets_at_layer_2_count_only_where_no_octets_of_ip_are_held(octets_of_ip: x.Field) -> None:
    assert _volume(_run(((352, 8), octets_of_ip), (1_000, 900)))[0] == 900


def test_replicated_multicast_octets_do_not_replace_those_that_came_in() -> None:
    assert _volume(_run(((20, 8), (19, 8), (1, 8), (2, 8)), (9_000, 30, 900, 3)))[:2] == (900, 3)


def test_initiator_and_responder_are_a_pair_beside_their_sum() -> None:
    fields = ((1, 8), (2, 8), (231, 4), (232, 4), (298, 4), (299, 4))
    assert _volume(_run(fields, (1_000, 10, 300, 700, 4, 6))) == (300, 4, 700, 6)


def test_a_responder_alone_is_the_other_direction_of_a_delta() -> None:
    # Huawei sends 232 of 2 octets beside 1, without 231.
    assert _volume(_run(((1, 4), (232, 2)), (900, 80))) == (900, 0, 80, 0)


@pytest.mark.parametrize("element", [1, 23, 85, 171, 352, 353])
def test_a_reverse_element_is_the_other_direction(element: int) -> None:
    assert _volume(_run(((element, 4), (element, 4, REVERSE)), (900, 80)))[::2] == (900, 80)


def test_ixias_own_reverse_counters_count_where_no_other_tell() -> None:
    own: tuple[x.Field, ...] = ((176, 8, IXIA), (177, 8, IXIA))
    assert _volume(_run(((1, 8), (2, 8), *own), (0, 0, 625, 6))) == (0, 0, 625, 6)
    both = ((1, 8), (2, 8), (1, 8, REVERSE), (2, 8, REVERSE), *own)
    assert _volume(_run(both, (0, 0, 500, 5, 625, 6))) == (0, 0, 500, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b"INTERACTIVE,CLIENT_IS_LOCAL", (40, 60)), (b"INITIAL,SERVER_IS_LOCAL,BEGINNING", (60, 40))],
)
def test_proceras_octets_in_and_out_are_of_the_local_end(
    text: bytes, expected: tuple[int, int]
) -> None:
    fields = ((3, 8, PROCERA), (4, 8, PROCERA), (15, 0xFFFF, PROCERA))
    assert _volume(_run(fields, (60, 40, text)))[::2] == expected


def test_nprobes_outgoing_octets_are_the_other_direction_where_a_setting_says_so() -> None:
    fields, values = ((1, 4), (2, 4), (23, 4), (24, 4)), (900, 3, 80, 2)
    assert _volume(_run(fields, values)) == (900, 3, 0, 0)
    assert _volume(_run(fields, values, post_counters="reverse")) == (900, 3, 80, 2)


def test_post_counters_alone_stay_the_volume_also_as_reverse() -> None:
    assert _volume(_run(((23, 4), (24, 4)), (80, 2), post_counters="reverse")) == (80, 2, 0, 0)


def test_an_egress_record_with_post_counters_only_counts_where_egress_counts() -> None:
    # The 0-length-fields exporter meters egress into 23 and 24 and leaves 1 and 2 at 0.
    fields, egress = ((1, 4), (2, 4), (23, 4), (24, 4), (61, 1)), (0, 0, 32, 1, 1)
    assert _volume(_run(fields, egress)) == (0, 0, 0, 0)
    assert _volume(_run(fields, egress, counted_direction="egress")) == (32, 1, 0, 0)
    told_twice = (32, 1, 32, 1, 1)
    assert _volume(_run(fields, told_twice, counted_direction="egress")) == (32, 1, 0, 0)
    ingress = (32, 1, 0, 0, 0)
    assert _volume(_run(fields, ingress, counted_direction="egress")) == (0, 0, 0, 0)


def test_a_post_counter_above_int64_is_implausible() -> None:
    run = _run(((1, 4), (23, 8)), (1, (1 << 64) - 1), post_counters="reverse")
    assert run.counts["implausible_counter"] == 1
    assert run.counted["octets"] == 0


def test_a_record_without_octets_is_no_usage() -> None:
    run = _run(((233, 1), (148, 4)), (1, 77))
    assert run.totals["flows"] == 0
    assert run.counts["data_records"] == 1
