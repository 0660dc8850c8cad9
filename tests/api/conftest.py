"""A sample world per test (one filled file, copied), and a client per key."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from billing.adapters.databases import open_database
from tests.api import sample
from tests.api.sample_usage import SampleUsage


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, sample.World]:
    path = tmp_path_factory.mktemp("sample") / "filled.sqlite"
    world = sample.open_world(str(path))
    world.engine.dispose()
    return path, world


@pytest.fixture
def world(filled: tuple[Path, sample.World], tmp_path: Path) -> Iterator[sample.World]:
    source, template = filled
    path = tmp_path / "flowrate.sqlite"
    shutil.copyfile(source, path)
    engine = open_database(f"sqlite:///{path}", synchronous="normal")
    usage = template.services.usage
    assert isinstance(usage, SampleUsage)
    yield sample.world_over(engine, usage.weights, template.keys)
    engine.dispose()


Clients = Callable[..., TestClient]


@pytest.fixture
def clients(world: sample.World) -> Iterator[Clients]:
    """Return a function from a branch (None: the operator, "": no key) to its client."""
    app = sample.application(world)
    opened: list[TestClient] = []

    def open_client(branch: str | None = None) -> TestClient:
        token = sample.OPERATOR_TOKEN if branch is None else world.keys.get(branch, "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        client = TestClient(app, headers=headers, raise_server_exceptions=False)
        opened.append(client)
        return client

    yield open_client
    for client in opened:
        client.close()


@pytest.fixture
def operator(clients: Clients) -> TestClient:
    return clients(None)
