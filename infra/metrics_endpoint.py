"""Prometheus text and a health answer of one process, over HTTP on loopback.

A source is a mapping NAME -> meaning (a package's `metrics.py`) and a function that returns the
present counts. Counts are read when somebody asks; between requests nothing runs.
"""

from __future__ import annotations

import http.server
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

LOG = logging.getLogger(__name__)

Counts = Mapping[str, float] | Mapping[tuple[str, str], float]
"""Counts by name, or by (name, kind) where a counter is split; kind is "" where it is not."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_TIMEOUT_SECONDS = 5


class MetricsEndpoint:
    """Serves /metrics and /health of one process from a daemon thread.

    /health answers 200 with no findings and 503 with the findings of all health checks.
    """

    def __init__(self, process: str) -> None:
        """Take the process's name, the label `process` of every metric."""
        self.process = process
        self.registry = CollectorRegistry()
        self._checks: list[Callable[[], list[str]]] = []
        self._server: http.server.ThreadingHTTPServer | None = None

    def add_source(self, meanings: Mapping[str, str], counts: Callable[[], Counts]) -> None:
        """Export what `counts` returns; a meaning with "(gauge)" marks a gauge.

        Counts of a name without meaning are left out, with one warning.
        """
        self.registry.register(_Source(self.process, meanings, counts))

    def add_health_check(self, check: Callable[[], list[str]]) -> None:
        """Ask `check` at each /health; it returns one sentence per finding, none when well."""
        self._checks.append(check)

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
        """Return (HTTP status, answer)."""
        findings = [finding for check in self._checks for finding in check()]
        state = "failing" if findings else "ok"
        return (503 if findings else 200), {
            "process": self.process,
            "status": state,
            "findings": findings,
        }


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
        """Yield one family per name that has been counted."""
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for key, value in self.counts().items():
            name, kind = key if isinstance(key, tuple) else (key, "")
            meaning = self.meanings.get(name)
            if meaning is None:
                if name not in self._unknown:
                    self._unknown.add(name)
                    LOG.warning("a count without a meaning", extra={"metric": name})
                continue
            if name not in families:
                family = GaugeMetricFamily if "(gauge)" in meaning else CounterMetricFamily
                families[name] = family(f"flowrate_{name}", meaning, labels=["process", "kind"])
            families[name].add_metric([self.process, kind], value)
        yield from families.values()


def _handler_of(endpoint: MetricsEndpoint) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        """GET /metrics and GET /health; everything else is 404."""

        timeout = REQUEST_TIMEOUT_SECONDS

        def do_GET(self) -> None:
            """Answer one request; a fault in a source is a 500, never the process's end."""
            try:
                if self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE, endpoint.metrics_text())
                elif self.path == "/health":
                    status, answer = endpoint.health()
                    self._answer(status, "application/json", json.dumps(answer).encode() + b"\n")
                else:
                    self._answer(404, "text/plain", b"/metrics or /health\n")
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
