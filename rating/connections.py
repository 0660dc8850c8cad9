"""How the processes of a cluster reach Kafka: settings that every package needs alike."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal


@dataclasses.dataclass(frozen=True, slots=True)
class KafkaConfig:
    """Where the Kafka cluster is and who we are to it."""

    bootstrap_servers: tuple[str, ...] = ("127.0.0.1:9092",)
    """Brokers as ``host:port``; one that answers is enough to find the others."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Whether connections are encrypted and who logs in."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """How the user logs in where the protocol says SASL."""
    sasl_username: str = ""
    """User of the cluster."""
    sasl_password: str = dataclasses.field(default="", repr=False)
    """Password of that user."""
    ssl_ca_file: str = ""
    """File of the certificates that the brokers' are checked against; empty: the system's."""
    ssl_certificate_file: str = ""
    """Our certificate, where the brokers ask for one."""
    ssl_key_file: str = ""
    """Key of our certificate."""
    request_timeout_milliseconds: int = 10_000
    """How long a broker may take to answer."""
    delivery_timeout_milliseconds: int = 60_000
    """How long a producer tries to deliver a message before it counts as failed."""
    message_octets_max: int = 8_388_608
    """Largest message; topics are created with it as ``max.message.bytes``."""


def client_arguments(config: KafkaConfig) -> dict[str, Any]:
    """Return what every kafka-python client is given: servers, encryption, login."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(config.bootstrap_servers),
        "security_protocol": config.security_protocol,
        "request_timeout_ms": config.request_timeout_milliseconds,
    }
    if config.security_protocol.startswith("SASL"):
        arguments |= {
            "sasl_mechanism": config.sasl_mechanism,
            "sasl_plain_username": config.sasl_username,
            "sasl_plain_password": config.sasl_password,
        }
    if config.security_protocol.endswith("SSL"):
        files = {
            "ssl_cafile": config.ssl_ca_file,
            "ssl_certfile": config.ssl_certificate_file,
            "ssl_keyfile": config.ssl_key_file,
        }
        arguments |= {name: file for name, file in files.items() if file}
    return arguments


def check_kafka(config: KafkaConfig) -> list[str]:
    """Return one message per setting that cannot work: the key and what was expected."""
    problems = [
        f"bootstrap_servers: {server!r}: expected host:port"
        for server in config.bootstrap_servers
        if not server.rpartition(":")[0] or not server.rpartition(":")[2].isdigit()
    ]
    if not config.bootstrap_servers:
        problems.append("bootstrap_servers: expected at least one host:port")
    if config.security_protocol.startswith("SASL") and not config.sasl_username:
        problems.append(f"sasl_username: expected a user, as {config.security_protocol} logs in")
    if bool(config.ssl_certificate_file) != bool(config.ssl_key_file):
        problems.append("ssl_certificate_file, ssl_key_file: expected both or neither")
    return problems
