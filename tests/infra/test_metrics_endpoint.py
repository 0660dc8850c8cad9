"""The metrics endpoint: counts and gauges as Prometheus text, health with its findings."""

from __future__ import annotations

import json
import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from infra.metrics_endpoint import MetricsEndpoint


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
    meanings = {"packets": "Packets read", "queue_octets": "Waiting (gauge)", "never": "Unseen"}
    endpoint.add_source(meanings, lambda: {"packets": 3, "queue_octets": 7})
    status, text = get(endpoint.start("127.0.0.1", 0), "/metrics")
    assert status == 200
    assert "# HELP flowrate_packets_total Packets read\n" in text
    assert 'flowrate_packets_total{kind="",process="radius"} 3.0\n' in text
    assert "# TYPE flowrate_queue_octets gauge\n" in text
    assert 'flowrate_queue_octets{kind="",process="radius"} 7.0\n' in text
    assert "never" not in text


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
