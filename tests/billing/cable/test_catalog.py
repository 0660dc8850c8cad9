"""Which packages go together, and when they are on sale."""

from __future__ import annotations

import dataclasses

import pytest

from billing.cable.catalog import (
    ChannelPackage,
    channels_of,
    check_choice,
    check_package,
    is_offered,
)
from billing.cable.refusals import RefusedError


def package(name: str, kind: str, channels: str, **more: object) -> ChannelPackage:
    whole = ChannelPackage(
        name, "dhk", kind, name.title(), f"E-{name}", "", tuple(channels.split())
    )
    return dataclasses.replace(whole, **more)  # type: ignore[arg-type]


CATALOG = {
    one.package_id: one
    for one in (
        package("basic", "base", "news btv sport1"),
        package("family", "base", "news btv sport1 kids"),
        package("sports", "addon", "sport2 sport3"),
        package("sports4k", "addon", "sport4k", requires=("sports",)),
        package("faith", "addon", "prayer", excludes=("late",)),
        package("late", "addon", "night"),
        package("kids", "a_la_carte", "kids"),
        package("cup", "addon", "cup1", offered_from_on="2026-06-01", shown_until_on="2026-07-20"),
        package("old", "base", "news", offered_until_on="2026-01-01"),
    )
}


@pytest.mark.parametrize(
    ("chosen", "added", "on", "refusal"),
    [
        ("basic", "basic", "2026-12-01", ""),
        ("basic sports sports4k kids", "sports4k kids", "2026-12-01", ""),
        ("", "", "2026-12-01", ""),
        ("basic family", "family", "2026-12-01", "Basic and Family are both base packages"),
        ("sports", "sports", "2026-12-01", "Sports needs a base package on the same outlet"),
        ("basic sports4k", "sports4k", "2026-12-01", "Sports4K needs Sports"),
        ("basic faith late", "late", "2026-12-01", "Faith does not go together with Late"),
        ("family kids", "kids", "2026-12-01", "Kids is already part of Family"),
        ("basic cup", "cup", "2026-05-31", "Cup is not on sale on 2026-05-31"),
        ("basic cup", "cup", "2026-06-01", ""),
        ("basic cup", "cup", "2026-07-20", "Cup is not on sale on 2026-07-20"),
        ("old", "old", "2026-12-01", "Old is not on sale on 2026-12-01"),
        ("old sports", "sports", "2026-12-01", ""),
        ("basic moon", "moon", "2026-12-01", "There is no package 'moon' in this branch"),
    ],
)
def test_what_goes_together(chosen: str, added: str, on: str, refusal: str) -> None:
    if not refusal:
        check_choice(chosen.split(), added.split(), CATALOG, on)
        return
    with pytest.raises(RefusedError) as refused:
        check_choice(chosen.split(), added.split(), CATALOG, on)
    assert str(refused.value).startswith(refusal)


@pytest.mark.parametrize(
    ("new", "refusal"),
    [
        (package("x", "bronze", "news"), "kind 'bronze': expected one of base, addon, a_la_carte"),
        (package("x", "base", ""), "X has no channels"),
        (package("x", "base", "news news"), "X names a channel twice"),
        (package("x", "a_la_carte", "news btv"), "X is sold as a single channel"),
        (package("x", "addon", "news", requires=("moon",)), "X names the package 'moon'"),
        (
            package("x", "addon", "news", requires=("late",), excludes=("late",)),
            "X both requires and excludes late",
        ),
        (
            package("x", "base", "news", shown_until_on="2026-13-01"),
            "X, shown_until_on = '2026-13-01': expected a day such as 2026-12-01",
        ),
        (
            package("x", "base", "a", offered_from_on="2026-02-01", offered_until_on="2026-02-01"),
            "X is offered until 2026-02-01: expected a day after 2026-02-01",
        ),
    ],
)
def test_what_a_package_may_not_be(new: ChannelPackage, refusal: str) -> None:
    with pytest.raises(RefusedError) as refused:
        check_package(new, CATALOG)
    assert str(refused.value).startswith(refusal)


def test_every_package_of_the_catalog_is_a_good_one() -> None:
    for one in CATALOG.values():
        check_package(one, CATALOG)


def test_each_channel_is_named_once() -> None:
    assert channels_of(["family", "sports", "basic"], CATALOG) == (
        "btv", "kids", "news", "sport1", "sport2", "sport3",
    )  # fmt: skip


def test_the_day_on_which_a_sale_ends_is_not_sold_any_more() -> None:
    old = CATALOG["old"]
    assert [is_offered(old, day) for day in ("2025-12-31", "2026-01-01")] == [True, False]
