"""What a subscriber is charged where the NAS accounts a session and the services inside it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rating.accounting import COUNTS_NOTHING, COUNTS_OCTETS, COUNTS_SECONDS, AccountingRecord
from rating.session_state import SessionGroup
from tests.rating.accounting_log import Stage, interim, run, start, stop

MB = 10**6


def parent(counts: str) -> list[AccountingRecord]:
    return [
        start("10:00:00", counts=counts),
        interim("10:05:00", 300, 30 * MB, counts=counts),
        stop("10:10:00", 600, 60 * MB, counts=counts),
    ]


def child(name: str, down: int, counts: str) -> list[AccountingRecord]:
    more: dict[str, Any] = {"acct_session_id": name, "counts": counts}
    return [
        start("10:00:00", **more),
        interim("10:05:00", 300, down // 2, **more),
        stop("10:10:00", 600, down, **more),
    ]


def seconds(stage: Stage) -> int:
    return sum(counters[4] for counters in stage.usage.values())


def test_the_session_counts_and_its_services_are_left_out() -> None:
    packets = parent("all") + child("0001:1", 40 * MB, COUNTS_NOTHING)
    stage = run(packets, watermark="11:00:00")
    assert (stage.down(), seconds(stage)) == (60 * MB, 600)
    assert stage.counters["sessions_services_left_out"] == 3
    assert [row.acct_session_id for row in stage.sessions()] == ["0001"]


def test_the_services_count_and_the_session_gives_its_time() -> None:
    packets = (
        parent(COUNTS_SECONDS)
        + child("0001:1", 40 * MB, COUNTS_OCTETS)
        + child("0001:2", 20 * MB, COUNTS_OCTETS)
    )
    stage = run(packets, watermark="11:00:00")
    assert (stage.down(), seconds(stage)) == (60 * MB, 600)
    assert {name.split("/")[1] for name in stage.octets_by_session()} == {"0001:1", "0001:2"}


def test_a_live_session_shows_its_own_octets_and_services_have_no_row() -> None:
    packets = parent(COUNTS_SECONDS)[:2] + child("0001:1", 40 * MB, COUNTS_OCTETS)[:2]
    stage = run(packets, watermark="10:06:00")
    row = stage.session()
    assert (row.acct_session_id, row.octets_down, row.rate_down_bps) == ("0001", 30 * MB, 800_000)


@pytest.mark.parametrize("order", [1, -1])
def test_packets_of_a_service_in_any_order_count_the_same(order: int) -> None:
    packets = child("0001:1", 40 * MB, COUNTS_OCTETS)[::order]
    assert run(packets, watermark="11:00:00").down() == 40 * MB


def test_a_changed_setting_is_for_sessions_that_begin_then() -> None:
    packets = [start("10:00:00"), interim("10:05:00", 300, 30 * MB)]
    packets += [stop("10:10:00", 600, 60 * MB, counts=COUNTS_SECONDS)]
    assert run(packets, watermark="11:00:00").down() == 60 * MB


def test_state_of_the_version_before_counts_all() -> None:
    known = msgspec.to_builtins(SessionGroup("bras", "0001"))
    del known["counts"]
    decoded = msgspec.msgpack.decode(msgspec.msgpack.encode(known), type=SessionGroup)
    assert decoded.counts == "all"
