"""Totals that go on from update to update (85, 86): each octet bills once, in any batching."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.netflow.config import ExporterConfig, FlowDecodeConfig, check_decode
from collectors.netflow.elements import REVERSE
from collectors.netflow.running import ENDED, FINAL, INTERVAL, TOTAL, Running, Updates
from collectors.netflow.state import RUNNING, SPLIT
from rating.ports import MemoryState, StepResult
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import PATIENT, Run

FIELDS: tuple[x.Field, ...] = (
    (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (152, 8), (153, 8), (85, 8), (86, 8), (136, 1),
)  # fmt: skip
TEMPLATE = x.ipfix([x.template(256, FIELDS, version=10)])
BEGAN_AT = x.EXPORTED_AT * 1000 - 3_600_000
ACTIVE, IDLE = 2, 1


def _update(
    after: int, octets: int, *, port: int = 40_000, begin: int = BEGAN_AT, reason: int = ACTIVE
) -> bytes:
    """Return one update as a message: a flow's octets `after` seconds from its beginning."""
    ends = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), port, 443, 6)
    values = (*ends, begin, begin + after * 1000, octets, octets // 100, reason)
    return x.ipfix([x.data(256, [x.record(FIELDS, values)])], sequence=after)


def _run(
    payloads: Sequence[bytes], config: FlowDecodeConfig = PATIENT, *, gap_seconds: int = 1
) -> Run:
    """Take one message a block, gap_seconds apart, with a restart after each."""
    run = Run(config)
    run.take(x.block([TEMPLATE]))
    for number, payload in enumerate(payloads):
        at = (x.EXPORTED_AT + number * gap_seconds) * 1000
        run.take(x.block([payload], received_at=at), watermark_at=at)
        run.restart()
    return run


def test_updates_of_a_permanent_flow_count_their_difference() -> None:
    run = _run([_update(60, 1_000), _update(120, 1_000), _update(180, 4_500)])
    assert run.totals["octets"] == 6_500
    assert (run.counted["octets"], run.counted["packets"]) == (4_500, 45)
    assert run.rules["decode_flows_repeated"] == 1


def test_one_record_per_flow_counts_whole() -> None:
    # YAF: totals only, each flow once, at its end.
    run = _run([_update(9, 500, port=port, reason=IDLE) for port in range(1, 30)])
    assert run.counted["octets"] == run.totals["octets"] == 29 * 500


def test_the_same_ends_again_are_another_flow_by_their_start() -> None:
    first = _update(60, 1_000, reason=IDLE)
    second = _update(10, 1_200, begin=BEGAN_AT + 60_001, reason=IDLE)
    assert _run([first, second]).counted["octets"] == 2_200


def test_an_update_that_was_overtaken_adds_nothing() -> None:
    run = _run([_update(60, 1_000), _update(180, 4_500), _update(120, 2_000), _update(240, 5_000)])
    assert run.counted["octets"] == 5_000


def test_a_lower_and_later_total_is_a_new_flow() -> None:
    run = _run([_update(60, 1_000), _update(120, 300), _update(180, 450)])
    assert run.counted["octets"] == 1_450


def test_what_an_update_adds_lies_behind_the_update_before() -> None:
    run = _run([_update(60, 1_000), _update(180, 4_500)])
    spans = [((a - BEGAN_AT) // 1000, (b - BEGAN_AT) // 1000, n) for a, b, n in run.pieces]
    assert spans == [(0, 60, 1_000), (60, 180, 3_500)]


def test_after_a_long_silence_it_is_another_flow() -> None:
    config = dataclasses.replace(PATIENT, running_idle_seconds=600, running_ended_seconds=60)
    updates = [_update(60, 1_000), _update(120, 1_500)]
    assert _run(updates, config, gap_seconds=600).counted["octets"] == 1_500
    assert _run(updates, config, gap_seconds=601).counted["octets"] == 2_500


def test_the_first_total_of_a_flow_that_began_long_before_is_what_the_next_add_to() -> None:
    # After an outage, or on the first day: most of it is billed already, or older than we are.
    hours = 3_600
    run = _run([_update(9 * hours, 90_000), _update(10 * hours, 95_000)])
    assert run.counted["octets"] == 5_000
    assert run.rules["decode_flows_begun_before"] == 1
    assert run.rules["decode_flows_repeated"] == 0


def test_a_long_flow_that_is_told_once_at_its_end_counts_whole() -> None:
    run = _run([_update(36_000, 90_000, reason=IDLE)])
    assert run.counted["octets"] == 90_000


def test_a_wrong_clock_makes_no_flow_old() -> None:
    begin = 86_400_000  # the exporter believes in 1970
    run = _run([_update(60, 1_000, begin=begin), _update(120, 1_500, begin=begin)])
    assert run.counted["octets"] == 1_500


def test_an_ended_flow_is_forgotten_earlier() -> None:
    config = dataclasses.replace(PATIENT, running_idle_seconds=600, running_ended_seconds=60)
    updates = [_update(120, 1_500, reason=IDLE), _update(60, 1_000)]
    assert _run(updates, config, gap_seconds=60).counted["octets"] == 1_500
    run = _run([*updates, _update(180, 1_900)], config, gap_seconds=61)
    assert run.counted["octets"] == 1_500 + 1_000 + 900


def test_both_directions_go_on_apart() -> None:
    fields = (*FIELDS, (85, 8, REVERSE))
    ends = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), 40_000, 443, 6, BEGAN_AT)
    told = [(BEGAN_AT + 60_000, 100, 1, ACTIVE, 9_000), (BEGAN_AT + 120_000, 150, 2, ACTIVE, 9_500)]
    run = Run()
    run.take(x.block([x.ipfix([x.template(256, fields, version=10)])]))
    for values in told:
        run.take(x.block([x.ipfix([x.data(256, [x.record(fields, (*ends, *values))])])]))
        run.restart()
    assert (run.counted["octets"], run.counted["octets_reverse"]) == (150, 9_500)


def test_a_delta_beside_a_reverse_total_stays_as_it_is() -> None:
    fields = (*FIELDS[:7], (1, 8), (85, 8, REVERSE))
    ends = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), 40_000, 443, 6, BEGAN_AT)
    run = Run()
    run.take(x.block([x.ipfix([x.template(256, fields, version=10)])]))
    for values in ((BEGAN_AT + 60_000, 100, 9_000), (BEGAN_AT + 120_000, 100, 9_500)):
        run.take(x.block([x.ipfix([x.data(256, [x.record(fields, (*ends, *values))])])]))
    assert (run.counted["octets"], run.counted["octets_reverse"]) == (200, 9_500)


def test_updates_in_one_block_under_two_templates_count_in_order_of_arrival() -> None:
    other = (FIELDS[7], *FIELDS[:7], *FIELDS[8:])
    ends = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), 40_000, 443, 6)
    payloads = [TEMPLATE, x.ipfix([x.template(257, other, version=10)])]
    for number, octets in enumerate((1_000, 2_000, 3_000, 4_000)):
        times = (BEGAN_AT, BEGAN_AT + number * 1000)
        if number % 2:
            payloads.append(_update(number, octets))
        else:
            values = (octets, *ends, *times, octets // 100, ACTIVE)
            payloads.append(x.ipfix([x.data(257, [x.record(other, values)])], sequence=number))
    run = Run()
    run.take(x.block(payloads))
    assert sorted(octets for _, _, octets in run.pieces) == [1_000] * 4


def test_two_exporters_flows_are_apart() -> None:
    run = Run()
    for source in ("192.0.2.1", "192.0.2.2"):
        run.take(x.block([TEMPLATE, _update(60, 1_000)], source=source))
    assert run.counted["octets"] == 2_000


def test_totals_without_anything_to_tell_the_flow_by_count_as_they_stand() -> None:
    fields: tuple[x.Field, ...] = ((56, 6), (85, 8))
    record = x.record(fields, (7, 500))
    run = Run()
    run.take(x.block([x.ipfix([x.template(256, fields, version=10), x.data(256, [record] * 2)])]))
    assert run.counted["octets"] == 1_000


def test_a_setting_takes_deltas_for_totals_and_totals_for_deltas() -> None:
    def config(counters: str) -> FlowDecodeConfig:
        entry = ExporterConfig("192.0.2.0/24", counters=counters)  # type: ignore[arg-type]
        return dataclasses.replace(PATIENT, exporters=(entry,))

    updates = [_update(60, 1_000), _update(120, 1_500)]
    assert _run(updates, config("delta")).counted["octets"] == 2_500
    deltas = [x.basic("10.0.0.1", "192.0.2.9", octets) for octets in (1_000, 1_500)]
    payloads = [x.v9([x.template(300, x.BASIC)])]
    payloads += [x.v9([x.data(300, [record])], sequence=n) for n, record in enumerate(deltas)]
    assert _run(payloads).counted["octets"] == 2_500
    assert _run(payloads, config("total")).counted["octets"] == 1_500


def test_the_flows_remembered_are_bounded_and_the_silent_ones_go_first() -> None:
    config = dataclasses.replace(PATIENT, running_flows_limit=100)
    run = _run([_update(60, 1_000, port=port) for port in range(1, 301)], config)
    held = sum(len(value) for value in run.state.collections[RUNNING].values()) // 64
    assert 90 <= held <= 150
    assert run.rules["decode_running_forgotten"] == 300 - held
    before = run.counted["octets"]
    run.take(x.block([_update(120, 1_000, port=port) for port in range(220, 301)]))
    assert run.counted["octets"] == before
    run.take(x.block([_update(121, 1_000, port=port) for port in range(1, 31)]))
    assert run.counted["octets"] - before == 30 * 1_000


def test_runs_of_state_stay_few_and_empty_themselves() -> None:
    run = _run([_update(60, 1_000, port=port) for port in range(1, 201)])
    assert len(run.state.collections[RUNNING]) <= 9
    late = (x.EXPORTED_AT + 7_500) * 1000
    run.take(x.block([], received_at=late), watermark_at=late)
    assert not run.state.collections[RUNNING]


@pytest.mark.parametrize(("ended", "idle"), [(-1, 600), (601, 600)])
def test_an_ended_flow_is_not_known_longer_than_a_silent_one(ended: int, idle: int) -> None:
    config = FlowDecodeConfig(running_idle_seconds=idle, running_ended_seconds=ended)
    assert any(problem.startswith("running_ended_seconds") for problem in check_decode(config))


# -- against an oracle that knows each flow by itself ----------------------------------------------

IDLE_MS, ENDED_MS = 5_000, 2_000


class _Oracle:
    """What records of flows add, by the rules of decision 0125, one at a time, in plain numbers."""

    def __init__(self) -> None:
        self.flows: dict[int, dict[str, int]] = {}

    def add(self, key: int, kind: int, at: int, received_at: int, octets: int, length: int) -> int:
        flow = self.flows.get(key)
        is_reset = False
        if flow is not None and received_at - flow["seen"] > (
            ENDED_MS if flow["ended"] else IDLE_MS
        ):
            flow = None
        if flow is not None and kind & FINAL == TOTAL and octets < flow["sum"] and at > flow["at"]:
            flow, is_reset = None, True
        if flow is None:
            is_old = kind & FINAL == TOTAL and not kind & ENDED and length > IDLE_MS
            held = octets if is_old and not is_reset else 0
            flow = self.flows[key] = {"sum": held, "at": at, "ended": 0, "seen": 0}
        if kind & FINAL == INTERVAL:
            more = 0 if flow["ended"] else octets
        else:
            more = max(0, octets - flow["sum"])
        flow["sum"] += more
        flow["at"] = max(flow["at"], at)
        flow["ended"] |= kind & ENDED
        flow["seen"] = received_at
        return more


_KINDS = [TOTAL | 1, TOTAL | 1 | ENDED, INTERVAL | 1, FINAL | 1 | ENDED]
_RECORD = st.tuples(
    st.integers(1, 4), st.sampled_from(_KINDS), st.integers(0, 9), st.integers(0, 4_000),
    st.integers(0, 20), st.sampled_from([0, IDLE_MS, IDLE_MS + 1]),
)  # fmt: skip


def _updates(records: Sequence[tuple[int, int, int, int, int, int]]) -> Updates:
    columns = list(zip(*records, strict=True))
    values = np.zeros((len(records), 4), np.int64)
    values[:, 0] = columns[4]
    assert len(columns) == 6
    return Updates(
        key=np.array(columns[0], np.uint64),
        kind=np.array(columns[1], np.uint8),
        began_at=np.array(columns[2], np.int64) - np.array(columns[5], np.int64),
        at=np.array(columns[2], np.int64),
        received_at=np.array(columns[3], np.int64),
        values=values,
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(_RECORD, min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_any_records_in_any_batches_add_what_the_oracle_says(
    records: list[tuple[int, int, int, int, int, int]], chance: random.Random
) -> None:
    clock, timed = 10_000, []
    for key, kind, at, waited, octets, length in records:
        clock += waited
        timed.append((key, kind, at, clock, octets, length))
    oracle = _Oracle()
    expected = [oracle.add(*record) for record in timed]
    config = FlowDecodeConfig(
        running_idle_seconds=IDLE_MS // 1000, running_ended_seconds=ENDED_MS // 1000
    )
    state = MemoryState()
    found: list[int] = []
    while len(found) < len(timed):
        part = timed[len(found) : len(found) + chance.randint(1, 12)]
        running = Running(state, config)
        cut = chance.randint(0, len(part))
        for piece in (part[:cut], part[cut:]):
            if piece:
                found += running.add(_updates(piece)).values[:, 0].tolist()
        state.apply(StepResult(changes=running.changes(part[-1][3])))
    assert found == expected


def test_a_flow_of_many_updates_in_one_block_is_as_one_by_one() -> None:
    chance = random.Random(3)
    octets = 0
    payloads = []
    for number in range(200):
        octets += chance.randint(0, 9_000)
        payloads.append(_update(number, octets))
    whole = Run()
    whole.take(x.block([TEMPLATE]))
    whole.take(x.block(payloads))
    assert whole.counted["octets"] == octets
    singly = _run(payloads, gap_seconds=0)
    assert singly.pieces == whole.pieces


def test_an_absurd_total_cannot_leave_64_bits() -> None:
    huge = (1 << 60) - 1
    config = dataclasses.replace(PATIENT, record_octets_limit=1 << 60)
    run = _run([_update(n, huge, reason=ACTIVE) for n in range(1, 9)], config)
    assert run.counted["octets"] == huge


def test_a_flow_goes_on_when_its_exporter_is_told_apart_from_another_port() -> None:
    other = x.ipfix([x.template(256, (*FIELDS, (61, 1)), version=10)])
    run = Run()
    for port, payload in (
        (50_000, TEMPLATE), (50_000, _update(60, 1_000)), (50_001, other),
        (50_000, _update(120, 1_700)),
    ):  # fmt: skip
        run.take(x.block([payload], source_port=port))
        run.restart()
    assert any(run.state.collections[SPLIT].values())
    assert run.counted["octets"] == 1_700
