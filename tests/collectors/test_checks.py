"""Settings that cannot work are named before anything starts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from collectors.checks import check_flow_receiver, check_radius, check_spool
from collectors.config import (
    ConnectionsConfig,
    FlowConnectionsConfig,
    FlowReceiverConfig,
    NasConfig,
    RadiusConfig,
    RadSecConfig,
    RelayConfig,
    SpoolConfig,
    TlsConfig,
)
from rating.connections import KafkaConfig


def test_the_defaults_work() -> None:
    assert check_flow_receiver(FlowReceiverConfig()) == []
    assert check_radius(RadiusConfig()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"listen": ("::1:2055",)}, "listen: '::1:2055': an IPv6 address needs brackets"),
        ({"listen": ()}, "listen: expected at least one address"),
        ({"block_milliseconds": 0}, "block_milliseconds = 0: expected at least 1"),
        ({"queue_octets": 1}, "queue_octets = 1: expected at least twice block_octets"),
        (
            {"connections": FlowConnectionsConfig(listen=("4739",))},
            "listen: '4739' is not host:port",
        ),
        (
            {"connections": FlowConnectionsConfig(tls_listen=("*:4740",))},
            "connections.tls.certificate_file: expected a file",
        ),
        (
            {"connections": FlowConnectionsConfig(tls=TlsConfig(client_names=("a",)))},
            "connections.tls.client_ca_file: expected a file",
        ),
        (
            {
                "connections": FlowConnectionsConfig(
                    tls=TlsConfig(client_ca_file="ca.pem", client_names=("sha256:1",))
                )
            },
            "connections.tls.client_names: 'sha256:1': expected sha256:",
        ),
        (
            {"connections": FlowConnectionsConfig(limits=ConnectionsConfig(connections_max=0))},
            "connections.limits.connections_max = 0: expected at least 1",
        ),
    ],
)
def test_a_bad_flow_setting_is_named(change: dict[str, Any], message: str) -> None:
    (found,) = check_flow_receiver(dataclasses.replace(FlowReceiverConfig(), **change))
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"listen": ("*",)}, "listen: '*' is not host:port"),
        ({"batch_packets": 0}, "batch_packets = 0: expected at least 1"),
        ({"duplicate_cache_entries": 5}, "duplicate_cache_entries = 5: expected at least batch"),
        ({"clients": (NasConfig("a", "x", "s"),)}, "clients: radius client 'a': address"),
    ],
)
def test_a_bad_radius_setting_is_named(change: dict[str, Any], message: str) -> None:
    (found,) = check_radius(dataclasses.replace(RadiusConfig(), **change))
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"server": "", "secret": "s"}, "relay.server: expected host:port beside relay.secret"),
        ({"server": "radius2"}, "relay.server: 'radius2' is not host:port"),
        ({"server": "*:1813"}, "relay.server = '*:1813': expected one host and port"),
        ({"secret": ""}, "relay.secret: expected the secret shared with relay.server"),
        ({"window_packets_max": 0}, "relay.window_packets_max = 0: expected 1 to 8192"),
        ({"retry_first_milliseconds": 17_000}, "relay.retry_first_milliseconds: expected 1 to"),
        ({"attempt_seconds": 0}, "relay.attempt_seconds = 0: expected at least 1"),
        ({"queue_hours_max": 0}, "relay.queue_hours_max = 0: expected at least 1"),
    ],
)
def test_a_bad_relay_setting_is_named(change: dict[str, Any], message: str) -> None:
    plain = RelayConfig("radius2.example:1813", "secret")
    assert check_radius(RadiusConfig(relay=plain)) == []
    (found,) = check_radius(RadiusConfig(relay=dataclasses.replace(plain, **change)))
    assert found.startswith(message)


def test_what_cannot_work_in_a_spool_is_told_by_key() -> None:
    config = SpoolConfig(collector_id="two words", octets_max=0, lease_seconds=0)
    kafka = KafkaConfig(
        message_octets_max=1_000,
        request_timeout_milliseconds=10_000,
        delivery_timeout_milliseconds=10_000,
    )
    problems = check_spool(config, kafka)
    assert [problem.partition(" = ")[0] for problem in problems] == [
        "spool.octets_max",
        "spool.lease_seconds, spool.keep_published_minutes",
        "spool.collector_id",
        "kafka.message_octets_max",
        "kafka.delivery_timeout_milliseconds",
    ]
    assert check_spool(SpoolConfig(collector_id="ams1.example"), KafkaConfig()) == []


def test_radsec_without_certificates_is_told() -> None:
    (certificate, authority) = check_radius(
        RadiusConfig(radsec=RadSecConfig(listen=("*:2083",)), listen=())
    )
    assert certificate.startswith("radsec.tls.certificate_file: expected a file")
    assert authority.startswith("radsec.tls.client_ca_file: expected a file")
    whole = TlsConfig("a.pem", "a.key", "ca.pem")
    assert check_radius(RadiusConfig(radsec=RadSecConfig(("*:2083",), whole), listen=())) == []
