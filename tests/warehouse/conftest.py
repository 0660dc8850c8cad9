"""Clients of the process's one store."""

from __future__ import annotations

import pytest

from tests.warehouse.opened_store import opened_store
from warehouse.connect import WarehouseClient, client
from warehouse.store import Store


@pytest.fixture(scope="session")
def store() -> Store:
    """The process's store, with known usage in it."""
    return opened_store()


@pytest.fixture(scope="session")
def reading(store: Store) -> WarehouseClient:
    """A client as API, CLI and Grafana have it."""
    return client(store.config)


@pytest.fixture(scope="session")
def writing(store: Store) -> WarehouseClient:
    """A client with the sink's user."""
    return client(store.config, may_write=True)
