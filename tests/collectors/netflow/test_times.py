"""When a flow was, by each way in which exporters say it, right and wrong."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import Run

NOW = x.EXPORTED_AT * 1000
ENDS: tuple[x.Field, ...] = ((8, 4), (12, 4), (1, 4))
WRAP = 1 << 32


def ntp(ms: int) -> int:
    """Return an instant in the NTP format, its fraction rounded up."""
    seconds, rest = divmod(ms, 1000)
    return (seconds + 2_208_988_800) % WRAP << 32 | -(-(rest << 32) // 1000)


def times(
    fields: Sequence[x.Field],
    values: Sequence[int],
    *,
    version: int = 10,
    uptime: int = x.UPTIME,
    options: Sequence[bytes] = (),
) -> tuple[int, int]:
    """Return start and end of one record relative to the export time, ms."""
    both = [*ENDS, *fields]
    sets = [
        *options,
        x.template(256, both, version=version),
        x.data(256, [x.record(both, (1, 2, 3, *values))]),
    ]
    payload = x.ipfix(sets) if version == 10 else x.v9(sets, uptime=uptime)
    flows = Run().take(x.block([payload])).flows
    return int(flows.start_at[0]) - NOW, int(flows.end_at[0]) - NOW


def test_an_uptime_that_wrapped_before_the_export_is_not_49_days_ahead() -> None:
    assert times([(22, 4), (21, 4)], (WRAP - 5_000, 500), version=9, uptime=1_000) == (-6000, -500)


def test_an_uptime_just_ahead_of_the_header_is_not_49_days_back() -> None:
    """Line cards count a little apart from the box: a flow may end after its export."""
    assert times([(22, 4), (21, 4)], (500, 1_500), version=9, uptime=1_000) == (-500, 500)
    assert times([(22, 4), (21, 4)], (WRAP - 9, 5), version=9, uptime=WRAP - 1) == (-8, 6)


def test_nexus_sends_uptimes_of_four_octets_in_eight() -> None:
    found = times([(22, 8), (21, 8)], (x.UPTIME - 9_000, x.UPTIME - 1_000), version=9)
    assert found == (-9_000, -1_000)


def test_an_uptime_of_64_bits_that_passed_32_is_compared_by_its_low_half() -> None:
    """A box up for longer than 49.7 days: the header's uptime has wrapped, an 8-octet one not."""
    up = 3 * WRAP + x.UPTIME
    assert times([(22, 8), (21, 8)], (up - 9_000, up - 1_000), version=9) == (-9_000, -1_000)


def test_uptimes_with_the_boot_time_of_the_record() -> None:
    boot_at = NOW - 100_000
    assert times([(160, 8), (22, 4), (21, 4)], (boot_at, 97_500, 99_500)) == (-2_500, -500)


def test_uptimes_with_the_boot_time_of_an_option_and_a_wrap() -> None:
    boot_at = NOW - WRAP - 1_000
    options = [
        x.options_template(300, [(149, 4)], [(160, 8)], version=10),
        x.data(300, [x.record([(149, 4), (160, 8)], (0, boot_at))]),
    ]
    found = times([(22, 4), (21, 4)], (WRAP - 5_000, 500), options=options)
    assert found == (-6_000, -500)


def test_uptimes_without_any_boot_time_keep_their_length() -> None:
    assert times([(22, 4), (21, 4)], (70_000, 74_000)) == (-4_000, 0)
    assert times([(22, 4), (21, 4)], (WRAP - 1_000, 3_000)) == (-4_000, 0)


@pytest.mark.parametrize("elements", [(154, 155), (156, 157)])
def test_ntp_fractions_are_no_count_of_microseconds_or_nanoseconds(
    elements: tuple[int, int],
) -> None:
    fields = [(element, 8) for element in elements]
    assert times(fields, (ntp(NOW - 2_501), ntp(NOW - 499))) == (-2_501, -499)


def test_ntp_times_after_2036_are_of_the_second_era() -> None:
    start = 2_085_978_496_000 + 123  # 2036-02-07T06:28:16Z, where 32 bits of seconds wrap.
    found = times([(154, 8), (155, 8)], (ntp(start), ntp(start + 5_000)))
    assert found == (start - NOW, start + 5_000 - NOW)


def test_netscaler_counts_microseconds_in_the_fraction_and_is_less_than_a_second_early() -> None:
    """We read the fraction as RFC 7011 says: to guess would put others wrong (decision 0128)."""

    def sent(ms: int) -> int:
        seconds, rest = divmod(ms, 1000)
        return (seconds + 2_208_988_800) << 32 | rest * 1000

    found = times([(154, 8), (155, 8)], (sent(NOW - 2_501), sent(NOW - 499)))
    assert found == (-3_000, -1_000)


def test_deltas_count_microseconds_back_from_the_export() -> None:
    assert times([(158, 4), (159, 4)], (2_500_000, 500_000)) == (-2_500, -500)


def test_seconds() -> None:
    assert times([(150, 4), (151, 4)], (NOW // 1000 - 9, NOW // 1000 - 1)) == (-9_000, -1_000)


@pytest.mark.parametrize(
    ("element", "octets", "value"),
    [
        (322, 4, NOW // 1000 - 3),
        (323, 8, NOW - 3_000),
        (324, 8, ntp(NOW - 3_000)),
        (325, 8, ntp(NOW - 3_000)),
        (258, 8, NOW - 3_000),
    ],
)
def test_an_observation_or_collection_time_alone_is_start_and_end(
    element: int, octets: int, value: int
) -> None:
    assert times([(element, octets)], (value,)) == (-3_000, -3_000)


def test_a_collection_time_yields_to_every_time_of_the_flow_itself() -> None:
    late = NOW - 100
    assert times([(258, 8), (152, 8), (153, 8)], (late, NOW - 900, NOW - 800)) == (-900, -800)
    assert times([(258, 8), (323, 8)], (late, NOW - 900)) == (-900, -900)
    assert times([(258, 8), (161, 4)], (late, 50)) == (-150, -100)
    assert times([(258, 8), (22, 4), (21, 4)], (late, 5_000, 9_000)) == (-4_000, 0)


@pytest.mark.parametrize(
    ("fields", "values", "found"),
    [
        ([(152, 8), (161, 4)], (NOW - 2_500, 2_000), (-2_500, -500)),
        ([(153, 8), (161, 4)], (NOW - 500, 2_000), (-2_500, -500)),
        ([(153, 8), (162, 4)], (NOW - 500, 2_000_000), (-2_500, -500)),
        ([(161, 4)], (2_000,), (-2_000, 0)),
        ([(323, 8), (161, 4)], (NOW - 500, 2_000), (-2_500, -500)),
    ],
)
def test_a_duration_gives_the_end_that_is_not_told(
    fields: list[x.Field], values: tuple[int, ...], found: tuple[int, int]
) -> None:
    assert times(fields, values) == found


def test_yaf_sends_milliseconds_and_microseconds_and_the_first_counts() -> None:
    fields: list[x.Field] = [(154, 8), (152, 8), (155, 8), (153, 8)]
    values = (ntp(NOW - 9_000), NOW - 2_500, ntp(NOW - 8_000), NOW - 500)
    assert times(fields, values) == (-2_500, -500)


def test_a_time_of_zero_is_absent_and_the_next_kind_counts() -> None:
    fields: list[x.Field] = [(152, 8), (153, 8), (150, 4), (151, 4)]
    found = times(fields, (0, 0, NOW // 1000 - 3, NOW // 1000 - 1))
    assert found == (-3_000, -1_000)
    up = x.UPTIME
    found = times([(152, 8), (153, 8), (22, 4), (21, 4)], (0, 0, up - 30, up - 10), version=9)
    assert found == (-30, -10)


def test_nothing_at_all_is_the_export_time() -> None:
    assert times([], ()) == (0, 0)
    assert times([(152, 8), (153, 8)], (0, 0)) == (0, 0)


def test_a_start_behind_its_end_is_no_negative_length() -> None:
    assert times([(152, 8), (153, 8)], (NOW + 900, NOW - 100)) == (-100, -100)


def test_v5_counts_milliseconds_of_its_header() -> None:
    """The header has seconds and nanoseconds; 15 seconds of uptime are not 15,000 (akvorado)."""
    payload = bytearray(x.v5([x.v5_record("10.0.0.1", "192.0.2.9", 10)]))
    payload[12:16] = struct.pack(">I", 250_000_000)
    flows = Run().take(x.block([bytes(payload)])).flows
    assert (int(flows.start_at[0]) - NOW, int(flows.end_at[0]) - NOW) == (-9_750, 250)


ELEMENTS = [21, 22, *range(150, 163), 258, *range(322, 326)]


@given(
    st.lists(st.sampled_from(ELEMENTS), min_size=1, max_size=6),
    st.lists(st.integers(0, (1 << 64) - 1), min_size=6, max_size=6),
    st.sampled_from([9, 10]),
)
def test_whatever_is_sent_the_end_is_never_before_the_start(
    elements: list[int], values: list[int], version: int
) -> None:
    fields: list[x.Field] = [(element, 8) for element in elements]
    start, end = times(fields, values[: len(fields)], version=version)
    assert start <= end
