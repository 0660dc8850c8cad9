"""Every test of the business database runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from infra.migrate import migrate
from tests import databases

NewDatabase = Callable[[], Engine]


@pytest.fixture(params=databases.KINDS)
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """Return a function to an engine on an empty, migrated database."""
    with databases.opened(request.param, tmp_path) as copy:
        yield lambda: copy("business", migrate)
