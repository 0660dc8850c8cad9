"""OpenTelemetry: finished spans leave over OTLP/HTTP, from a queue with a limit, in a thread.

No stage ever waits for a trace: a full queue drops spans, an exporter that cannot be reached loses
them, and both are counted. `infra.tracing` imports this only where traces are switched on.
"""

from __future__ import annotations

import collections
import dataclasses
import logging
import threading
from collections.abc import Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

from infra.config import TracesConfig
from rating.traces import Attributes, TraceContext, decode_trace, encode_trace

LOG = logging.getLogger(__name__)

SPANS_PER_REQUEST = 512
"""Most spans of one request to the collector of traces."""
STOP_SECONDS = 2.0
"""How long a stopping process waits for its last spans to leave."""
MS_NS = 1_000_000


class BoundedExport(SpanProcessor):
    """Takes finished spans without ever waiting, and exports them from its own thread.

    Spans count as exported, as failed (the exporter gave up) or as dropped (the queue was full).
    """

    def __init__(
        self, exporter: SpanExporter, *, queue_spans_max: int, interval_seconds: float
    ) -> None:
        """Start the thread."""
        self._counters: collections.Counter[str] = collections.Counter()
        self._exporter = exporter
        self._queue_spans_max = queue_spans_max
        self._interval_seconds = interval_seconds
        self._queue: collections.deque[ReadableSpan] = collections.deque()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def counts(self) -> dict[str, int]:
        """Return the counts so far, by the names of `infra.metrics`."""
        with self._lock:
            return dict(self._counters)

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a span, or drop it where the queue is full."""
        with self._lock:
            if len(self._queue) >= self._queue_spans_max:
                self._counters["traces_spans_dropped"] += 1
            else:
                self._queue.append(span)

    def shutdown(self) -> None:
        """Export what is queued, for at most STOP_SECONDS; the rest is lost."""
        self._stop.set()
        self._thread.join(STOP_SECONDS)
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing: what is queued leaves within the interval. Returns False."""
        return False

    def _run(self) -> None:
        while not self._stop.wait(self._interval_seconds):
            self._export()
        self._export()

    def _export(self) -> None:
        while spans := self._take():
            try:
                succeeded = self._exporter.export(spans) is SpanExportResult.SUCCESS
            except Exception:
                # Whatever an exporter raises, a trace is no reason for a worker to end.
                LOG.exception("spans could not be exported")
                succeeded = False
            with self._lock:
                name = "traces_spans_exported" if succeeded else "traces_spans_failed"
                self._counters[name] += len(spans)
            if not succeeded:
                return

    def _take(self) -> list[ReadableSpan]:
        with self._lock:
            count = min(SPANS_PER_REQUEST, len(self._queue))
            return [self._queue.popleft() for _ in range(count)]


@dataclasses.dataclass(frozen=True, slots=True)
class OpenTelemetrySpans:
    """`rating.traces.Spans` over the OpenTelemetry SDK."""

    tracer: Tracer
    sample_one_in: int

    def start_trace(self, now_ns: int, chance: float, received_at: tuple[int, int]) -> bytes:
        """Begin a trace for one block in sample_one_in; see `rating.traces.Spans`."""
        if chance * self.sample_one_in >= 1.0:
            return b""
        first_at, last_at = received_at
        span = self.tracer.start_span("receive", start_time=first_at * MS_NS)
        span.end(max(now_ns, first_at * MS_NS))
        context = span.get_span_context()
        return encode_trace(TraceContext(context.trace_id, context.span_id, first_at, last_at))

    def child(
        self,
        parents: bytes | Sequence[bytes],
        name: str,
        start_ns: int,
        end_ns: int,
        attributes: Attributes,
    ) -> bytes:
        """Record a span; see `rating.traces.Spans`."""
        given = [parents] if isinstance(parents, bytes) else parents
        known = [context for trace in given if (context := decode_trace(trace))]
        if not known:
            return b""
        first = known[0]
        span = self.tracer.start_span(
            name,
            context=set_span_in_context(NonRecordingSpan(_remote(first))),
            links=[Link(_remote(other)) for other in known[1:]],
            attributes=dict(attributes),
            start_time=start_ns,
        )
        span.end(end_ns)
        made = span.get_span_context()
        from_at = min(context.received_from_at for context in known)
        until_at = max(context.received_until_at for context in known)
        return encode_trace(TraceContext(first.trace_id, made.span_id, from_at, until_at))


def _remote(context: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(context.trace_id, context.span_id, is_remote=True, trace_flags=flags)


def otlp_spans(
    config: TracesConfig, identity: Mapping[str, str]
) -> tuple[OpenTelemetrySpans, BoundedExport]:
    """Return spans that leave over OTLP/HTTP, and their way out."""
    exporter = OTLPSpanExporter(endpoint=config.endpoint, timeout=config.export_timeout_seconds)
    return spans_over(exporter, config, identity)


def spans_over(
    exporter: SpanExporter, config: TracesConfig, identity: Mapping[str, str]
) -> tuple[OpenTelemetrySpans, BoundedExport]:
    """Return spans and their way out through an exporter (tests take the SDK's in-memory one)."""
    export = BoundedExport(
        exporter,
        queue_spans_max=config.queue_spans_max,
        interval_seconds=config.export_interval_seconds,
    )
    resource = Resource(
        {
            "service.name": config.service_name,
            **{f"flowrate.{name}": value for name, value in identity.items()},
        }
    )
    provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(export)
    spans = OpenTelemetrySpans(provider.get_tracer("flowrate"), config.sample_one_in)
    return spans, export
