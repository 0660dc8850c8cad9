"""The alert rules: Prometheus reads them, they fire when they should, their metrics exist.

`promtool` is Prometheus' own checker; its scenarios are in flowrate.test.yaml beside the rules.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.infra.declared_metrics import declared_metrics
from tests.peers_available import require_peer

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "infra/deploy/prometheus"
RULES = FOLDER / "flowrate.rules.yaml"
SCENARIOS = FOLDER / "flowrate.test.yaml"
OPERATIONS = ROOT / "docs/operations.md"

GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in GROUPS for rule in group["rules"]
}
DECLARED = declared_metrics()
FOREIGN = ("up", "node_filesystem_avail_bytes", "node_filesystem_size_bytes")
"""Metrics of Prometheus itself and of its node_exporter."""
NAMED = re.compile(r"\b(flowrate_\w+|node_\w+|up)\b(?:\{([^}]*)\})?")


def promtool(*arguments: str, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    program = require_peer("promtool")
    return subprocess.run(
        [program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def metrics_in(expression: str) -> dict[str, set[str]]:
    """Return the metrics of an expression with the labels that it selects by."""
    return {
        name: set(re.findall(r"(\w+)\s*[=!]~?", selectors or ""))
        for name, selectors in NAMED.findall(expression)
    }


def test_prometheus_reads_the_rules_and_the_scrape_configuration() -> None:
    checked = promtool("check", "rules", RULES.name)
    assert checked.returncode == 0, checked.stderr
    assert f"{len(ALERTS)} rules found" in checked.stdout
    checked = promtool("check", "config", "prometheus.example.yaml")
    assert checked.returncode == 0, checked.stderr + checked.stdout


def test_alerts_fire_when_they_should_and_are_silent_otherwise() -> None:
    tested = promtool("test", "rules", SCENARIOS.name)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_the_scenarios_would_miss_any_alert_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / RULES.name).write_text("groups: []\n")
    shutil.copy(SCENARIOS, tmp_path)
    tested = promtool("test", "rules", SCENARIOS.name, folder=tmp_path)
    assert tested.returncode == 1
    missed = set(re.findall(r'alertname="(\w+)"', tested.stdout + tested.stderr))
    assert missed == set(ALERTS)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_metric_of_an_alert_is_one_that_the_code_declares(alert: str) -> None:
    found = metrics_in(ALERTS[alert]["expr"])
    assert found
    for metric, labels in found.items():
        if metric not in FOREIGN:
            assert metric in DECLARED, metric
            assert labels <= DECLARED[metric] | {"job", "instance"}, metric


def test_a_metric_that_nobody_declares_would_be_found() -> None:
    found = metrics_in('rate(flowrate_flow_kernel_dropps{process="x"}[5m]) > 0 or up == 0')
    assert found == {"flowrate_flow_kernel_dropps": {"process"}, "up": set()}
    assert "flowrate_flow_kernel_dropps" not in DECLARED
    assert "flowrate_usage_latency_seconds_bucket" in DECLARED


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_is_wrong_and_where_the_remedy_is_written(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert all(rule["annotations"].values())
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{alert.lower()}"
    page = OPERATIONS.read_text(encoding="utf-8")
    section = page.partition(f"\n### {alert}\n")[2].partition("\n#")[0]
    assert len(section.split()) >= 20, "the page of operations says what to do"


def test_no_page_speaks_of_an_alert_that_is_gone() -> None:
    written = re.findall(r"^### (Flowrate\w+)$", OPERATIONS.read_text(encoding="utf-8"), re.M)
    assert sorted(written) == sorted(ALERTS)
