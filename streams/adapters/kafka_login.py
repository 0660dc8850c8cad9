"""Tries the way in to Kafka once, so that what is wrong with it is told by its setting.

The clients try again until their time is up and then say that no broker answered. kafka-python may
even lose the broker's answer to a wrong password, where the connection's end arrives with it.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

from aiokafka.conn import create_conn
from aiokafka.errors import (
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from rating.connections import KafkaConfig
from streams.adapters.kafka_relay import aiokafka_arguments


class KafkaRefusedError(Exception):
    """Kafka cannot be reached, or refuses; `keys` are the cluster's settings to look at."""

    def __init__(self, reason: str, *keys: str) -> None:
        """Take one sentence without a full stop, and keys below `cluster`."""
        super().__init__(reason)
        self.keys = keys


def check_login(config: KafkaConfig) -> None:
    """Return once one broker has let us in; KafkaRefusedError says why none did.

    Each broker has config.request_timeout_milliseconds to answer.
    """
    for key in ("ssl_ca_file", "ssl_certificate_file", "ssl_key_file"):
        file = getattr(config, key)
        if file and not Path(file).is_file():
            raise KafkaRefusedError(f"there is no file {file}", f"kafka.{key}")
    asyncio.run(_check_login(config))


async def _check_login(config: KafkaConfig) -> None:
    unreachable: list[KafkaRefusedError] = []
    for server in config.bootstrap_servers:
        try:
            await _visit(config, server)
        except KafkaRefusedError as refusal:
            unreachable.append(refusal)
        else:
            return
    # A broker that answers and refuses tells more than one that is down.
    raise min(unreachable, key=lambda refusal: "kafka.bootstrap_servers" in refusal.keys)


async def _visit(config: KafkaConfig, server: str) -> None:
    """Log in at one broker, ask it for its cluster and leave."""
    seconds = config.request_timeout_milliseconds / 1000
    try:
        await asyncio.wait_for(_log_in(config, server), seconds)
    except SaslAuthenticationFailed as error:
        raise KafkaRefusedError(
            f"Kafka does not let {config.sasl_username!r} in ({config.sasl_mechanism})",
            "kafka.sasl_username",
            "kafka.sasl_password",
        ) from error
    except UnsupportedSaslMechanismError as error:
        raise KafkaRefusedError(
            f"{server} does not offer {config.sasl_mechanism}", "kafka.sasl_mechanism"
        ) from error
    except TimeoutError as error:
        raise KafkaRefusedError(
            f"{server} does not answer within {seconds:g} s", "kafka.bootstrap_servers"
        ) from error
    except (KafkaError, OSError) as error:
        raise _unusable(server, error) from error


async def _log_in(config: KafkaConfig, server: str) -> None:
    host, _, port = server.rpartition(":")
    arguments = aiokafka_arguments(config)
    del arguments["bootstrap_servers"]
    connection = await create_conn(host.strip("[]"), int(port), **arguments)
    try:
        # Also a listener that wants a login tells its versions to everybody.
        await connection.send(MetadataRequest([]))
    finally:
        connection.close()


def _unusable(server: str, error: BaseException) -> KafkaRefusedError:
    """Return the error for a connection that could not be made, or that the broker ended."""
    cause = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
    if isinstance(cause, ssl.SSLError):
        return KafkaRefusedError(
            f"no encrypted connection to {server}: {told(cause)}",
            "kafka.ssl_ca_file",
            "kafka.ssl_certificate_file",
        )
    if isinstance(error, KafkaError | ConnectionResetError):
        return KafkaRefusedError(
            f"{server} ends the connection: is the protocol another?",
            "kafka.bootstrap_servers",
            "kafka.security_protocol",
        )
    return KafkaRefusedError(
        f"{server} cannot be reached: {told(error)}", "kafka.bootstrap_servers"
    )


def told(error: BaseException) -> str:
    """Return the beginning of an error's text, on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
