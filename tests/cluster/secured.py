"""A broker that encrypts and asks who is there: SASL_PLAINTEXT, SSL with certificates, and ACLs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import UserScramCredentialUpsertion

from tests.cluster.servers import Kafka

USER = "flowrate"
STRANGER = "stranger"
"""Known to the broker, and may do nothing there."""
PASSWORD = "correct horse"

PROPERTIES = """\
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:flowrate;User:CN=flowrate
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_plaintext.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required \
user_flowrate="{password}" user_stranger="{password}";
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required \
user_flowrate="{password}";
ssl.keystore.type=PEM
ssl.keystore.location={directory}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={directory}/authority.pem
listener.name.ssl.ssl.client.auth=required
"""


class SecuredKafka:
    """A running broker with users `flowrate` (may do everything) and `stranger` (nothing).

    authority is the file of the certificate authority, certificate and key those of `flowrate`.
    """

    def __init__(self, directory: Path) -> None:
        """Make the certificates under directory."""
        self.authority = directory / "authority.pem"
        self.certificate = directory / "flowrate.pem"
        self.key = directory / "flowrate.key"
        _make_authority(directory)
        _make_certificate(directory, "broker", "subjectAltName=IP:127.0.0.1")
        _make_certificate(directory, "flowrate", "extendedKeyUsage=clientAuth")
        keystore = directory / "broker.pem"
        keystore.write_text((directory / "broker.key").read_text() + keystore.read_text())
        self.broker = Kafka(
            directory,
            listeners=("SASL_PLAINTEXT", "SSL", "SASL_SSL"),
            properties=PROPERTIES.format(password=PASSWORD, directory=directory),
        )

    def start(self) -> None:
        """Start the broker and give its users their SCRAM passwords."""
        self.broker.start()
        admin = KafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        told = admin.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(user, "SCRAM-SHA-512", PASSWORD, iterations=4096)
                for user in (USER, STRANGER)
            ]
        )
        admin.close()
        assert told == {USER: None, STRANGER: None}, told


def _make_authority(directory: Path) -> None:
    _openssl(
        directory,
        *("req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2"),
        *("-subj", "/CN=authority", "-keyout", "authority.key", "-out", "authority.pem"),
    )


def _make_certificate(directory: Path, name: str, extension: str) -> None:
    """Write NAME.key and NAME.pem, signed by the authority."""
    _openssl(
        directory,
        *("req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2"),
        *("-subj", f"/CN={name}", "-addext", extension),
        *("-CA", "authority.pem", "-CAkey", "authority.key"),
        *("-keyout", f"{name}.key", "-out", f"{name}.pem"),
    )


def _openssl(directory: Path, *arguments: str) -> None:
    ended = subprocess.run(
        ["openssl", *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
