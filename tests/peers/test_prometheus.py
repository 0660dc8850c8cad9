"""A real Prometheus scrapes our endpoint, answers our dashboards and evaluates our rules."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.operations import quantile
from infra.metrics_endpoint import MetricsEndpoint
from rating.measures import Labels, Measures
from streams.metrics import COUNTERS, GAUGES, HISTOGRAMS
from tests.infra.waiting import wait_until
from tests.peers_available import require_peer

RULES = Path(__file__).parents[2] / "infra/deploy/prometheus/flowrate.rules.yaml"
CONFIG = """\
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: flowrate
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def ask(port: int, path: str, **parameters: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)["data"]


def value(port: int, expression: str) -> float | None:
    found = ask(port, "query", query=expression)["result"]
    return float(found[0]["value"][1]) if found else None


def answers(port: int) -> bool:
    try:
        return bool(ask(port, "status/buildinfo"))
    except OSError:
        return False


@pytest.fixture
def endpoint() -> Iterator[MetricsEndpoint]:
    endpoint = MetricsEndpoint("worker")
    yield endpoint
    endpoint.stop()


@pytest.fixture
def prometheus(tmp_path: Path, endpoint: MetricsEndpoint) -> Iterator[int]:
    """A Prometheus that scrapes the endpoint each second; the value is its port."""
    program = require_peer("prometheus")
    target = endpoint.start("127.0.0.1", 0)
    config = tmp_path / "prometheus.yaml"
    config.write_text(CONFIG.format(rules=RULES, port=target))
    port = free_port()
    command = [program, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: process.poll() is None and answers(port), "Prometheus answers")
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


def test_what_we_serve_is_what_prometheus_understands(
    endpoint: MetricsEndpoint, prometheus: int
) -> None:
    measures = Measures(HISTOGRAMS, threading.Lock())
    endpoint.add_source(COUNTERS, lambda: {"stream_commits": 7})
    lag: dict[tuple[str, Labels], float] = {
        ("stream_consumer_lag_messages", ("usage.rated.g1", "3")): 42.0
    }
    endpoint.add_gauges(GAUGES, lambda: lag)
    endpoint.add_measures(measures)
    for milliseconds in range(1, 1_001):
        measures.observe("usage_latency_seconds", milliseconds / 1_000, "received_to_rated")
    selector = 'flowrate_stream_consumer_lag_messages{topic="usage.rated.g1",partition="3"}'
    wait_until(lambda: value(prometheus, selector) == 42.0, "the gauge is scraped")
    assert value(prometheus, "flowrate_stream_commits_total") == 7.0
    assert value(prometheus, "flowrate_stream_repeats_dropped_total") == 0.0
    count = 'flowrate_usage_latency_seconds_count{stage="received_to_rated"}'
    assert value(prometheus, count) == 1_000.0

    def observed() -> bool:
        measures.observe("usage_latency_seconds", 0.2, "received_to_rated")
        name = "flowrate_usage_latency_seconds"
        p99 = value(
            prometheus,
            quantile(0.99, name, 'stage="received_to_rated"').replace("$__rate_interval", "30s"),
        )
        return p99 is not None and 0.1 < p99 <= 0.25

    wait_until(observed, "a quantile over what was observed since")
    (target,) = ask(prometheus, "targets")["activeTargets"]
    assert target["lastError"] == ""


def test_prometheus_evaluates_every_rule_and_sees_a_process_go(
    endpoint: MetricsEndpoint, prometheus: int
) -> None:
    wait_until(lambda: value(prometheus, "up") == 1.0, "the endpoint is scraped")

    def rules() -> list[dict[str, Any]]:
        return [rule for group in ask(prometheus, "rules")["groups"] for rule in group["rules"]]

    wait_until(lambda: all(rule["health"] == "ok" for rule in rules()), "each rule was evaluated")
    assert not [rule["name"] for rule in rules() if rule["state"] != "inactive"]
    endpoint.stop()

    def pending() -> list[str]:
        return [rule["name"] for rule in rules() if rule["state"] == "pending"]

    wait_until(lambda: pending() == ["FlowrateProcessDown"], "the alert is on its way")
