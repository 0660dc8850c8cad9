"""Every panel of the operations dashboard asks something that Prometheus can answer from our code.

`promtool` reads each expression as Prometheus would; the metrics in it are held against what the
packages declare.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.config import DashboardsConfig
from dashboards.operations import OPERATIONS_UID, ROWS
from dashboards.published import dashboards
from tests.dashboards.test_live import panels
from tests.infra.declared_metrics import declared_metrics
from tests.peers_available import require_peer

OPERATIONS = dashboards(DashboardsConfig())[OPERATIONS_UID]
TARGETS = [(panel, target) for panel in panels(OPERATIONS) for target in panel["targets"]]
DECLARED = declared_metrics()
LABELS = re.compile(r"by \(([^)]*)\)")
SELECTORS = re.compile(r"(flowrate_\w+)\{([^}]*)\}")


@pytest.mark.parametrize(
    ("panel", "target"), TARGETS, ids=[f"{p['title']}-{t['refId']}" for p, t in TARGETS]
)
def test_a_panel_asks_for_metrics_and_labels_that_exist(
    panel: dict[str, Any], target: dict[str, Any]
) -> None:
    expression = target["expr"]
    metrics = set(re.findall(r"flowrate_\w+", expression))
    assert metrics or "up{" in expression
    assert metrics <= set(DECLARED), panel["title"]
    known = {"instance", "job"}.union(*(DECLARED[metric] for metric in metrics))
    grouped = {label.strip() for found in LABELS.findall(expression) for label in found.split(",")}
    assert grouped <= known
    for metric, selector in SELECTORS.findall(expression):
        assert set(re.findall(r"(\w+)\s*=", selector)) <= DECLARED[metric]
    shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
    assert shown <= grouped, "a legend names a label that the expression has lost"
    assert target["datasource"] == {"type": "prometheus", "uid": "flowrate-prometheus"}


def test_prometheus_reads_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": target["expr"].replace("$__rate_interval", "5m")}
        for number, (_, target) in enumerate(TARGETS)
    ]
    file = tmp_path / "panels.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    command = [require_peer("promtool"), "check", "rules", str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(TARGETS)} rules found" in checked.stdout


def test_panels_fill_their_rows_and_have_their_own_ids() -> None:
    for title, row in ROWS:
        assert sum(panel.width for panel in row) % 24 == 0, title
    everything = OPERATIONS["panels"] + [
        q for p in OPERATIONS["panels"] for q in p.get("panels", [])
    ]
    ids = [panel["id"] for panel in everything]
    assert len(ids) == len(set(ids))
    titles = [panel["title"] for panel in panels(OPERATIONS)]
    assert len(titles) == len(set(titles))


def test_what_the_operator_was_promised_is_there() -> None:
    asked = " ".join(target["expr"] for _, target in TARGETS)
    for metric in (
        "flowrate_stream_consumer_lag_messages",
        "flowrate_usage_latency_seconds_bucket",
        "flowrate_stream_watermark_age_seconds",
        "flowrate_spool_octets",
        "flowrate_stream_outbox_oldest_seconds",
    ):
        assert metric in asked


def test_another_data_source_may_be_named() -> None:
    moved = dashboards(DashboardsConfig(prometheus_uid="other"))[OPERATIONS_UID]
    for panel in panels(moved):
        assert panel["datasource"]["uid"] == "other"
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"other"}
