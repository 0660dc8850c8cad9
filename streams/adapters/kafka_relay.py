"""The relay's hand: an idempotent producer that keeps the order of each partition.

Messages go to explicit partitions of the generation's topics. A message that cannot be delivered
is an error of the whole worker: what is not acknowledged stays in the outbox.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from rating.connections import KafkaConfig
from streams.topics import physical_topic


def aiokafka_arguments(config: KafkaConfig) -> dict[str, Any]:
    """Return what every aiokafka client is given: servers, encryption, login."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(config.bootstrap_servers),
        "security_protocol": config.security_protocol,
        "request_timeout_ms": config.request_timeout_milliseconds,
    }
    if config.security_protocol.endswith("SSL"):
        arguments["ssl_context"] = ssl_context(config)
    if config.security_protocol.startswith("SASL"):
        arguments |= {
            "sasl_mechanism": config.sasl_mechanism,
            "sasl_plain_username": config.sasl_username,
            "sasl_plain_password": config.sasl_password,
        }
    return arguments


def ssl_context(config: KafkaConfig) -> ssl.SSLContext:
    """Return the context that checks the brokers and shows our certificate where there is one."""
    context = ssl.create_default_context(cafile=config.ssl_ca_file or None)
    if config.ssl_certificate_file:
        context.load_cert_chain(config.ssl_certificate_file, config.ssl_key_file)
    return context


class KafkaRelay:
    """Publishes to one generation of topics; belongs to one event loop.

    on_failure is called at once where a message is given up: what was sent behind it in the same
    partition must not follow, so the caller ends the process there and then.
    """

    def __init__(
        self,
        config: KafkaConfig,
        generation: int,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Connect to nothing yet."""
        self._on_failure = on_failure
        self._config = config
        self._generation = generation
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect. Raises aiokafka's KafkaError where no broker answers.

        zstd: aiokafka compresses lz4 at level 9, which took 13 % of a worker. Large frames are lz4
        already, each for itself; batches of small ones shrink to a third.
        """
        self._producer = AIOKafkaProducer(
            **aiokafka_arguments(self._config),
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            linger_ms=2,
            max_batch_size=262_144,
            max_request_size=self._config.message_octets_max + 65_536,
        )
        await self._producer.start()

    async def stop(self) -> None:
        """Send what is buffered and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def publish(self, messages: Sequence[tuple[str, int, bytes]]) -> None:
        """Send (topic, partition, value) in order; returns once all are acknowledged.

        Waits as long as Kafka is away. Raises aiokafka's KafkaError where one is given up: its
        partition had no leader for the request timeout, or the broker refused it.
        """
        assert self._producer is not None, "the relay was not started"
        sent = []
        for topic, partition, value in messages:
            name = physical_topic(topic, self._generation)
            future = await self._producer.send(name, value, partition=partition)
            future.add_done_callback(self._look_at)
            sent.append(future)
        await asyncio.gather(*sent)

    def _look_at(self, future: asyncio.Future[Any]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None and self._on_failure is not None:
            self._on_failure(error)
