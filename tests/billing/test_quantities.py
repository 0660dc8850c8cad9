"""Volumes in the unit that fits, and what a price is for."""

from __future__ import annotations

import pytest

from billing.quantities import format_price_unit, format_quantity, short_quantity


@pytest.mark.parametrize(
    ("quantity", "unit", "gigabyte", "text"),
    [
        (620_000_000_000, "octets", 10**9, "620.00 GB"),
        (1_234_567_000_000, "octets", 10**9, "1,234.56 GB"),
        (2**30, "octets_down", 2**30, "1.00 GiB"),
        (27_940_000, "octets", 10**9, "27.94 MB"),
        (999_999_999, "octets", 10**9, "999.99 MB"),
        (1_000_000, "octets", 10**9, "1.00 MB"),
        (2**20, "octets", 2**30, "1.00 MiB"),
        (5_500, "octets_up", 10**9, "5.50 kB"),
        (999, "octets", 10**9, "999 B"),
        (0, "octets", 10**9, "0 B"),
        (-12_000_000_000, "octets", 10**9, "−12.00 GB"),
        (3_725, "seconds", 10**9, "1:02:05 h"),
        (1, "period", 10**9, ""),
    ],
)
def test_quantities_on_paper(quantity: int, unit: str, gigabyte: int, text: str) -> None:
    assert format_quantity(quantity, unit, gigabyte) == text


@pytest.mark.parametrize(
    ("quantity", "unit", "text"),
    [
        (60_000_000, "octets", "60 MB"),
        (2_500_000, "octets", "2.5 MB"),
        (100, "octets", "100 B"),
        (1_500, "minor", "1,500"),
        (60, "seconds", "0:01:00 h"),
    ],
)
def test_quantities_in_a_sentence(quantity: int, unit: str, text: str) -> None:
    assert short_quantity(quantity, unit) == text


@pytest.mark.parametrize(
    ("size", "unit", "text"),
    [
        (10**9, "octets", "GB"),
        (10_000_000, "octets", "10 MB"),
        (2**30, "octets", "GiB"),
        (5 * 2**20, "octets", "5 MiB"),
        (1_024_000_000, "octets", "1,024 MB"),
        (1, "octets", "octet"),
        (1_501, "octets", "1,501 octets"),
        (3600, "seconds", "hour"),
        (7200, "seconds", "2 hours"),
        (1, "seconds", "second"),
    ],
)
def test_what_a_price_is_for(size: int, unit: str, text: str) -> None:
    assert format_price_unit(size, unit) == text
