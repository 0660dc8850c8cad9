"""The engine's process under Prometheus' eyes: latencies, watermarks, readiness."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from collectors.radius.log_codec import AccountingPacket, encode_packets
from collectors.radius.packet import ACCOUNTING_REQUEST, sign_request
from infra.clock import Clock
from infra.secrets import open_secrets
from infra.serve import Instance
from infra.settings import load_settings
from infra.wiring.logs import log_writer
from infra.wiring.paths import ACCOUNTING_LOG, FLOW_LOG
from infra.wiring.preparation import prepare
from tests.infra.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
SETTINGS = """
[[collectors.radius.clients]]
nas_id = "bras"
address = "192.0.2.1"
secret = "testing123"
"""
AGE_SECONDS = 100
"""How old the packets are when the engine is started."""


def packet(received_at: int, status: int, octets: int) -> AccountingPacket:
    integers = ((40, status), (46, octets // 100), (42, octets), (43, octets))
    attributes = [(kind, struct.pack("!I", value)) for kind, value in integers]
    attributes += [(1, b"nobody"), (44, b"0001"), (8, bytes((100, 64, 0, 1)))]
    request = sign_request(ACCOUNTING_REQUEST, 1, attributes, b"testing123")
    source = bytes(10) + b"\xff\xff\xc0\x00\x02\x01"
    return AccountingPacket(received_at, "bras", source, 1813, request)


def samples(port: int) -> dict[tuple[str, str, str], float]:
    """Return every sample by name, label stage and label le."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels.get("stage", ""), sample.labels.get("le", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_latency_by_event_time_and_watermarks_of_a_running_engine(tmp_path: Path) -> None:
    file = tmp_path / "flowrate.toml"
    file.write_text(f'data_dir = "{tmp_path / "data"}"\n{SETTINGS}')
    settings = load_settings(file)
    prepare(Instance(settings, Clock(), open_secrets(settings.data_dir)))
    now = int(time.time() * 1000)
    received_at = now - AGE_SECONDS * 1000
    accounting = log_writer(settings, ACCOUNTING_LOG)
    body = encode_packets([packet(received_at, 1, 0), packet(received_at, 3, 6_000)])
    accounting.append("data", received_at, body)
    accounting.append("marker", now, b"")
    accounting.close()
    flows = log_writer(settings, FLOW_LOG)
    flows.append("marker", now, b"")
    flows.close()
    command = [sys.executable, "-m", "infra.processes.engine", "--config", str(file)]
    command += ["--set", "metrics.first_port=0", "--set", "logs.format=json"]
    engine = subprocess.Popen(
        command, cwd=ROOT, env=dict(os.environ), stderr=subprocess.PIPE, text=True
    )
    try:
        assert engine.stderr is not None
        port = json.loads(engine.stderr.readline())["metrics_port"]
        count = "flowrate_usage_latency_seconds_count"
        wait_until(lambda: samples(port).get((count, "received_to_rated", ""), 0) > 0, "rated")
        found = samples(port)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            assert json.load(answer)["status"] == "ready"
    finally:
        engine.terminate()
        engine.communicate(timeout=20)
    name = "flowrate_usage_latency_seconds_bucket"
    for stage in ("received_to_rated", "event_to_rated"):
        rows = found[name, stage, "+Inf"]
        assert rows > 0
        assert found[name, stage, "60.0"] <= rows
    assert found[name, "received_to_rated", "60.0"] == 0, "usage is as old as its packet"
    assert found[name, "received_to_rated", "300.0"] == found[name, "received_to_rated", "+Inf"]
    for stage in ("decode", "sessions", "attribute", "rate"):
        assert 0 <= found["flowrate_stream_watermark_age_seconds", stage, ""] < 120
