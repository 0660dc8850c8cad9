"""The Kubernetes manifests, rendered by kustomize and held against the published schemas."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from infra.cli import ROLES
from streams.topics import KAFKA_TOPICS, physical_topic
from tests.deploy.deployment_files import (
    DEPLOY,
    command_path,
    kustomize,
    read_yaml,
    schema_file,
    secret_settings,
    settings_of,
)

FOLDER = DEPLOY / "kubernetes"
OVERLAYS = ("small", "production")
VERSIONS = ("1.31", "1.35")
"""Kubernetes releases whose schemas the manifests are held against: the oldest meant, a newer."""
FILES = sorted((FOLDER / "base").glob("*.yaml"))


@functools.cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    done = subprocess.run(
        [kustomize(), "build", FOLDER / "overlays" / overlay], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr, "no warning either"
    return tuple(read_yaml(done.stdout))


def of_kind(overlay: str, *kinds: str) -> list[dict[str, Any]]:
    return [document for document in rendered(overlay) if document["kind"] in kinds]


def check(document: dict[str, Any]) -> None:
    """Hold a resource against its schema, which knows every key it may have."""
    if document["apiVersion"].startswith("keda.sh/"):
        path = schema_file(f"keda-{document['kind'].lower()}s-*.yaml")
        (version,) = [
            each
            for each in yaml.safe_load(path.read_text())["spec"]["versions"]
            if document["apiVersion"] == f"keda.sh/{each['name']}"
        ]
        jsonschema.validate(document, version["schema"]["openAPIV3Schema"])
        return
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file_follows_the_published_schema(path: Path) -> None:
    for document in read_yaml(path.read_text()):
        if document["kind"] != "Kustomization":
            check(document)


def test_a_misspelt_key_would_be_found() -> None:
    (document, *_) = read_yaml((FOLDER / "base/api.yaml").read_text())
    document["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(document)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_renders_and_follows_the_published_schemas(overlay: str) -> None:
    documents = rendered(overlay)
    for document in documents:
        check(document)
    assert len(documents) > 25
    namespaced = [document for document in documents if document["kind"] != "Namespace"]
    assert {document["metadata"]["namespace"] for document in namespaced} == {"flowrate"}


def pods(overlay: str) -> list[tuple[str, dict[str, Any]]]:
    found = of_kind(overlay, "Deployment", "StatefulSet", "Job")
    return [(each["metadata"]["name"], each["spec"]["template"]["spec"]) for each in found]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_role_runs_with_settings_that_can_be_used(overlay: str, tmp_path: Path) -> None:
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(overlay, "ConfigMap")}
    run = set()
    for _, pod in pods(overlay):
        for container in (*pod["initContainers"], *pod["containers"]):
            if "args" not in container:
                continue
            run.add(command_path(container["args"]))
            (source,) = container["envFrom"]
            variables = dict(maps[source["configMapRef"]["name"]])
            variables |= {each["name"]: each["value"] for each in container.get("env", ())}
            settings = settings_of(variables, secret_settings(tmp_path))
            assert settings.metrics.listen_address == "0.0.0.0"
            assert settings.metrics.first_port == 9471
    assert run == {*ROLES, ("migrate",), ("topics",)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_pod_has_a_right_it_does_not_need(overlay: str) -> None:
    for _, pod in pods(overlay):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in (*pod["initContainers"], *pod["containers"]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["image"] == "registry.example.net/flowrate:0.1.0"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_role_is_probed_on_its_metrics_port_and_evicted_one_at_a_time(overlay: str) -> None:
    roles = of_kind(overlay, "Deployment", "StatefulSet")
    budgets = {each["metadata"]["name"]: each for each in of_kind(overlay, "PodDisruptionBudget")}
    assert {each["metadata"]["name"] for each in roles} == set(budgets)
    for role in roles:
        (container,) = role["spec"]["template"]["spec"]["containers"]
        assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": "metrics"}
        assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "metrics"}
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports["metrics"] == 9471
        selected = budgets[role["metadata"]["name"]]["spec"]["selector"]["matchLabels"]
        assert selected.items() <= role["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_collectors_see_source_addresses_and_keep_name_and_spool(overlay: str) -> None:
    services = {each["metadata"]["name"]: each["spec"] for each in of_kind(overlay, "Service")}
    sets = of_kind(overlay, "StatefulSet")
    assert {each["metadata"]["name"] for each in sets} == {"collect-flows", "collect-radius"}
    for each in sets:
        service = services[each["metadata"]["name"]]
        assert service["externalTrafficPolicy"] == "Local"
        assert {port["protocol"] for port in service["ports"]} == {"UDP", "TCP"}
        assert "metrics" not in {port["name"] for port in service["ports"]}
        kept = each["spec"]["persistentVolumeClaimRetentionPolicy"]
        assert set(kept.values()) == {"Retain"}
        (claim,) = each["spec"]["volumeClaimTemplates"]
        assert claim["metadata"]["name"] == "data"
        assert each["spec"]["serviceName"] in services


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_and_policy_selects_a_role(overlay: str) -> None:
    labels = [
        each["spec"]["template"]["metadata"]["labels"]
        for each in of_kind(overlay, "Deployment", "StatefulSet", "Job")
    ]
    selectors = [each["spec"]["selector"] for each in of_kind(overlay, "Service")]
    selectors += [
        each["spec"]["podSelector"]["matchLabels"] for each in of_kind(overlay, "NetworkPolicy")
    ]
    for selector in selectors:
        assert any(selector.items() <= each.items() for each in labels), selector


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_prepares_can_be_applied_before_the_roles(overlay: str) -> None:
    first = {
        each["kind"]
        for each in rendered(overlay)
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "prepare"
    }
    assert first == {"Namespace", "ConfigMap", "Job"}


def test_workers_follow_the_lag_of_every_topic_they_read(tmp_path: Path) -> None:
    (scaled,) = of_kind("production", "ScaledObject")
    (variables,) = [each["data"] for each in of_kind("production", "ConfigMap")]
    settings = settings_of(variables, secret_settings(tmp_path))
    topics = {trigger["metadata"]["topic"] for trigger in scaled["spec"]["triggers"]}
    read = {physical_topic(t, 1) for t in KAFKA_TOPICS if t not in ("usage.rated", "dead.letters")}
    assert topics == read
    groups = {trigger["metadata"]["consumerGroup"] for trigger in scaled["spec"]["triggers"]}
    assert groups == {settings.cluster.worker.application_id}
    assert scaled["spec"]["maxReplicaCount"] <= settings.cluster.topics.partitions
    (worker,) = [
        each for each in of_kind("production", "Deployment") if each["metadata"]["name"] == "worker"
    ]
    assert "replicas" not in worker["spec"], "KEDA's number is not set back at each apply"
