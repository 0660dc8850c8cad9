"""Frames as octets: what was put in comes out, also of older versions."""

from __future__ import annotations

import random

import polars as pl
import pytest

from rating import page_bodies
from rating.attribution import BINDING_SCHEMA, PAGE_SCHEMA
from rating.page_bodies import decode_page, encode_page

HIGH = (1 << 64) - 1


def page_of(rows: int, chance: random.Random, *, same: bool = False) -> pl.DataFrame:
    """Return a page with addresses and sums of every size, or with one row again and again."""
    made = [
        (
            chance.choice([0, 1, HIGH, chance.randint(0, HIGH)]),
            chance.choice([0, HIGH, 1 << 32, chance.randint(0, 255)]),
            chance.choice([0, 1024]),
            chance.choice(["cdn", "international"]),
            29_000_000 + chance.randint(0, 1),
            "edge",
            chance.choice([-(1 << 61), 1 << 61, 7]),
            *(chance.randint(-128, 127) for _ in range(5)),
            1_750_000_000_000 + chance.randint(0, 59_000),
            chance.choice(["", "ü" * 30]),
        )
        for _ in range(1 if same else rows)
    ]
    return pl.DataFrame(made * rows if same else made, schema=PAGE_SCHEMA, orient="row")


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 2, 999, 1_000, 3_000])
def test_a_page_comes_out_as_it_was(rows: int, same: bool) -> None:
    page = page_of(rows, random.Random(rows), same=same)
    read = decode_page(encode_page(page), PAGE_SCHEMA)
    assert read.schema == page.schema
    assert read.rows() == page.rows()


def test_open_ends_stay_open() -> None:
    rows = [
        (f"b{n}", 1, 0, n, 128, 0, "s", "x", 5, None if n % 2 else n + (1 << 40), 6)
        for n in range(2_000)
    ]
    table = pl.DataFrame(rows, schema=BINDING_SCHEMA, orient="row")
    assert decode_page(encode_page(table), BINDING_SCHEMA).equals(table)
    never = table.with_columns(valid_until_at=pl.lit(None, pl.Int64))
    assert decode_page(encode_page(never), BINDING_SCHEMA).equals(never)


@pytest.mark.parametrize("rows", [3, 3_000])
def test_columns_that_came_later_are_what_they_were_before(rows: int) -> None:
    page = page_of(rows, random.Random(1))
    former = page.drop("user_name", "exporter", "octets_exported", "octets_rate_unknown")
    read = decode_page(encode_page(former), PAGE_SCHEMA)
    assert read.select(former.columns).rows() == former.rows()
    later = read.select("user_name", "exporter", "octets_exported", "octets_rate_unknown")
    assert set(later.rows()) == {("", "", 0, 0)}


def test_a_large_page_of_the_version_before_is_read() -> None:
    page = page_of(3_000, random.Random(2))
    words = page.with_columns(pl.col("traffic_class", "exporter").cast(pl.String))
    assert decode_page(page_bodies._stream(words), PAGE_SCHEMA).rows() == page.rows()


def test_a_large_page_takes_fewer_octets() -> None:
    page = page_of(3_000, random.Random(3))
    assert len(encode_page(page)) < 0.8 * len(page_bodies._stream(page))
