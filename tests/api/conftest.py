"""A sample world per test (one filled database of each kind, copied), and a client per key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from tests import databases
from tests.api import sample
from tests.api.sample_usage import SampleUsage

_WEIGHTS: dict[str, float] = {}
_KEYS: dict[str, str] = {}
"""What the last filling gave; it gives the same each time."""


def _fill(url: str) -> None:
    filled = sample.open_world(url)
    usage = filled.services.usage
    assert isinstance(usage, SampleUsage)
    _WEIGHTS.update(usage.weights)
    _KEYS.update(filled.keys)
    filled.engine.dispose()


@pytest.fixture(params=databases.KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sample.World]:
    """The sample on SQLite and on PostgreSQL."""
    with databases.opened(request.param, tmp_path) as copy:
        yield sample.world_over(copy("sample", _fill), _WEIGHTS, _KEYS)


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
