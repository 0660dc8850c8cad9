"""The metrics endpoint: Prometheus text of every kind, health and readiness with findings."""

from __future__ import annotations

import json
import logging
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra.metrics_endpoint import MetricsEndpoint
from rating.measures import Gauge, Histogram, Measures


@pytest.fixture
def endpoint() -> Iterator[MetricsEndpoint]:
    endpoint = MetricsEndpoint("radius")
    yield endpoint
    endpoint.stop()


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_counts_and_gauges(endpoint: MetricsEndpoint) -> None:
    meanings = {
        "packets": "Packets read",
        "queue_octets": "Waiting (gauge)",
        "faults": "Never yet",
        "level": "Never set (gauge)",
    }
    endpoint.add_source(meanings, lambda: {"packets": 3, "queue_octets": 7})
    status, text = get(endpoint.start("127.0.0.1", 0), "/metrics")
    assert status == 200
    assert "# HELP flowrate_packets_total Packets read\n" in text
    assert 'flowrate_packets_total{kind="",process="radius"} 3.0\n' in text
    assert "# TYPE flowrate_queue_octets gauge\n" in text
    assert 'flowrate_queue_octets{kind="",process="radius"} 7.0\n' in text
    assert 'flowrate_faults_total{kind="",process="radius"} 0.0\n' in text, "a rate needs a start"
    assert "level" not in text, "nobody knows the level of what was never set"


def test_a_count_split_by_kind(endpoint: MetricsEndpoint) -> None:
    counts = {("refused", "authenticator"): 2, ("refused", 'a"\n'): 1}
    endpoint.add_source({"refused": "Packets refused, by reason"}, lambda: counts)
    text = endpoint.metrics_text().decode()
    assert 'flowrate_refused_total{kind="authenticator",process="radius"} 2.0\n' in text
    assert 'kind="a\\"\\n"' in text


def test_counts_are_read_at_each_request(endpoint: MetricsEndpoint) -> None:
    counts = {"packets": 1}
    endpoint.add_source({"packets": "Packets read"}, lambda: counts)
    assert "} 1.0\n" in endpoint.metrics_text().decode()
    counts["packets"] = 2
    assert "} 2.0\n" in endpoint.metrics_text().decode()


def test_a_count_without_meaning_is_left_out_with_one_warning(
    endpoint: MetricsEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.add_source({"packets": "Packets read"}, lambda: {"packets": 1, "pakets": 1})
    with caplog.at_level(logging.WARNING):
        assert b"pakets" not in endpoint.metrics_text()
        endpoint.metrics_text()
    assert len(caplog.records) == 1


def test_health(endpoint: MetricsEndpoint) -> None:
    port = endpoint.start("127.0.0.1", 0)
    assert get(port, "/health")[0] == 200
    findings: list[str] = []
    endpoint.add_health_check(lambda: findings)
    assert get(port, "/health")[0] == 200
    findings.append("the disk is full")
    status, text = get(port, "/health")
    assert status == 503
    assert json.loads(text) == {
        "process": "radius",
        "status": "failing",
        "findings": ["the disk is full"],
    }


def test_a_broken_source_is_a_500_and_the_next_request_is_answered(
    endpoint: MetricsEndpoint,
) -> None:
    endpoint.add_source({"x": "X"}, lambda: {"x": 1 // 0})
    port = endpoint.start("127.0.0.1", 0)
    assert get(port, "/metrics")[0] == 500
    assert get(port, "/health")[0] == 200
    assert get(port, "/")[0] == 404


def test_a_port_in_use_is_replaced(
    endpoint: MetricsEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        port = endpoint.start("127.0.0.1", wanted)
        assert port != wanted
        assert get(port, "/health")[0] == 200
    assert caplog.records[0].message == "metrics port in use, another one taken"


def test_gauges_with_labels(endpoint: MetricsEndpoint, caplog: pytest.LogCaptureFixture) -> None:
    declared = {"lag_messages": Gauge("messages behind", ("topic", "partition"))}
    values = {("lag_messages", ("flow.minutes.g1", "3")): 12.0, ("leg", ()): 1.0}
    endpoint.add_gauges(declared, lambda: values)
    text = endpoint.metrics_text().decode()
    assert "# TYPE flowrate_lag_messages gauge\n" in text
    line = 'flowrate_lag_messages{partition="3",process="radius",topic="flow.minutes.g1"} 12.0\n'
    assert line in text
    assert "leg" not in text
    endpoint.metrics_text()
    assert [record.message for record in caplog.records] == ["a gauge without a meaning"]


def test_histograms_add_up_as_prometheus_reads_them(endpoint: MetricsEndpoint) -> None:
    declared = {"round_seconds": Histogram("time of a round", ("stage",), (0.05, 1.0, 7_200.0))}
    measures = Measures(declared, threading.Lock())
    endpoint.add_measures(measures)
    assert "round_seconds" not in endpoint.metrics_text().decode()
    for seconds in (0.01, 0.5, 0.5, 9_000.0):
        measures.observe("round_seconds", seconds, "rate")
    families = text_string_to_metric_families(endpoint.metrics_text().decode())
    (family,) = (f for f in families if f.name == "flowrate_round_seconds")
    assert family.type == "histogram"
    assert family.documentation == "time of a round"
    assert {sample.labels["stage"] for sample in family.samples} == {"rate"}
    found = {
        (s.name.removeprefix(family.name), s.labels.get("le")): s.value for s in family.samples
    }
    assert found == {
        ("_bucket", "0.05"): 1,
        ("_bucket", "1.0"): 3,
        ("_bucket", "7200.0"): 3,
        ("_bucket", "+Inf"): 4,
        ("_count", None): 4,
        ("_sum", None): 9_001.01,
    }


def test_readiness_is_more_than_health(endpoint: MetricsEndpoint) -> None:
    port = endpoint.start("127.0.0.1", 0)
    assert get(port, "/ready") == (
        200,
        '{"process": "radius", "status": "ready", "findings": []}\n',
    )
    waiting = ["no partitions yet"]
    failing: list[str] = []
    endpoint.add_readiness_check(lambda: waiting)
    endpoint.add_health_check(lambda: failing)
    status, text = get(port, "/ready")
    assert status == 503
    assert json.loads(text)["status"] == "not ready"
    assert json.loads(text)["findings"] == ["no partitions yet"]
    assert get(port, "/health")[0] == 200, "who is not ready need not be started anew"
    waiting.clear()
    assert get(port, "/ready")[0] == 200
    failing.append("positions stand still")
    assert get(port, "/ready")[0] == 503
    assert get(port, "/health")[0] == 503
