"""A whole cluster is hurt for a minute, and nothing is lost, counted twice or billed wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.chaos.run import live
from tests.cluster.conftest import require_kafka, require_postgres

SECONDS = 60.0
SEED = 1


@pytest.mark.timeout(600)
def test_a_minute_of_faults_costs_not_an_octet_and_not_a_cent(tmp_path: Path) -> None:
    require_kafka()
    require_postgres()
    verdicts = live(tmp_path, SECONDS, SEED)
    assert [str(verdict) for verdict in verdicts if verdict.problems] == []
    assert len(verdicts) == 9
