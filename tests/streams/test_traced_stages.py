"""A trace through the real stages: real datagrams, envelopes as they travel, minutes held back."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import polars as pl
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from collectors.datagrams import encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.tracing import start_trace
from infra.config import TracesConfig
from infra.span_export import spans_over
from rating.config import RateConfig
from rating.envelopes import Envelope, decode_message, encode_envelope
from rating.ports import Batch, Block, MemoryState, Output
from rating.records import DirectoryEntry, frame_of
from rating.session_config import AttributionConfig, SessionsConfig
from rating.traces import Spans
from streams.codec import decode_frame, encode_frame
from streams.observation import RoundTraces
from streams.sessions import SessionsStageConfig
from streams.topics import TOPICS
from streams.topology import StageConfigs, build_stages
from tests.streams.test_decode import NOW, datagram, message

DIRECTORY = [
    DirectoryEntry("own", 1, "own_prefix", "10.0.0.0/8", "", 0, 0, None),
    DirectoryEntry("s", 1, "static_prefix", "10.0.0.1/32", "s-1", 0, 0, None),
]


@dataclasses.dataclass
class Tasks:
    """One task of each stage, over memory, with the traces of one worker."""

    spans: Spans

    def __post_init__(self) -> None:
        configs = StageConfigs(
            decode=FlowDecodeConfig(),
            sessions=SessionsStageConfig(SessionsConfig()),
            attribute=AttributionConfig(),
            rate=RateConfig(),
        )
        self.now_ns = NOW * 1_000_000
        self.stages = {stage.name: stage for stage in build_stages(configs)}
        self.states = {name: MemoryState() for name in self.stages}
        self.traces = RoundTraces(self.spans, self.clock)
        directory = frame_of(DirectoryEntry, DIRECTORY)
        for stage in ("decode", "attribute"):
            self.round(stage, Batch({"directory": [directory]}), [], 0)

    def clock(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns

    def round(
        self, stage: str, batch: Batch, traces: Sequence[bytes], watermark_at: int
    ) -> list[bytes]:
        """Run a round as a worker does; return the messages of its outputs."""
        task = f"{stage}/0"
        self.traces.take(task, traces)
        result = self.stages[stage].step(self.states[stage], batch, watermark_at=watermark_at)
        self.states[stage].apply(result)
        trace = self.traces.give(task, result.outputs, watermark_at)
        return [self._message(task, output, trace) for output in result.outputs]

    @staticmethod
    def _message(task: str, output: Output, trace: bytes) -> bytes:
        body = encode_frame(output.frame, TOPICS[output.topic].record)
        return encode_envelope(Envelope(task, 1, 0, body, trace))


def opened(topic: str, messages: Sequence[bytes]) -> tuple[list[pl.DataFrame], list[bytes]]:
    envelopes = [decode_message(found) for found in messages]
    frames, traces = [], []
    for envelope in envelopes:
        assert isinstance(envelope, Envelope)
        frames.append(decode_frame(envelope.body, TOPICS[topic].record))
        traces.append(envelope.trace)
    return frames, traces


def test_a_datagram_is_traced_to_its_charge_though_its_minute_waits() -> None:
    exporter = InMemorySpanExporter()
    config = TracesConfig(sample_one_in=1, export_interval_seconds=0.01)
    spans, export = spans_over(exporter, config, {})
    tasks = Tasks(spans)
    began = NOW - 5_000
    flow = ("10.0.0.1", "8.8.8.8", 6_000, 6, began, began + 1_000)
    body = encode_datagrams([datagram(message(flow), received_at=NOW - 40)])
    trace = start_trace(spans, (1, 0), body, NOW * 1_000_000)

    block = Block(1, "data", NOW, body)
    minutes = tasks.round("decode", Batch(blocks=[block]), [trace], NOW)
    frames, traces = opened("flow.minutes", minutes)
    assert [frame.height for frame in frames] == [1]

    # The minute waits until both watermarks have passed it: other rounds come between.
    waiting = tasks.round("attribute", Batch({"flow.minutes": frames}), traces, NOW)
    envelopes: Any = list(map(decode_message, waiting))
    assert all(envelope.trace == b"" for envelope in envelopes)
    usage = tasks.round("attribute", Batch(), [], NOW + 120_000)
    frames, traces = opened("usage.measured", usage)
    assert sum(frame["octets_up"].sum() for frame in frames) == 6_000

    rated = tasks.round("rate", Batch({"usage.measured": frames}), traces, NOW + 121_000)
    frames, traces = opened("usage.rated", rated)
    assert sum(frame["octets_up"].sum() for frame in frames) == 6_000
    spans.child(traces, "sink", tasks.clock(), tasks.clock(), {})
    export.shutdown()

    finished = {span.name: span for span in exporter.get_finished_spans()}
    way = ["receive", "decode", "attribute", "rate", "sink"]
    assert list(finished) == way
    for parent, child in itertools.pairwise(way):
        found = finished[child].parent
        assert found is not None
        assert found.span_id == finished[parent].context.span_id
    assert len({span.context.trace_id for span in finished.values()}) == 1


def test_usage_of_other_datagrams_takes_no_part_in_the_trace() -> None:
    exporter = InMemorySpanExporter()
    spans, export = spans_over(exporter, TracesConfig(sample_one_in=1), {})
    tasks = Tasks(spans)
    began = NOW - 5_000
    traced = encode_datagrams([datagram(b"not NetFlow at all", received_at=NOW - 40)])
    trace = start_trace(spans, (1, 0), traced, NOW * 1_000_000)
    flow = ("10.0.0.1", "8.8.8.8", 6_000, 6, began, began + 1_000)
    other = encode_datagrams([datagram(message(flow), received_at=NOW + 1_300)])
    blocks = [Block(1, "data", NOW, traced), Block(2, "data", NOW + 1_300, other)]
    minutes = tasks.round("decode", Batch(blocks=blocks), [trace, b""], NOW + 1_300)
    _, traces = opened("flow.minutes", minutes)
    assert traces == [b""]
    export.shutdown()
    assert [span.name for span in exporter.get_finished_spans()] == ["receive"]


def test_traces_that_meet_in_a_round_are_followed_though_they_part_again() -> None:
    exporter = InMemorySpanExporter()
    spans, export = spans_over(exporter, TracesConfig(sample_one_in=1), {})
    tasks = Tasks(spans)
    blocks, received = [], []
    for number, at in enumerate((NOW, NOW + 120_000)):
        flow = ("10.0.0.1", "8.8.8.8", 6_000, 6, at - 5_000, at - 4_000)
        body = encode_datagrams([datagram(message(flow), received_at=at)])
        blocks.append(Block(number, "data", at, body))
        received.append(start_trace(spans, (number, 0), body, at * 1_000_000))
    minutes = tasks.round("decode", Batch(blocks=blocks), received, NOW + 120_000)
    frames, traces = opened("flow.minutes", minutes)
    early = tasks.round("attribute", Batch({"flow.minutes": frames}), traces, NOW + 120_000)
    late = tasks.round("attribute", Batch(), [], NOW + 300_000)
    for usage in (early, late):
        frames, traces = opened("usage.measured", usage)
        assert sum(frame["octets_up"].sum() for frame in frames) == 6_000
        assert all(traces)
    export.shutdown()
    first, second, decode, *attribute = exporter.get_finished_spans()
    assert decode.parent is not None
    assert decode.parent.span_id == first.context.span_id
    assert [link.context.span_id for link in decode.links] == [second.context.span_id]
    assert [span.name for span in attribute] == ["attribute", "attribute"]
    for span in attribute:
        assert span.parent is not None
        assert span.parent.span_id == decode.context.span_id
