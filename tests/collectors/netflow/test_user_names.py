"""User names in flows: which elements carry them, how they are written, and what is none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.decoder import Decoded
from collectors.netflow.layouts import compile_layout
from collectors.netflow.variable import normalise
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import PATIENT, Run
from tests.corpus import corpus_path

VARIABLE = 0xFFFF
ENDS: tuple[x.Field, ...] = ((8, 4), (12, 4), (1, 8))


def names_of(decoded: Decoded) -> list[str]:
    flows = decoded.flows
    return [flows.user_names[number] for number in flows.user_name.tolist()]


def run_of(*payloads: bytes, config: FlowDecodeConfig | None = None) -> Run:
    run = Run(config or PATIENT)
    run.take(x.block(payloads))
    return run


def message(fields: list[x.Field], *values: bytes, version: int = 10) -> bytes:
    """Return a template of ENDS and the fields, and one record for each (one-field) value."""
    every = [*ENDS, *fields]
    ends = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), 100)
    records = [x.record(every, (*ends, value)) for value in values]
    sets = [x.template(256, every, version=version), x.data(256, records)]
    return x.ipfix(sets) if version == 10 else x.v9(sets)


def names(
    fields: list[x.Field], *values: bytes, version: int = 10, config: FlowDecodeConfig | None = None
) -> list[str]:
    return names_of(run_of(message(fields, *values, version=version), config=config).flows[0])


@pytest.mark.parametrize(
    ("field", "version"),
    [
        ((371, VARIABLE), 10),
        ((93, VARIABLE, 637), 10),
        ((28, VARIABLE, 15_397), 10),
        ((205, VARIABLE, 5951), 10),
        ((242, VARIABLE, 35_632), 10),
        ((371, 20), 9),
        ((40_000, 20), 9),
        ((40_000, 65), 9),
        ((56_702, 64), 9),
        ((57_714, 32), 9),
    ],
)
def test_each_vendors_element(field: x.Field, version: int) -> None:
    octets = field[1]
    value = b"alice" if octets == VARIABLE else b"alice".ljust(octets, b"\0")
    assert names([field], value, version=version) == ["alice"]


def test_the_same_element_of_another_enterprise_is_no_name() -> None:
    assert names([(371, VARIABLE, 9)], b"alice") == [""]
    assert names([(93, VARIABLE)], b"alice") == [""]


def test_a_variable_length_in_netflow_v9_which_its_rfc_does_not_know() -> None:
    assert names([(371, VARIABLE)], b"alice", version=9) == ["alice"]


def test_a_name_longer_than_254_octets_has_its_length_in_three() -> None:
    long = b"a" * 255
    limit = FlowDecodeConfig(user_name_octets_limit=300)
    assert names([(371, VARIABLE)], long, b"bob", config=limit) == ["a" * 255, "bob"]


@pytest.mark.parametrize("octets", [VARIABLE, 64])
def test_a_name_beyond_the_limit_is_none_and_counted(octets: int) -> None:
    config = FlowDecodeConfig(user_name_octets_limit=5)
    values = [value if octets == VARIABLE else value.ljust(64, b"\0") for value in LIMITED]
    run = run_of(message([(371, octets)], *values), config=config)
    assert names_of(run.flows[0]) == ["alice", "", "bob", ""]
    assert run.counts["user_name_too_long"] == 2
    assert run.totals["flows"] == 4, "the octets count, whoever moved them"


LIMITED = (b"alice", b"alicia", b"bob", b"mallory")


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (b"", ""),
        (b"\0\0\0", ""),
        (b"   ", ""),
        (b"N/A", ""),
        (b"n/a", ""),
        (b"-", ""),
        (b"Unknown", ""),
        (b"(null)", ""),
        (b"unknown-alice", "unknown-alice"),
        (b"Alice", "Alice"),
        (b"alice@example.net", "alice@example.net"),
        (b"EXAMPLE\\alice", "EXAMPLE\\alice"),
        (b"USER1@10.10.0.123", "USER1"),
        (b"alice@example.net@2001:db8::7", "alice@example.net"),
        (b"@10.0.0.1", "@10.0.0.1"),
        ("zoë".encode(), "zoë"),
        (b"al\xffice", "al\\xffice"),
        (b"al\0ice", "al\\x00ice"),
        (b"alice\0", "alice"),
        (b"alice  ", "alice"),
    ],
)
def test_how_a_name_is_written(sent: bytes, read: str) -> None:
    assert names([(371, VARIABLE)], sent) == [read]
    if len(sent) and sent != b"al\xffice":
        assert names([(371, 40)], sent.ljust(40, b"\0"), version=9) == [read]


def test_a_setting_says_what_is_no_name() -> None:
    config = FlowDecodeConfig(no_user_names=("Guest",))
    assert names([(371, VARIABLE)], b"guest", b"n/a", config=config) == ["", "n/a"]


def test_of_two_elements_the_first_that_is_not_empty_names_the_user() -> None:
    fields: list[x.Field] = [*ENDS, (371, 8), (93, VARIABLE, 637)]
    ends = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), 100)
    pairs = [(b"alice", b"a2"), (b"", b"bob@10.0.0.2"), (b"", b"")]
    records = [x.record(fields, (*ends, a.ljust(8, b"\0"), b)) for a, b in pairs]
    sent = x.ipfix([x.template(256, fields, version=10), x.data(256, records)])
    assert names_of(run_of(sent).flows[0]) == ["alice", "bob", ""]


def test_names_lie_beside_variable_fields_that_nobody_needs() -> None:
    fields: list[x.Field] = [(82, VARIABLE), *ENDS, (371, VARIABLE), (2, VARIABLE), (96, VARIABLE)]
    values = [
        (b"ge-0/0/0", x.v4("10.0.0.1"), x.v4("192.0.2.9"), n, name, bytes([n]), b"app" * n)
        for n, name in enumerate((b"alice", b"bob", b"", b"alice"), start=1)
    ]
    records = [x.record(fields, value) for value in values]
    sent = x.ipfix([x.template(256, fields, version=10), x.data(256, records)])
    decoded = run_of(sent).flows[0]
    assert names_of(decoded) == ["alice", "bob", "", "alice"]
    assert decoded.flows.user_names == ("", "alice", "bob"), "each name once"
    assert decoded.flows.packets.tolist() == decoded.flows.octets.tolist() == [1, 2, 3, 4]


def test_names_survive_the_wait_for_their_template_and_a_restart() -> None:
    fields: list[x.Field] = [*ENDS, (371, VARIABLE)]
    values = (x.v4("10.0.0.1"), x.v4("192.0.2.9"), 100, b"alice")
    run = Run()
    run.take(x.block([x.ipfix([x.data(256, [x.record(fields, values)])])]))
    assert run.held == 1
    run.restart()
    template = x.ipfix([x.template(256, fields, version=10)], sequence=1)
    assert names_of(run.take(x.block([template]))) == ["alice"]


def test_names_stay_with_their_records_when_implausible_ones_go() -> None:
    fields: list[x.Field] = [*ENDS, (371, VARIABLE)]
    ends = (x.v4("10.0.0.1"), x.v4("192.0.2.9"))
    records = [x.record(fields, (*ends, octets, b"u%d" % octets)) for octets in (7, 1 << 62, 9)]
    sent = x.ipfix([x.template(256, fields, version=10), x.data(256, records)])
    decoded = run_of(sent).flows[0]
    assert names_of(decoded) == ["u7", "u9"]


def test_palo_alto_names_nobody_in_the_corpus() -> None:
    folder = corpus_path("netflow/logstash")
    files = [folder / f"netflow9_test_paloalto_panos_{part}.dat" for part in ("tpl", "data")]
    run = run_of(*(file.read_bytes() for file in files))
    assert names_of(run.flows[0]) == [""] * 8


# -- records of variable length, side by side and one by one ---------------------------------------

MIXED: tuple[x.Field, ...] = (
    (371, VARIABLE), (8, 4), (1, VARIABLE), (82, VARIABLE), (12, 4), (93, VARIABLE, 637), (2, 3),
)  # fmt: skip
LAYOUT = compile_layout(10, False, x.template(256, MIXED, version=10)[6:])

bodies = st.lists(
    st.lists(
        st.tuples(st.binary(max_size=300), st.binary(max_size=9), st.binary(max_size=3)), max_size=6
    ),
    max_size=12,
)


@settings(max_examples=200, deadline=None)
@given(bodies, st.lists(st.integers(0, 40), min_size=12, max_size=12), st.booleans())
def test_side_by_side_reads_what_one_by_one_reads(
    sets: list[list[tuple[bytes, bytes, bytes]]], cuts: list[int], is_cut: bool
) -> None:
    payload, starts, ends = b"", [], []
    for number, records in enumerate(sets):
        body = b"".join(
            x.record(MIXED, (name, 1, octets, other, 2, name[::-1], 3))
            for name, octets, other in records
        )
        starts.append(len(payload))
        ends.append(len(payload) + max(0, len(body) - (cuts[number] if is_cut else 0)))
        payload += body
    octets = np.frombuffer(payload + b"\xff", np.uint8)
    bounds = (np.array(starts, np.int64), np.array(ends, np.int64))
    beside = normalise(LAYOUT, octets, bounds, side_by_side_min=1)
    single = normalise(LAYOUT, octets, bounds, side_by_side_min=1 << 30)
    assert beside.octets == single.octets
    assert beside.counts.tolist() == single.counts.tolist()
    assert beside.is_cut.tolist() == single.is_cut.tolist()
    if not is_cut:
        assert beside.counts.tolist() == [len(records) for records in sets]
        assert not beside.is_cut.any()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=80), min_size=1, max_size=12))
def test_any_octets_end_side_by_side_as_one_by_one(sets: list[bytes]) -> None:
    octets = np.frombuffer(b"".join(sets) + b"\0", np.uint8)
    ends = np.cumsum([len(body) for body in sets]).astype(np.int64)
    bounds = (ends - np.array([len(body) for body in sets], np.int64), ends)
    beside = normalise(LAYOUT, octets, bounds, side_by_side_min=1)
    single = normalise(LAYOUT, octets, bounds, side_by_side_min=1 << 30)
    assert dataclasses.astuple(beside)[0] == dataclasses.astuple(single)[0]
    assert beside.counts.tolist() == single.counts.tolist()
    assert beside.is_cut.tolist() == single.is_cut.tolist()
