"""The compose file: by the published schema, with real commands, settings, users and limits."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from infra.cli import ROLES
from infra.settings import SettingsError
from tests.deploy.deployment_files import (
    DEPLOY,
    command_path,
    schema_file,
    secret_settings,
    settings_of,
)

FOLDER = DEPLOY / "compose"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "flowrate:" in service["image"]}
ONE_SHOTS = {"migrate", "topics", "dashboards"}


def test_the_file_follows_the_published_schema() -> None:
    schema = json.loads(schema_file("compose-spec-*.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(COMPOSE)] == []
    broken = {**COMPOSE, "services": {"api": {"image": "flowrate", "ports": "8080"}}}
    assert list(validator.iter_errors(broken)), "the schema finds what is wrong"


@pytest.mark.parametrize("name", OURS)
def test_each_service_of_ours_runs_a_real_command(name: str) -> None:
    command_path(OURS[name]["command"])


def test_every_role_has_its_service() -> None:
    run = {command_path(service["command"]) for service in OURS.values()}
    assert set(ROLES) <= run
    assert {("migrate",), ("topics",)} <= run


@pytest.mark.parametrize("name", OURS)
def test_each_service_of_ours_gets_settings_that_can_be_used(name: str, tmp_path: Path) -> None:
    settings = settings_of(OURS[name]["environment"], secret_settings(tmp_path))
    assert settings.mode == "cluster"
    assert settings.cluster.topics.replication_factor == 1


def test_a_variable_without_a_setting_would_be_found(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="FLOWRATE_CLUSTER__KAFKA__BOOTSTRAP"):
        settings_of({"FLOWRATE_CLUSTER__KAFKA__BOOTSTRAP": "x:1"}, secret_settings(tmp_path))


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_pinned_bounded_and_nobody_special(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[a-z0-9./-]+:v?\d+\.\d+[\w.-]*", service["image"]), "an exact version"
    assert service["user"].split(":")[0] not in ("0", "root")
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["logging"]["options"]["max-size"]
    assert service["restart"] == ("no" if name == "dashboards" else service["restart"])
    if name in ONE_SHOTS:
        assert service["healthcheck"] == {"disable": True}
        return
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"]
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    # The roles have the image's own check of their metrics endpoint.
    assert name in OURS or service["healthcheck"]["test"]


def test_ours_write_nothing_but_their_data() -> None:
    for service in OURS.values():
        assert service["read_only"] is True


def test_collectors_see_real_source_addresses_and_keep_their_spools() -> None:
    ports = set()
    for name in ("collect-flows", "collect-radius"):
        service = SERVICES[name]
        assert service["network_mode"] == "host"
        assert "networks" not in service
        assert any(volume.endswith(":/var/lib/flowrate") for volume in service["volumes"])
        assert not any("/var/lib/flowrate" in mount for mount in service["tmpfs"])
        ports.add(service["environment"]["FLOWRATE_METRICS__FIRST_PORT"])
        hosts = dict(entry.split(":") for entry in service["extra_hosts"])
        for server in ("kafka", "postgres"):
            fixed = SERVICES[server]["networks"]["inside"]["ipv4_address"]
            assert hosts[server] == fixed
    assert len(ports) == 2


def test_prometheus_asks_every_role() -> None:
    scraped = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())["scrape_configs"]
    names = set(scraped[0]["dns_sd_configs"][0]["names"])
    assert names == set(OURS) - ONE_SHOTS - {"collect-flows", "collect-radius"}
    targets = {
        "{FLOWRATE_METRICS__LISTEN_ADDRESS}:{FLOWRATE_METRICS__FIRST_PORT}".format(
            **SERVICES[name]["environment"]
        )
        for name in ("collect-flows", "collect-radius")
    }
    assert set(scraped[1]["static_configs"][0]["targets"]) == targets


def test_every_mounted_file_and_secret_is_there_or_made(tmp_path: Path) -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), source
            else:
                assert source in COMPOSE["volumes"]
        for secret in service.get("secrets", ()):
            assert (secret if isinstance(secret, str) else secret["source"]) in COMPOSE["secrets"]
    script = tmp_path / "make-secrets"
    script.write_bytes((FOLDER / "make-secrets").read_bytes())
    script.chmod(0o700)
    made = subprocess.run([script], capture_output=True, text=True, check=False)
    if made.returncode == 2:
        pytest.skip(made.stderr)
    assert made.returncode == 0, made.stderr
    wanted = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    files = {path.name: path for path in (tmp_path / "secrets").iterdir()}
    assert set(files) == wanted
    assert {stat.S_IMODE(path.stat().st_mode) for path in files.values()} == {0o600}
    settings = tomllib.loads(files["flowrate.toml"].read_text())
    keys = tomllib.loads(files["keys"].read_text())
    assert keys["store_sink_password"] == settings["warehouse"]["sink_password"]
    assert files["postgres_password"].read_text() in settings["cluster"]["database_url"]
    assert settings["warehouse"]["sink_password"] not in files["clickhouse_users.xml"].read_text()
    before = {name: path.read_bytes() for name, path in files.items()}
    subprocess.run([script], capture_output=True, check=True)
    assert {name: path.read_bytes() for name, path in files.items()} == before
    variables = OURS["worker"]["environment"]
    assert settings_of(variables, files["flowrate.toml"]).warehouse.sink_password
