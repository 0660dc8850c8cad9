"""How the doctor tells its findings, and with which status it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra import cli
from infra.doctor.findings import Finding, as_json, as_table, exit_status
from tests.collectors.adapters.certificates import Authority

OK = Finding("disk", "/data", "ok", "free")
WARN = Finding("clocks", "NAS a", "warn", "7 s behind", "give it NTP")
FAIL = Finding("secrets", "a", "fail", "weak", "set another")


@pytest.mark.parametrize(
    ("findings", "status"), [([], 0), ([OK], 0), ([OK, WARN], 1), ([FAIL, WARN, OK], 2)]
)
def test_the_worst_finding_is_the_status(findings: list[Finding], status: int) -> None:
    assert exit_status(findings) == status
    assert json.loads(as_json(findings))["status"] == status


def test_a_table_has_a_line_per_finding_and_its_advice_below() -> None:
    lines = as_table([OK, WARN]).splitlines()
    assert lines[0].split() == ["ok", "disk", "/data", "free"]
    assert lines[2].strip() == "→ give it NTP"
    assert lines[-1] == "1 ok, 1 to look at, 0 failed"


def test_settings_that_cannot_be_used_are_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "flowrate.toml"
    file.write_text("[api]\nlisten_prt = 8080\n[collectors.radius]\nbatch_packets = 'x'\n")
    assert cli.main(["doctor", "--config", str(file), "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert len(told["findings"]) == 2
    assert "did you mean" in told["findings"][0]["seen"]


def test_an_area_that_cannot_be_examined_hides_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flowrate.sqlite").write_bytes(b"this is no database, but it is long enough" * 40)
    flags = ["--set", f"data_dir={tmp_path}", "--json"]
    assert cli.main(["doctor", *flags]) == 2
    findings = json.loads(capsys.readouterr().out)["findings"]
    broken = {each["area"] for each in findings if each["subject"] == "examination"}
    assert "nas" in broken
    assert {"disk", "secrets", "versions"} <= {each["area"] for each in findings} - broken


def test_a_cluster_whose_servers_are_away_is_told_in_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (
        f"data_dir={tmp_path}",
        "mode=cluster",
        "cluster.database_url=postgresql://nobody:x@127.0.0.1:1/flowrate",
        'cluster.kafka.bootstrap_servers=["127.0.0.1:1"]',
        "warehouse.endpoint.port=1",
    )
    words = [word for flag in flags for word in ("--set", flag)]
    assert cli.main(["doctor", "--json", *words]) == 2
    findings = json.loads(capsys.readouterr().out)["findings"]
    away = {each["subject"] for each in findings if "does not answer" in each["seen"]}
    assert away == {"PostgreSQL", "ClickHouse", "Kafka"}


def test_a_nas_that_comes_by_radsec_alone_has_no_weak_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Authority(tmp_path / "ca").sign("radius.example")
    made.key.chmod(0o600)
    file = tmp_path / "flowrate.toml"
    file.write_text(
        f"""
        data_dir = "data"
        [collectors.radius.radsec]
        listen = ["127.0.0.1:1"]
        [collectors.radius.radsec.tls]
        certificate_file = "{made.file}"
        key_file = "{made.key}"
        client_ca_file = "{tmp_path / "ca" / "authority.pem"}"
        [[collectors.radius.clients]]
        nas_id = "bng-by-tls"
        address = ""
        secret = ""
        certificate = "bng.example"
        """
    )
    cli.main(["doctor", "--config", str(file), "--json"])
    found = {e["subject"]: e for e in json.loads(capsys.readouterr().out)["findings"]}
    assert "bng-by-tls" not in found
    assert found[str(made.file)]["level"] in ("ok", "warn")
    assert found[str(made.key)]["level"] == "ok"
    assert "collectors.radius.radsec.listen 127.0.0.1:1" in found
