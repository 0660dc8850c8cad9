"""Hypothesis writes exports of lies: stage decode, from datagrams to minutes, never raises.

20,000 datagrams: each a template of elements that the decoder reads, and records of extreme values,
in either order, through the whole step with everyone's addresses as own prefixes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import streams.decode
from collectors.datagrams import Datagram, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.elements import FIRST, LAST, SCOPE_V9, TEXTS
from rating.ports import Batch, Block, MemoryState
from rating.records import DirectoryEntry, FlowMinute, empty_frame, frame_of, schema_of
from streams.decode import step
from tests.collectors.netflow import exports as x

EXAMPLES = 500
DATAGRAMS_PER_EXAMPLE = 40
CHOICES_PER_EXAMPLE = 4_000
NOW = x.EXPORTED_AT * 1000
CONFIG = FlowDecodeConfig()

ELEMENTS = sorted(
    {element for table in (FIRST, LAST, TEXTS) for own in table.values() for element in own}
    - {(SCOPE_V9, 2)}  # no element: a kind of scope, which only options templates have
)
ADDRESS_OCTETS = {8: 4, 12: 4, 225: 4, 226: 4, 27: 16, 28: 16, 281: 16, 282: 16}
WIDTHS = (1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 8, 8, 9, 16, 0xFFFF)
EXTREMES = (b"\0", b"\xff", b"\x80\0", b"\x7f\xff")
"""First octet, and the octet that fills up the rest."""

OWN = frame_of(
    DirectoryEntry,
    [
        DirectoryEntry(prefix, 1, "own_prefix", prefix, "", 0, 0, None)
        for prefix in ("0.0.0.0/1", "::/0")
    ],
)


class _Choices:
    """Octets drawn by hypothesis, read as decisions; after the last one all are 0."""

    def __init__(self, octets: bytes) -> None:
        self._octets = iter(octets)

    def below(self, limit: int) -> int:
        return next(self._octets, 0) % limit

    def value(self, octets: int) -> bytes:
        kind = self.below(len(EXTREMES) + 2)
        if kind < len(EXTREMES):
            return (EXTREMES[kind][:1] + EXTREMES[kind][-1:] * octets)[:octets]
        if kind == len(EXTREMES):
            return self.below(256).to_bytes(max(octets, 1), "big")[-octets:] if octets else b""
        return bytes(self.below(256) for _ in range(octets))


def _fields(choices: _Choices, version: int) -> list[x.Field]:
    fields: list[x.Field] = []
    for _ in range(1 + choices.below(10)):
        enterprise, element = ELEMENTS[choices.below(len(ELEMENTS))]
        widths = WIDTHS if version == 10 else WIDTHS[:-1]
        octets = ADDRESS_OCTETS.get(element) or widths[choices.below(len(widths))]
        named = (element, octets, enterprise) if enterprise and version == 10 else (element, octets)
        fields.append(named)
    return fields


def _record(choices: _Choices, fields: Sequence[x.Field]) -> bytes:
    lengths = [octets if octets != 0xFFFF else choices.below(18) for _, octets, *_ in fields]
    return x.record(fields, [choices.value(octets) for octets in lengths])


def _export(choices: _Choices) -> bytes:
    version = (9, 10, 10, 5)[choices.below(4)]
    header = [int.from_bytes(choices.value(4), "big") for _ in range(4)]
    if choices.below(2):
        header[1] = x.EXPORTED_AT
    if version == 5:
        return struct.pack(">HH4I4x", 5, 1, *header) + choices.value(48)
    fields = _fields(choices, version)
    if choices.below(2):
        definition = x.options_template(256, fields[:1], fields[1:], version=version)
    else:
        definition = x.template(256, fields, version=version)
    records = x.data(256, [_record(choices, fields) for _ in range(1 + choices.below(3))])
    body = records + definition if choices.below(4) == 0 else definition + records
    if version == 9:
        return struct.pack(">HH4I", 9, 2, *header) + body
    return struct.pack(">HH3I", 10, 16 + len(body), *header[1:]) + body


def _datagrams(octets: bytes) -> Iterator[Datagram]:
    choices = _Choices(octets)
    for number in range(DATAGRAMS_PER_EXAMPLE):
        yield Datagram(NOW, x.mapped(f"192.0.2.{number}"), 2055, 2055, _export(choices))


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@example(b"")
@given(st.binary(min_size=CHOICES_PER_EXAMPLE, max_size=CHOICES_PER_EXAMPLE))
def test_twenty_thousand_exports_of_lies(octets: bytes) -> None:
    block = Block(1, "data", NOW, encode_datagrams(list(_datagrams(octets))))
    state = MemoryState()
    result = step(state, Batch({"directory": [OWN]}, [block]), watermark_at=0, config=CONFIG)
    assert result.counters["decode_datagrams"] == DATAGRAMS_PER_EXAMPLE
    for frame in (output.frame for output in result.outputs):
        assert (frame["octets_up"] >= 0).all()
        assert (frame["octets_down"] >= 0).all()
        assert frame["minute"].is_between((NOW - 7_200_000) // 60_000, NOW // 60_000 + 1).all()


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=CHOICES_PER_EXAMPLE, max_size=CHOICES_PER_EXAMPLE))
def test_a_batch_in_small_parts_is_the_same_as_at_once(octets: bytes) -> None:
    block = Block(1, "data", NOW, encode_datagrams(list(_datagrams(octets))))
    config = FlowDecodeConfig(octets_per_minute_limit=1 << 60)
    batch = Batch({"directory": [OWN]}, [block])
    answers = []
    for records_max in (3, streams.decode.PART_RECORDS_MAX):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(streams.decode, "PART_RECORDS_MAX", records_max)
            result = step(MemoryState(), batch, watermark_at=0, config=config)
        counters = {k: count for k, count in result.counters.items() if k != "decode_rows"}
        frames = [output.frame for output in result.outputs] or [empty_frame(FlowMinute)]
        sums = {"octets_up", "octets_down", "packets_up", "packets_down", "octets_exported"}
        key = [name for name in schema_of(FlowMinute) if name not in sums]
        rows = pl.concat(frames).group_by(key).sum().sort(key).rows()
        answers.append((rows, counters, result.changes, result.rows))
    assert answers[0] == answers[-1]
