"""One Kafka and one PostgreSQL per session; a test takes topics and a database of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.cluster.servers import POSTGRES_PROGRAMS, Kafka, Postgres, kafka_jars
from tests.peers_available import require_path, require_peer


def require_kafka() -> None:
    """Skip where Kafka or Java is absent; fail under REQUIRE_PEERS=1."""
    require_peer("java")
    require_path(kafka_jars(), "Kafka")


def require_postgres() -> None:
    """Skip where PostgreSQL is absent; fail under REQUIRE_PEERS=1."""
    require_path(POSTGRES_PROGRAMS / "postgres", "PostgreSQL 15")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A running broker that the session's tests share: take topics with a prefix of your own."""
    require_kafka()
    broker = Kafka(tmp_path_factory.mktemp("kafka"))
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A running server that the session's tests share: take `database_url`."""
    require_postgres()
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """URL of an empty database that only this test has."""
    name = f"test_{uuid.uuid4().hex}"
    yield postgres.create_database(name)
    postgres.drop_database(name)
