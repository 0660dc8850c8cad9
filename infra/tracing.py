"""The traces of one process. Switched off, nothing of OpenTelemetry is even imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from infra.config import TracesConfig
from rating.traces import NoSpans, Spans


class SpanExport(Protocol):
    """The way of finished spans out of a process."""

    def counts(self) -> dict[str, int]:
        """Return the counts of spans exported, failed and dropped, by the names of metrics."""
        ...

    def shutdown(self) -> None:
        """Let the last spans leave, for a bounded time."""
        ...


class Traces:
    """The traces of one process: `spans` for its stages, `counters` for its metrics."""

    def __init__(self, spans: Spans, export: SpanExport | None = None) -> None:
        """Take where spans go and, where they leave the process, the way out."""
        self.spans = spans
        self._export = export

    def counters(self) -> dict[str, int]:
        """Return the counts of spans exported, failed and dropped."""
        return self._export.counts() if self._export else {}

    def close(self) -> None:
        """Let the last spans leave, for two seconds at most."""
        if self._export:
            self._export.shutdown()


def open_traces(config: TracesConfig, identity: Mapping[str, str]) -> Traces:
    """Return the traces of a process; identity has its role and instance, as the logs have them.

    Switched off, nothing is started and every call answers b"".
    """
    if not config.is_enabled:
        return Traces(NoSpans())
    from infra.span_export import otlp_spans

    return Traces(*otlp_spans(config, identity))
