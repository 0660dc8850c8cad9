"""One usage record is one trace through the real processes: collector, worker, sink."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.machine import ClusterMachine
from tests.cluster.servers import Kafka
from tests.cluster.test_intents import prepare
from tests.cluster.test_sink import Cluster
from tests.infra.test_tracing import Receiver, receiver
from tests.infra.waiting import wait_until
from tests.simulation.simulation import Simulation
from tests.simulation.test_same_invoice import plan

__all__ = ["receiver"]

SECONDS = 240
"""Long enough for minutes to be joined, rated and sunk."""


@pytest.fixture
def simulation(
    tmp_path: Path, kafka: Kafka, database_url: str, receiver: Receiver
) -> Iterator[Simulation]:
    made = plan()
    traces = (
        f'\n[traces]\nis_enabled = true\nendpoint = "{receiver.endpoint}"\n'
        "sample_one_in = 10\nexport_interval_seconds = 0.2\n"
    )
    machine = ClusterMachine(
        tmp_path,
        made.world.stages,
        bootstrap=kafka.bootstrap,
        database_url=database_url,
        partitions=2,
        workers=1,
        more_settings=traces,
    )
    prepare(database_url)
    (tmp_path / "sink").mkdir()
    lived = Simulation(tmp_path, made, machine)
    sinks = Cluster(tmp_path / "sink", kafka.bootstrap, database_url)
    sinks.file.write_text(sinks.file.read_text() + traces)
    try:
        sinks.start_endpoint()
        sinks.start_sink()
        yield lived
    finally:
        sinks.close()
        lived.close()


def ways_to(spans: list[Any], last: str) -> set[tuple[str, ...]]:
    """Return the names along every way to spans of a name, over parents and over links.

    A round over several traces is a child of the first and linked to the others.
    """
    by_id = {span.span_id: span for span in spans}

    @functools.cache
    def ways(span_id: bytes) -> frozenset[tuple[str, ...]]:
        span = by_id[span_id]
        before = {span.parent_span_id, *(link.span_id for link in span.links)} & set(by_id)
        if not before:
            return frozenset({(span.name,)})
        return frozenset((*way, span.name) for parent in before for way in ways(parent))

    return {way for span in spans if span.name == last for way in ways(span.span_id)}


@pytest.mark.skipif(
    "FLOWRATE_TEST_TRACES" not in os.environ,
    reason="which traces meet in a round depends on the machine's speed: FLOWRATE_TEST_TRACES=1",
)
def test_a_record_is_followed_from_its_datagram_to_its_row(
    simulation: Simulation, receiver: Receiver
) -> None:
    simulation._found()
    for _ in range(SECONDS):
        simulation.world.second()
    simulation.world.run_engine()
    flows = ("receive", "decode", "attribute", "rate", "sink")
    accounting = ("receive", "sessions", "rate", "sink")

    def are_there() -> bool:
        return {flows, accounting} <= ways_to(list(receiver.spans), "sink")

    wait_until(are_there, f"{flows} and {accounting}", 60)
    spans = list(receiver.spans)
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        parent = by_id.get(span.parent_span_id)
        assert parent is None or parent.trace_id == span.trace_id
