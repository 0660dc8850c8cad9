"""Prometheus text, health and readiness of one process, over HTTP on loopback.

A source is a mapping NAME -> meaning (a package's `metrics.py`) and a function that returns the
present counts; gauges with labels and histograms are declared as `rating.measures` has them.
Everything is read when somebody asks; between requests nothing runs.
"""

from __future__ import annotations

import http.server
import itertools
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from rating.measures import Durations, Gauge, Labels, Measures

LOG = logging.getLogger(__name__)

Counts = Mapping[str, float] | Mapping[tuple[str, str], float]
"""Counts by name, or by (name, kind) where a counter is split; kind is "" where it is not."""

GaugeValues = Mapping[tuple[str, Labels], float]
"""Values of gauges by name and label values."""

Check = Callable[[], Sequence[str]]
"""Returns one sentence per finding, none when all is well."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_TIMEOUT_SECONDS = 5


class MetricsEndpoint:
    """Serves /metrics, /health and /ready of one process from a daemon thread.

    /health (is it alive, or should it be started anew?) answers 200 with no findings and 503 with
    the findings of all health checks. /ready (does it do its work?) asks the readiness checks too.
    """

    def __init__(self, process: str) -> None:
        """Take the process's name, the label `process` of every metric."""
        self.process = process
        self.registry = CollectorRegistry()
        self._checks: list[Check] = []
        self._readiness_checks: list[Check] = []
        self._server: http.server.ThreadingHTTPServer | None = None

    def add_source(self, meanings: Mapping[str, str], counts: Callable[[], Counts]) -> None:
        """Export what `counts` returns; a meaning with "(gauge)" marks a gauge.

        A counter that has not counted yet is 0, so that Prometheus sees the first step as one.
        Counts of a name without meaning are left out, with one warning.
        """
        self.registry.register(_Source(self.process, meanings, counts))

    def add_gauges(self, declared: Mapping[str, Gauge], read: Callable[[], GaugeValues]) -> None:
        """Export what `read` returns; a name that is not declared is left out, with one warning."""
        self.registry.register(_Gauges(self.process, declared, read))

    def add_measures(self, measures: Measures) -> None:
        """Export what was observed of each of the histograms."""
        self.registry.register(_Histograms(self.process, measures))

    def add_health_check(self, check: Check) -> None:
        """Ask `check` at each /health and /ready; a finding means: start this process anew."""
        self._checks.append(check)

    def add_readiness_check(self, check: Check) -> None:
        """Ask `check` at each /ready; a finding means: it lives, but does not do its work yet."""
        self._readiness_checks.append(check)

    def start(self, address: str, port: int) -> int:
        """Bind and serve; returns the port. A port in use is replaced by a free one."""
        handler = _handler_of(self)
        try:
            self._server = http.server.ThreadingHTTPServer((address, port), handler)
        except OSError as error:
            self._server = http.server.ThreadingHTTPServer((address, 0), handler)
            LOG.warning(
                "metrics port in use, another one taken",
                extra={"wanted": port, "port": self._server.server_port, "reason": error.strerror},
            )
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, name="metrics endpoint", daemon=True
        ).start()
        return int(self._server.server_port)

    def stop(self) -> None:
        """Stop serving; the port is free when this returns."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def metrics_text(self) -> bytes:
        """Return the Prometheus text of every source."""
        return generate_latest(self.registry)

    def health(self) -> tuple[int, dict[str, Any]]:
        """Return (HTTP status, answer) of /health."""
        return self._answer(self._checks, "failing", "ok")

    def readiness(self) -> tuple[int, dict[str, Any]]:
        """Return (HTTP status, answer) of /ready."""
        return self._answer([*self._checks, *self._readiness_checks], "not ready", "ready")

    def _answer(self, checks: Sequence[Check], bad: str, good: str) -> tuple[int, dict[str, Any]]:
        findings = [finding for check in checks for finding in check()]
        status, state = (503, bad) if findings else (200, good)
        return status, {"process": self.process, "status": state, "findings": findings}


class _Source(Collector):
    """One package's counts as Prometheus families."""

    def __init__(
        self, process: str, meanings: Mapping[str, str], counts: Callable[[], Counts]
    ) -> None:
        self.process = process
        self.meanings = meanings
        self.counts = counts
        self._unknown: set[str] = set()

    def describe(self) -> list[Metric]:
        """Return nothing: counts may not be ready at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield one family per counter, and per gauge that was set."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for key, value in self.counts().items():
            name, kind = key if isinstance(key, tuple) else (key, "")
            if name not in self.meanings:
                if name not in self._unknown:
                    self._unknown.add(name)
                    LOG.warning("a count without a meaning", extra={"metric": name})
                continue
            if name not in families:
                families[name] = self._family(name)
            families[name].add_metric([self.process, kind], value)
        for name in self.meanings.keys() - families.keys():
            family = self._family(name)
            if isinstance(family, CounterMetricFamily):
                family.add_metric([self.process, ""], 0)
                families[name] = family
        yield from families.values()

    def _family(self, name: str) -> CounterMetricFamily | GaugeMetricFamily:
        meaning = self.meanings[name]
        family = GaugeMetricFamily if "(gauge)" in meaning else CounterMetricFamily
        return family(f"flowrate_{name}", meaning, labels=["process", "kind"])


class _Gauges(Collector):
    """Gauges with labels as Prometheus families."""

    def __init__(
        self, process: str, declared: Mapping[str, Gauge], read: Callable[[], GaugeValues]
    ) -> None:
        self.process = process
        self.declared = declared
        self.read = read
        self._unknown: set[str] = set()

    def describe(self) -> list[Metric]:
        """Return nothing: values may not be ready at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield one family per name that has a value."""
        families: dict[str, GaugeMetricFamily] = {}
        for (name, labels), value in self.read().items():
            gauge = self.declared.get(name)
            if gauge is None:
                if name not in self._unknown:
                    self._unknown.add(name)
                    LOG.warning("a gauge without a meaning", extra={"metric": name})
                continue
            if name not in families:
                families[name] = GaugeMetricFamily(
                    f"flowrate_{name}", gauge.meaning, labels=["process", *gauge.labels]
                )
            families[name].add_metric([self.process, *labels], value)
        yield from families.values()


class _Histograms(Collector):
    """Histograms as Prometheus families."""

    def __init__(self, process: str, measures: Measures) -> None:
        self.process = process
        self.measures = measures

    def describe(self) -> list[Metric]:
        """Return nothing: values may not be ready at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield one family per name that was observed."""
        families: dict[str, HistogramMetricFamily] = {}
        for (name, labels), durations in self.measures.snapshot().items():
            histogram = self.measures.declared[name]
            if name not in families:
                families[name] = HistogramMetricFamily(
                    f"flowrate_{name}", histogram.meaning, labels=["process", *histogram.labels]
                )
            families[name].add_metric(
                [self.process, *labels],
                buckets=_cumulative(durations, histogram.bounds_seconds),
                sum_value=durations.total_seconds,
            )
        yield from families.values()


def _cumulative(durations: Durations, bounds_seconds: Sequence[float]) -> list[tuple[str, float]]:
    """Return (upper bound, how many are not longer) as the text format has it."""
    counts = itertools.accumulate(durations.counts)
    bounds = [*(repr(float(bound)) for bound in bounds_seconds), "+Inf"]
    return list(zip(bounds, map(float, counts), strict=True))


def _handler_of(endpoint: MetricsEndpoint) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        """GET /metrics, /health and /ready; everything else is 404."""

        timeout = REQUEST_TIMEOUT_SECONDS

        def do_GET(self) -> None:
            """Answer one request; a fault in a source is a 500, never the process's end."""
            try:
                if self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE, endpoint.metrics_text())
                elif self.path in ("/health", "/ready"):
                    is_health = self.path == "/health"
                    status, answer = endpoint.health() if is_health else endpoint.readiness()
                    self._answer(status, "application/json", json.dumps(answer).encode() + b"\n")
                else:
                    self._answer(404, "text/plain", b"/metrics, /health or /ready\n")
            except OSError:
                self.close_connection = True
            except Exception:
                LOG.exception("metrics request failed")
                self._answer(500, "text/plain", b"see the log\n")

        def log_message(self, format: str, *args: Any) -> None:
            """Write no access log."""

        def _answer(self, status: int, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
