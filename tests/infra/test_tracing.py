"""Traces of a usage record from datagram to charge: parents, links, and an exporter in trouble.

The receiver is an HTTP server on loopback that reads OTLP's protobuf: what a real collector of
traces is sent.
"""

from __future__ import annotations

import gzip
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import polars as pl
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from infra.config import TracesConfig, check_traces
from infra.span_export import spans_over
from infra.tracing import Traces, open_traces
from rating.envelopes import Envelope, decode_message, encode_envelope
from rating.ports import Output
from rating.traces import TRACES_MAX, Spans, chance_of, decode_trace
from streams.observation import RoundTraces
from tests.infra.waiting import wait_until

AT = 1_764_504_000_000
"""When the first traced datagram came, ms."""
FAST = TracesConfig(
    is_enabled=True, sample_one_in=1, export_interval_seconds=0.02, export_timeout_seconds=0.5
)
WAY = ["receive", "decode", "attribute", "rate", "sink"]


class Receiver(ThreadingHTTPServer):
    """Takes what OTLP/HTTP sends and keeps its spans; answers with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1/traces"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        assert self.headers["Content-Type"] == "application/x-protobuf"
        request = ExportTraceServiceRequest.FromString(body)
        if self.server.status == 200:
            for group in request.resource_spans:
                told = {a.key: a.value.string_value for a in group.resource.attributes}
                self.server.resources.append(told)
                for scope in group.scope_spans:
                    self.server.spans.extend(scope.spans)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def over_wire(trace: bytes) -> bytes:
    """Return the trace as the next process finds it in Kafka."""
    message = encode_envelope(Envelope("flows@ams1", 1, AT, b"body", trace))
    envelope = decode_message(message)
    assert isinstance(envelope, Envelope)
    return envelope.trace


def rows(*received_at: int) -> list[Output]:
    frame = pl.DataFrame({"received_at": list(received_at)}, schema={"received_at": pl.Int64})
    return [Output("flow.minutes", frame)]


def travel(spans: Sequence[Spans], received_at: tuple[int, int]) -> bytes:
    """Send one block's usage through the stages, each with spans of its own process."""
    receive, decode, attribute, rate, sink = spans
    clock = iter(range(AT * 1_000_000, 2 * AT * 1_000_000, 1_000_000_000))
    trace = receive.start_trace(next(clock), 0.0, received_at)
    for spans_of_stage, task in (
        (decode, "decode/0"),
        (attribute, "attribute/1"),
        (rate, "rate/2"),
    ):
        rounds = RoundTraces(spans_of_stage, lambda: next(clock))
        rounds.take(task, [b"", over_wire(trace)])
        if task == "attribute/1":
            # Attribute holds minutes back: its first round gives nothing out, a later one does.
            assert rounds.give(task, [], AT) == b""
            rounds.take(task, [b""])
            assert rounds.give(task, rows(received_at[1] + 1_000), AT + 10_000) == b""
            rounds.take(task, [])
        trace = rounds.give(task, rows(received_at[1] + 60_000, received_at[1]), AT + 35_000)
        assert trace
    begin = next(clock)
    return sink.child([over_wire(trace)], "sink", begin, next(clock), {"flowrate.rows": 2})


def check_the_way(spans: Sequence[Any], trace_id: Any, parent_of: Any, span_id: Any) -> None:
    """Check one trace id and receive ─▶ decode ─▶ attribute ─▶ rate ─▶ sink."""
    by_name = {span.name: span for span in spans}
    assert sorted(by_name) == sorted(WAY)
    assert len(spans) == len(WAY)
    assert len({trace_id(span) for span in spans}) == 1
    assert not parent_of(by_name["receive"])
    for parent, child in itertools.pairwise(WAY):
        assert parent_of(by_name[child]) == span_id(by_name[parent])


def test_one_record_is_one_trace_in_the_order_of_its_stages() -> None:
    exporters = [InMemorySpanExporter() for _ in WAY]
    ways = [spans_over(exporter, FAST, {}) for exporter in exporters]
    last = travel([spans for spans, _ in ways], (AT, AT + 199))
    for _, export in ways:
        export.shutdown()
    finished = [span for exporter in exporters for span in exporter.get_finished_spans()]
    check_the_way(
        finished,
        lambda span: span.context.trace_id,
        lambda span: span.parent.span_id if span.parent else 0,
        lambda span: span.context.span_id,
    )
    context = decode_trace(last)
    assert context is not None
    assert context.trace_id == finished[0].context.trace_id
    assert (context.received_from_at, context.received_until_at) == (AT, AT + 199)
    times = {span.name: (span.start_time or 0, span.end_time or 0) for span in finished}
    assert times["receive"][0] == AT * 1_000_000
    assert all(0 < started < ended for started, ended in list(times.values())[1:])


def test_a_real_receiver_is_sent_the_same(receiver: Receiver) -> None:
    config = TracesConfig(
        is_enabled=True,
        sample_one_in=1,
        endpoint=receiver.endpoint,
        export_interval_seconds=0.02,
        service_name="flowrate of a test",
    )
    processes = [open_traces(config, {"role": name, "instance": f"h:{name}"}) for name in WAY]
    travel([traces.spans for traces in processes], (AT, AT + 199))
    for traces in processes:
        traces.close()
        assert traces.counters() == {"traces_spans_exported": 1}
    check_the_way(
        receiver.spans,
        lambda span: span.trace_id.hex(),
        lambda span: span.parent_span_id.hex(),
        lambda span: span.span_id.hex(),
    )
    assert {told["service.name"] for told in receiver.resources} == {"flowrate of a test"}
    assert sorted(told["flowrate.role"] for told in receiver.resources) == sorted(WAY)
    (rate,) = (span for span in receiver.spans if span.name == "rate")
    attributes = {a.key: a.value.int_value for a in rate.attributes}
    assert attributes == {"flowrate.partition": 2, "flowrate.rows": 2}


def test_a_round_over_several_traces_belongs_to_the_first_and_links_the_others() -> None:
    exporter = InMemorySpanExporter()
    spans, export = spans_over(exporter, FAST, {})
    times = [(AT + 1_000 * number, AT + 1_000 * number + 199) for number in range(TRACES_MAX)]
    traces = [spans.start_trace(AT * 1_000_000, 0.0, time) for time in times]
    made = decode_trace(spans.child(traces, "rate", 1, 2, {}))
    export.shutdown()
    rate = exporter.get_finished_spans()[-1]
    contexts = [decode_trace(trace) for trace in traces]
    first = contexts[0]
    assert made is not None
    assert first is not None
    assert rate.parent is not None
    assert (rate.parent.trace_id, rate.parent.span_id) == (first.trace_id, first.span_id)
    assert (made.trace_id, made.span_id) == (first.trace_id, rate.context.span_id)
    assert (made.received_from_at, made.received_until_at) == (times[0][0], times[-1][1])
    linked = [link.context.trace_id for link in rate.links]
    assert linked == [context.trace_id for context in contexts[1:] if context]


def test_one_block_in_so_many_is_traced() -> None:
    spans, export = spans_over(InMemorySpanExporter(), TracesConfig(sample_one_in=100), {})
    traces = [spans.start_trace(0, chance_of(number), (0, 0)) for number in range(20_000)]
    export.shutdown()
    assert 150 < sum(map(bool, traces)) < 250


def test_what_has_no_traced_parent_has_no_span() -> None:
    exporter = InMemorySpanExporter()
    spans, export = spans_over(exporter, FAST, {})
    assert spans.child([], "rate", 1, 2, {}) == b""
    assert spans.child(b"", "rate", 1, 2, {}) == b""
    assert spans.child([b"from elsewhere"], "rate", 1, 2, {}) == b""
    rounds = RoundTraces(spans, lambda: 0)
    rounds.take("rate/0", [b"", b""])
    assert rounds.give("rate/0", rows(AT), AT) == b""
    export.shutdown()
    assert exporter.get_finished_spans() == ()


class Stuck(SpanExporter):
    """Takes nothing until it is let go."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go_on.wait(20)
        return SpanExportResult.SUCCESS


def test_an_exporter_that_hangs_holds_nobody_up_and_memory_has_a_limit() -> None:
    stuck = Stuck()
    config = TracesConfig(sample_one_in=1, queue_spans_max=100, export_interval_seconds=0.01)
    spans, export = spans_over(stuck, config, {})
    spans.start_trace(0, 0.0, (0, 0))
    wait_until(lambda: not export._queue, "the first span is being exported")
    began = time.monotonic()
    for _ in range(1_000):
        spans.start_trace(0, 0.0, (0, 0))
    assert time.monotonic() - began < 1.0
    assert export.counts()["traces_spans_dropped"] == 900
    stuck.go_on.set()
    export.shutdown()
    assert export.counts() == {"traces_spans_exported": 101, "traces_spans_dropped": 900}


@pytest.mark.parametrize("trouble", ["refused", 503, 400])
def test_a_receiver_in_trouble_costs_spans_that_are_counted(
    receiver: Receiver, trouble: str | int
) -> None:
    if trouble == "refused":
        endpoint = receiver.endpoint
        receiver.shutdown()
        receiver.server_close()
    else:
        endpoint = receiver.endpoint
        receiver.status = int(trouble)
    config = TracesConfig(
        is_enabled=True,
        endpoint=endpoint,
        sample_one_in=1,
        export_interval_seconds=0.02,
        export_timeout_seconds=0.5,
    )
    traces = open_traces(config, {})
    began = time.monotonic()
    assert traces.spans.start_trace(AT, 0.0, (AT, AT))
    assert time.monotonic() - began < 0.1
    wait_until(lambda: traces.counters().get("traces_spans_failed") == 1, "the span is given up")
    began = time.monotonic()
    traces.close()
    assert time.monotonic() - began < 3.0


class Broken(SpanExporter):
    """Raises, as no exporter should."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("broken on purpose")


def test_an_exporter_that_raises_ends_nothing() -> None:
    spans, export = spans_over(Broken(), FAST, {})
    spans.start_trace(0, 0.0, (0, 0))
    wait_until(lambda: export.counts().get("traces_spans_failed") == 1, "it failed")
    spans.start_trace(0, 0.0, (0, 0))
    wait_until(lambda: export.counts().get("traces_spans_failed") == 2, "it failed again")
    export.shutdown()


def test_switched_off_nothing_of_opentelemetry_is_imported() -> None:
    program = (
        "import sys, infra.process, infra.tracing, infra.config\n"
        "traces = infra.tracing.open_traces(infra.config.TracesConfig(), {})\n"
        "assert traces.spans.start_trace(0, 0.0, (0, 0)) == b''\n"
        "assert traces.counters() == {}\n"
        "traces.close()\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert isinstance(open_traces(TracesConfig(), {}), Traces)


def test_settings_that_cannot_work_are_told() -> None:
    assert check_traces(TracesConfig()) == []
    wrong = TracesConfig(endpoint="127.0.0.1:4317", sample_one_in=0, export_interval_seconds=0.0)
    assert len(check_traces(wrong)) == 3
