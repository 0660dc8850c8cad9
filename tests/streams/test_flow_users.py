"""Whom flows name, in minutes: at which end, apart from unnamed traffic, and whole."""

from __future__ import annotations

from collections import Counter

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.addresses import format_address
from rating.records import FlowMinute
from streams.codec import decode_frame, encode_frame
from tests.collectors.netflow import exports as x
from tests.streams.test_decode import OWN, Stage, at, datagram

FIELDS: tuple[x.Field, ...] = (
    (8, 4), (12, 4), (1, 8), (1, 8, 29305), (152, 8), (153, 8), (371, 0xFFFF),
)  # fmt: skip

Sent = tuple[str, str, int, int, str]
"""Source, destination, octets, octets back, user name."""


def message(*flows: Sent, minutes: int = 1) -> bytes:
    records = [
        x.record(
            FIELDS,
            (x.v4(a), x.v4(b), up, down, at(1 - minutes, 1), at(0, 19_000), name.encode()),
        )
        for a, b, up, down, name in flows
    ]
    return x.ipfix([x.template(256, FIELDS, version=10), x.data(256, records)])


def who(rows: pl.DataFrame) -> dict[tuple[str, str], tuple[int, int]]:
    """Return (address, user name) -> octets up and down."""
    sums = rows.group_by("address", "user_name").agg(pl.col("octets_up", "octets_down").sum())
    return {(format_address(a), name): (up, down) for a, name, up, down in sums.iter_rows()}


def minutes_of(*flows: Sent, minutes: int = 1) -> pl.DataFrame:
    stage = Stage(OWN)
    stage.take(datagram(message(*flows, minutes=minutes)))
    return stage.rows


def test_the_user_is_at_the_own_end_whichever_way_the_flow_goes() -> None:
    rows = minutes_of(
        ("10.0.0.1", "192.0.2.9", 100, 7, "alice"), ("192.0.2.9", "10.0.0.2", 9_000, 50, "bob")
    )
    assert who(rows) == {("10.0.0.1", "alice"): (100, 7), ("10.0.0.2", "bob"): (50, 9_000)}


def test_of_two_own_ends_the_user_is_at_the_source() -> None:
    rows = minutes_of(("10.0.0.1", "10.0.0.2", 100, 7, "alice"))
    assert who(rows) == {("10.0.0.1", "alice"): (100, 7), ("10.0.0.2", ""): (7, 100)}


def test_rows_with_and_without_a_name_are_different_rows() -> None:
    rows = minutes_of(
        ("10.0.0.1", "192.0.2.9", 1, 0, "alice"),
        ("10.0.0.1", "192.0.2.9", 2, 0, ""),
        ("10.0.0.1", "192.0.2.9", 4, 0, "N/A"),
        ("10.0.0.1", "192.0.2.9", 8, 0, "bob"),
        ("10.0.0.1", "192.0.2.9", 16, 0, "alice"),
    )
    assert rows.height == 3
    assert who(rows) == {
        ("10.0.0.1", "alice"): (17, 0), ("10.0.0.1", ""): (6, 0), ("10.0.0.1", "bob"): (8, 0),
    }  # fmt: skip


def test_a_long_flow_names_its_user_in_each_of_its_minutes() -> None:
    rows = minutes_of(("10.0.0.1", "192.0.2.9", 1_000, 0, "alice"), minutes=5)
    assert rows.height == 5
    assert who(rows) == {("10.0.0.1", "alice"): (1_000, 0)}


def test_minutes_without_a_name_are_written_as_before() -> None:
    rows = minutes_of(("10.0.0.1", "192.0.2.9", 1, 0, ""))
    body = encode_frame(rows, FlowMinute)
    assert b"user_name" not in body
    assert decode_frame(body, FlowMinute).equals(rows)


ends = st.sampled_from(["10.0.0.1", "10.0.0.2", "192.0.2.9", "198.51.100.1"])
flows = st.lists(
    st.tuples(
        ends, ends, st.integers(1, 1 << 40), st.integers(0, 1 << 40),
        st.sampled_from(["", "alice", "bob", "-"]),
    ),
    max_size=20,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(flows, st.integers(1, 4))
def test_every_own_octet_has_one_name_or_none(sent: list[Sent], minutes: int) -> None:
    expected: Counter[tuple[str, str, str]] = Counter()
    for source, destination, up, down, name in sent:
        named = name if name != "-" else ""
        is_own = source.startswith("10."), destination.startswith("10.")
        if is_own[0]:
            expected[source, named, "up"] += up
            expected[source, named, "down"] += down
        if is_own[1]:
            mine = "" if is_own[0] else named
            expected[destination, mine, "up"] += down
            expected[destination, mine, "down"] += up
    found: Counter[tuple[str, str, str]] = Counter()
    for (address, name), (octets_up, octets_down) in who(
        minutes_of(*sent, minutes=minutes)
    ).items():
        found[address, name, "up"] += octets_up
        found[address, name, "down"] += octets_down
    assert +found == +expected
