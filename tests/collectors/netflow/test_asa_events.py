"""Cisco ASA: updates tell what came since the one before, the teardown the whole connection.

Both are true of one export: decision 0125 says where it is known from. `cisco_asa_2` of the corpus
repeats each connection's only update in its teardown.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest

from collectors.adapters.captures import read_file
from collectors.netflow.config import ExporterConfig, FlowDecodeConfig
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import PATIENT, Run
from tests.corpus import corpus_path, corpus_present

FIELDS: tuple[x.Field, ...] = (
    (148, 4), (8, 4), (7, 2), (12, 4), (11, 2), (4, 1), (233, 1), (323, 8), (231, 4), (232, 4),
    (152, 8),
)  # fmt: skip
CREATED: tuple[x.Field, ...] = FIELDS[:8] + FIELDS[10:]

CREATE, TEARDOWN, DENIED, UPDATE = 1, 2, 3, 5
BEGAN_AT = x.EXPORTED_AT * 1000 - 600_000
TEMPLATES = x.v9([x.template(263, FIELDS), x.template(256, CREATED)], sequence=1)

Told = tuple[int, int, int, int]
"""Seconds after the connection's beginning, event, initiator and responder octets."""


def _event(told: Told, *, connection: int = 77, port: int = 40_000) -> bytes:
    """Return one event as a datagram of its own, its sequence number its time."""
    after, event, initiator, responder = told
    ends = (x.v4("10.0.0.1"), port, x.v4("192.0.2.9"), 443, 6)
    begin = BEGAN_AT + connection
    when = begin + after * 1000
    if event == CREATE:
        values: tuple[int, ...] = (connection, *ends, event, when, begin)
        return x.v9([x.data(256, [x.record(CREATED, values)])], sequence=100 + after)
    values = (connection, *ends, event, when, initiator, responder, begin)
    return x.v9([x.data(263, [x.record(FIELDS, values)])], sequence=100 + after * 8 + event)


def _run(payloads: Sequence[bytes], config: FlowDecodeConfig = PATIENT, *, singly: bool) -> Run:
    run = Run(config)
    for part in [[p] for p in payloads] if singly else [payloads]:
        run.take(x.block(part))
        run.restart()
    return run


LIFE: tuple[Told, ...] = (
    (0, CREATE, 0, 0),
    (60, UPDATE, 2_557, 1_117),
    (121, UPDATE, 31, 0),
    (182, UPDATE, 400, 90_000),
    (190, TEARDOWN, 2_988, 91_117),
)


@pytest.mark.parametrize("singly", [False, True])
def test_a_connection_counts_once_as_it_goes(singly: bool) -> None:
    payloads = [TEMPLATES, *map(_event, LIFE)]
    run = _run(payloads, singly=singly)
    assert run.totals["octets"] == 2 * 2_988
    assert (run.counted["octets"], run.counted["octets_reverse"]) == (2_988, 91_117)
    assert run.rules["decode_flows_repeated"] == 1
    before = _run(payloads[:4], singly=singly)
    assert (before.counted["octets"], before.counted["octets_reverse"]) == (2_588, 1_117)


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_the_teardown_makes_good_a_lost_update(missing: int) -> None:
    kept = [told for number, told in enumerate(LIFE) if number != missing]
    run = _run([TEMPLATES, *map(_event, kept)], singly=True)
    assert (run.counted["octets"], run.counted["octets_reverse"]) == (2_988, 91_117)


def test_an_update_overtaken_by_the_teardown_adds_nothing() -> None:
    for order in itertools.permutations(LIFE[1:]):
        for singly in (False, True):
            run = _run([TEMPLATES, *map(_event, order)], singly=singly)
            counted = (run.counted["octets"], run.counted["octets_reverse"])
            assert counted == (2_988, 91_117), order


def test_updates_without_a_teardown_are_what_is_known() -> None:
    run = _run([TEMPLATES, *map(_event, LIFE[:3])], singly=True)
    assert run.counted["octets"] == 2_588


def test_what_an_update_adds_lies_behind_the_update_before() -> None:
    run = _run([TEMPLATES, *map(_event, LIFE)], singly=False)
    begin = BEGAN_AT + 77
    spans = [((a - begin) // 1000, (b - begin) // 1000, n) for a, b, n in run.pieces]
    assert spans == [(0, 60, 3_674), (60, 121, 31), (121, 182, 90_400)]


def test_a_used_connection_id_is_another_connection() -> None:
    one = [_event((5, TEARDOWN, 100, 10))]
    other = [_event((5, TEARDOWN, 70, 7), port=40_001)]
    run = _run([TEMPLATES, *one, *other], singly=True)
    assert run.counted["octets"] == 170


def test_two_connections_of_the_same_ends_and_start_differ_by_their_id() -> None:
    one = _event((5, TEARDOWN, 100, 10))
    ends = (x.v4("10.0.0.1"), 40_000, x.v4("192.0.2.9"), 443, 6)
    values = (78, *ends, TEARDOWN, BEGAN_AT + 77 + 6_000, 70, 7, BEGAN_AT + 77)
    other = x.v9([x.data(263, [x.record(FIELDS, values)])], sequence=900)
    run = _run([TEMPLATES, one, other], singly=True)
    assert run.counted["octets"] == 170


def test_a_denied_connection_is_no_usage() -> None:
    run = _run([TEMPLATES, _event((0, DENIED, 0, 0))], singly=True)
    assert run.counted["octets"] == 0


def test_connections_mixed_and_batched_in_any_way_give_the_same() -> None:
    chance = random.Random(5)
    lives = [[_event(told, connection=c, port=c) for told in LIFE] for c in range(1, 60)]
    queue = [(chance.random() + n / 2, payload) for life in lives for n, payload in enumerate(life)]
    payloads = [payload for _, payload in sorted(queue)]
    whole = _run([TEMPLATES, *payloads], singly=False)
    assert whole.counted["octets"] == 59 * 2_988
    assert whole.counted["octets_reverse"] == 59 * 91_117
    assert _run([TEMPLATES, *payloads], singly=True).pieces == whole.pieces


def test_a_setting_takes_every_record_as_it_stands() -> None:
    config = FlowDecodeConfig(exporters=(ExporterConfig("192.0.2.1", counters="delta"),))
    run = _run([TEMPLATES, *map(_event, LIFE)], config, singly=True)
    assert run.counted["octets"] == 2 * 2_988


def test_cisco_asa_2_of_the_corpus_bills_each_connection_once() -> None:
    if not corpus_present():
        pytest.skip("the corpus is not there")
    run = Run()
    for name in ("tpl_26x", "tpl_27x", "data"):
        path = corpus_path(f"netflow/logstash/netflow9_test_cisco_asa_2_{name}.dat")
        run.take(x.block_of(read_file(path).datagrams))
        run.restart()
    assert (run.totals["octets"], run.totals["octets_reverse"]) == (1_131, 129_231)
    # What its eight teardowns say (`by_firewall_event` of the corpus).
    assert (run.counted["octets"], run.counted["octets_reverse"]) == (606, 64_997)
