"""The join in columns: masks, pages, and the owner of an address."""

from __future__ import annotations

import polars as pl
import pytest

from rating.attribution import (
    BINDING_SCHEMA,
    HOLDER_KEY,
    PAGE_SCHEMA,
    Evidence,
    add_up,
    bindings_of,
    owners_of,
    pages_of,
    statics_of,
    touched_by,
)
from rating.binding_index import BindingIndex
from rating.page_bodies import decode_page, encode_page
from rating.records import FlowMinute, SessionBinding, frame_of
from rating.session_config import WHO
from tests.rating.accounting_log import at, minute
from tests.rating.flow_log import binding, flow

BOUND_MS = 7_200_000
NO_USERS = pl.DataFrame(schema={"user_name": pl.String, "subscriber_id": pl.String})


def page_of(*rows: FlowMinute) -> pl.DataFrame:
    (page,) = pages_of(frame_of(FlowMinute, list(rows)), BOUND_MS).values()
    return page


def owner(host: str, *bindings: SessionBinding) -> str:
    holders = page_of(flow("10:05", host, 1)).select(HOLDER_KEY)
    table = bindings_of(frame_of(SessionBinding, list(bindings)))
    evidence = Evidence(BindingIndex(table), statics_of([]), NO_USERS, WHO)
    owners = owners_of(holders, minute("10:05"), evidence)
    return str(owners["subscriber_id"].item())


@pytest.mark.parametrize("length", [36, 40, 56, 61, 64, 65, 96, 127, 128])
def test_a_prefix_of_any_length_covers_what_is_in_it_and_nothing_else(length: int) -> None:
    whole = int.from_bytes(bytes.fromhex("20010db8a5a5a5a5a5a5a5a5a5a5a5a5"), "big")

    def text(value: int) -> str:
        return value.to_bytes(16, "big").hex(":", 2)

    held = binding("s-alice", f"{text(whole)}/{length}", "10:00:00")
    inside = whole ^ (0 if length == 128 else 1)
    outside = whole ^ (1 << (128 - length))
    assert owner(text(inside), held) == "s-alice"
    assert owner(text(outside), held) == ""


def test_the_latest_beginning_goes_before_the_longer_prefix() -> None:
    wide = binding("s-wide", "2001:db8::/56", "10:03:00")
    narrow = binding("s-narrow", "2001:db8::1", "10:02:00")
    assert owner("2001:db8::1", wide, narrow) == "s-wide"
    same = binding("s-wide", "2001:db8::/56", "10:02:00")
    assert owner("2001:db8::1", same, narrow) == "s-narrow"


@pytest.mark.parametrize(
    ("since", "until", "holds"),
    [
        ("10:00:00", None, True),
        ("10:05:59", None, True),
        ("10:06:00", None, False),
        ("10:00:00", "10:05:01", True),
        ("10:00:00", "10:05:00", False),
        ("10:05:30", "10:05:30", False),
    ],
)
def test_a_binding_that_overlaps_the_minute_at_all_holds_it(
    since: str, until: str | None, holds: bool
) -> None:
    assert (owner("100.64.0.1", binding("s", "100.64.0.1", since, until)) == "s") is holds


def test_rows_add_up_only_where_their_lateness_is_one() -> None:
    rows = [
        flow("10:05", "100.64.0.1", 1),
        flow("10:05", "100.64.0.1", 2),
        flow("10:05", "100.64.0.1", 4, arrives="12:30:00"),
    ]
    page = add_up(page_of(*rows)).sort("late_through_minute")
    assert page["octets_down"].to_list() == [3, 4]
    assert page["late_through_minute"].to_list() == [minute("10:05"), minute("10:30")]


def test_a_page_comes_back_from_its_octets() -> None:
    page = page_of(flow("10:05", "100.64.0.1", 1))
    assert decode_page(encode_page(page), PAGE_SCHEMA).equals(page)


def test_a_page_of_the_version_before_names_no_user() -> None:
    page = page_of(flow("10:05", "100.64.0.1", 1)).select(PAGE_SCHEMA.names())
    assert decode_page(encode_page(page.drop("user_name")), PAGE_SCHEMA).equals(page)


def test_rows_under_a_changed_binding_know_its_latest_cause() -> None:
    page = page_of(flow("10:05", "100.64.0.1", 1), flow("10:05", "100.64.0.2", 2))
    changed = bindings_of(
        frame_of(
            SessionBinding,
            [
                binding("s-alice", "100.64.0.1", "10:00:00", arrives="11:00:00"),
                binding("s-bob", "100.64.0.1", "10:00:00", arrives="12:00:00"),
            ],
        )
    )
    touched = touched_by(page, changed)
    assert touched.select("octets_down", "cause_at").rows() == [(1, at("12:00:00"))]


def test_no_bindings_make_an_empty_table() -> None:
    assert bindings_of(frame_of(SessionBinding, [])).schema == BINDING_SCHEMA
