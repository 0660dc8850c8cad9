"""A broker that encrypts and asks for a login: the settings reach it, and what is wrong is told."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from rating.connections import KafkaConfig, client_arguments
from streams.adapters.kafka_admin import open_topics
from streams.adapters.kafka_login import KafkaRefusedError, check_login
from streams.adapters.kafka_relay import aiokafka_arguments
from streams.cluster import faust_credentials
from streams.topic_plan import TopicLayout
from tests.cluster.conftest import require_kafka
from tests.cluster.processes import free_port
from tests.cluster.secured import PASSWORD, STRANGER, USER, SecuredKafka
from tests.peers_available import require_peer


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A running broker with three listeners that are not open to everybody."""
    require_kafka()
    require_peer("openssl")
    server = SecuredKafka(tmp_path_factory.mktemp("secured"))
    try:
        server.start()
        yield server
    finally:
        server.broker.kill()


def login(server: SecuredKafka, mechanism: str = "SCRAM-SHA-512") -> KafkaConfig:
    return KafkaConfig(
        bootstrap_servers=(server.broker.address("SASL_PLAINTEXT"),),
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism=mechanism,  # type: ignore[arg-type]
        sasl_username=USER,
        sasl_password=PASSWORD,
        request_timeout_milliseconds=5_000,
    )


def certificate(server: SecuredKafka) -> KafkaConfig:
    return KafkaConfig(
        bootstrap_servers=(server.broker.address("SSL"),),
        security_protocol="SSL",
        ssl_ca_file=str(server.authority),
        ssl_certificate_file=str(server.certificate),
        ssl_key_file=str(server.key),
        request_timeout_milliseconds=5_000,
    )


def encrypted_login(server: SecuredKafka) -> KafkaConfig:
    return dataclasses.replace(
        login(server),
        bootstrap_servers=(server.broker.address("SASL_SSL"),),
        security_protocol="SASL_SSL",
        ssl_ca_file=str(server.authority),
    )


WAYS_IN = {
    "SCRAM-SHA-512": login,
    "PLAIN": lambda server: login(server, "PLAIN"),
    "certificate": certificate,
    "SCRAM-SHA-512 encrypted": encrypted_login,
}


@pytest.mark.parametrize("way", WAYS_IN)
def test_topics_are_made_and_both_clients_write_and_read_through_each_way_in(
    secured: SecuredKafka, way: str
) -> None:
    config = WAYS_IN[way](secured)
    topic = f"topic-{uuid.uuid4().hex}"
    with open_topics(config) as topics:
        topics.create([TopicLayout(topic, 2, 1, {"retention.ms": "3600000"})])
        assert topics.read([topic])[topic].partitions == 2

    producer = KafkaProducer(**client_arguments(config), acks="all")
    producer.send(topic, value=b"by kafka-python", partition=0).get(10)
    producer.close()
    asyncio.run(send(config, topic, b"by aiokafka"))

    consumer = KafkaConsumer(
        **client_arguments(config), auto_offset_reset="earliest", consumer_timeout_ms=3_000
    )
    consumer.assign([TopicPartition(topic, 0)])
    values = [next(consumer).value for _ in range(2)]
    consumer.close()
    assert values == [b"by kafka-python", b"by aiokafka"]
    assert asyncio.run(receive(config, topic)) == b"by kafka-python"


@pytest.mark.parametrize("way", WAYS_IN)
def test_a_worker_gets_in_through_each_way(secured: SecuredKafka, tmp_path: Path, way: str) -> None:
    config = WAYS_IN[way](secured)
    topic = f"topic-{uuid.uuid4().hex}"
    with open_topics(config) as topics:
        topics.create([TopicLayout(topic, 1, 1, {"retention.ms": "3600000"})])
    asyncio.run(send(config, topic, b"for an agent"))
    assert asyncio.run(taken_by_an_agent(config, topic, tmp_path)) == b"for an agent"


async def taken_by_an_agent(config: KafkaConfig, topic: str, folder: Path) -> bytes:
    app = faust.App(
        f"app-{topic}",
        broker=[f"kafka://{server}" for server in config.bootstrap_servers],
        broker_credentials=faust_credentials(config),
        datadir=str(folder / topic),
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
    )
    taken: asyncio.Queue[bytes] = asyncio.Queue()

    @app.agent(app.topic(topic, key_serializer="raw", value_serializer="raw"))
    async def agent(stream: Any) -> None:
        async for value in stream:
            await taken.put(value)

    await app.start()
    try:
        return await asyncio.wait_for(taken.get(), 30)
    finally:
        await app.stop()


async def send(config: KafkaConfig, topic: str, value: bytes) -> None:
    producer = AIOKafkaProducer(**aiokafka_arguments(config), enable_idempotence=True)
    await producer.start()
    await producer.send_and_wait(topic, value=value, partition=0)
    await producer.stop()


async def receive(config: KafkaConfig, topic: str) -> bytes | None:
    consumer = AIOKafkaConsumer(
        topic, **aiokafka_arguments(config), auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    message = await asyncio.wait_for(consumer.getone(), 10)
    await consumer.stop()
    value: bytes | None = message.value
    return value


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_a_wrong_password_is_told_as_such(
    secured: SecuredKafka, mechanism: str, capfd: pytest.CaptureFixture[str]
) -> None:
    config = dataclasses.replace(login(secured, mechanism), sasl_password="wrong")
    told = refusal(config)
    assert str(told) == f"Kafka does not let 'flowrate' in ({mechanism})"
    assert told.keys == ("kafka.sasl_username", "kafka.sasl_password")
    assert "wrong" not in capfd.readouterr().err


def test_a_user_without_rights_is_told_as_such(secured: SecuredKafka) -> None:
    config = dataclasses.replace(login(secured), sasl_username=STRANGER)
    topic = TopicLayout(f"topic-{uuid.uuid4().hex}", 1, 1, {})
    with open_topics(config) as topics:
        for attempt in (lambda: topics.read([topic.name]), lambda: topics.create([topic])):
            with pytest.raises(KafkaRefusedError, match="may not administer") as refused:
                attempt()
            assert refused.value.keys == ("kafka.sasl_username",)


def refusal(config: KafkaConfig) -> KafkaRefusedError:
    """Return the error with which connecting fails."""
    with pytest.raises(KafkaRefusedError) as refused, open_topics(config):
        pass
    return refused.value


def test_a_broker_whose_certificate_we_do_not_trust_is_told_as_such(secured: SecuredKafka) -> None:
    told = refusal(dataclasses.replace(certificate(secured), ssl_ca_file=""))
    assert "certificate verify failed" in str(told)
    assert "kafka.ssl_ca_file" in told.keys


def test_a_broker_that_wants_our_certificate_is_told_as_such(secured: SecuredKafka) -> None:
    config = dataclasses.replace(certificate(secured), ssl_certificate_file="", ssl_key_file="")
    told = refusal(config)
    assert str(told).startswith("no encrypted connection to ")
    assert "kafka.ssl_certificate_file" in told.keys


def test_a_listener_that_speaks_another_protocol_is_told_as_such(secured: SecuredKafka) -> None:
    plain = dataclasses.replace(login(secured), security_protocol="PLAINTEXT")
    encrypted = dataclasses.replace(
        certificate(secured), bootstrap_servers=(secured.broker.bootstrap,)
    )
    for config in (plain, encrypted):
        told = refusal(config)
        assert "ends the connection" in str(told)
        assert "kafka.security_protocol" in told.keys


def test_a_mechanism_that_the_broker_does_not_offer_is_told_as_such(secured: SecuredKafka) -> None:
    told = refusal(login(secured, "SCRAM-SHA-256"))
    assert str(told).endswith("does not offer SCRAM-SHA-256")
    assert told.keys == ("kafka.sasl_mechanism",)


def test_one_broker_that_lets_us_in_is_enough(secured: SecuredKafka) -> None:
    down = f"127.0.0.1:{free_port()}"
    servers = (down, secured.broker.address("SASL_PLAINTEXT"))
    config = dataclasses.replace(login(secured), bootstrap_servers=servers)
    check_login(config)
    # A broker that refuses tells more than one that is down.
    told = refusal(dataclasses.replace(config, sasl_password="wrong"))
    assert "kafka.sasl_password" in told.keys


def test_a_file_that_is_not_there_is_told_as_such(secured: SecuredKafka) -> None:
    told = refusal(dataclasses.replace(certificate(secured), ssl_key_file="/nowhere/our.key"))
    assert str(told) == "there is no file /nowhere/our.key"
    assert told.keys == ("kafka.ssl_key_file",)
