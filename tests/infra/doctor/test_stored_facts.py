"""What the doctor reads in logs and state, beside whoever writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from collectors.adapters.segments import SegmentWriter
from collectors.radius.log_codec import AccountingPacket, encode_packets
from collectors.radius.packet import Attribute
from infra.doctor.nases import CounterFact
from infra.doctor.stored_facts import facts_of_packets, log_fact, nas_facts, subscriber_days
from infra.settings import load_settings
from rating.rate_state import CellState, cell_key
from rating.split import Layer
from streams.codec import encode_value
from tests.collectors.radius.packets import INTERIM, RECEIVED_AT, START, integer, logged, request


def packet(*attributes: Attribute, status: int = INTERIM, nas_id: str = "a") -> AccountingPacket:
    return logged(request(*attributes, status=status), nas_id=nas_id)


def test_counters_are_counted_by_nas_and_falls_within_a_session() -> None:
    packets = [
        packet(integer(42, 10), integer(43, 4_000_000_000), integer(46, 60)),
        packet(integer(42, 20), integer(43, 5), integer(46, 120)),
        packet(integer(42, 15), integer(43, 4), integer(46, 110)),
        packet(integer(42, 1), status=START),
        packet(integer(46, 10)),
        packet(integer(42, 9), integer(52, 0), integer(46, 1), nas_id="b@192.0.2.1"),
    ]
    assert facts_of_packets(packets).counters == {
        "a": CounterFact(3, 0, 1, 4_000_000_000),
        "b": CounterFact(1, 1, 0, 9),
    }


def test_clocks_are_those_of_the_newest_packets(tmp_path: Path) -> None:
    settings = load_settings(flags=(f"data_dir={tmp_path}",), environment={})
    log = SegmentWriter(tmp_path / "radius")
    stamped = packet(integer(55, RECEIVED_AT // 1000 + 7_200))
    log.append("data", RECEIVED_AT, encode_packets([stamped]))
    log.append("marker", RECEIVED_AT + 1_000, b"")
    assert nas_facts(settings).offsets_ms == {"a": 7_200_000}
    fact = log_fact("radius.accounting", tmp_path / "radius")
    assert fact is not None
    assert (fact.first_at, fact.last_at) == (RECEIVED_AT, RECEIVED_AT + 1_000)
    assert log_fact("radius.accounting", tmp_path / "absent") is None


def test_quarter_hours_that_only_one_of_both_saw_are_left_out() -> None:
    def cell(
        number: int, counted: tuple[int, int], flows: dict[str, tuple[int, int]]
    ) -> tuple[Any, ...]:
        state = CellState((Layer(0, *counted, flows),))
        return cell_key("pool|1", number, 0, "s-1"), encode_value(state)

    cells: list[tuple[Any, ...]] = [
        cell(96 * 5, (10, 100), {"cdn": (3, 30), "local": (6, 60)}),
        cell(96 * 5 + 1, (1, 2), {"cdn": (4, 5)}),
        cell(96 * 5 + 2, (1_000, 1_000), {}),
        cell(96 * 5 + 3, (0, 0), {"cdn": (1_000, 1_000)}),
        ("no cell", b""),
    ]
    (day,) = subscriber_days(lambda statement, arguments: cells)
    assert day == ("s-1", 5, 11, 102, 13, 95)
