"""The ISP of every story."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.isp import Isp


@pytest.fixture
def isp(tmp_path: Path) -> Iterator[Isp]:
    """An ISP at ten to midnight on the last of November, with nobody connected yet."""
    opened = Isp(tmp_path)
    yield opened
    opened.close()
