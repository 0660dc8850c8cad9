"""Usage records followed through the real processes, collector, worker and sink, by their spans."""

from __future__ import annotations

import functools
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
from tests.simulation.transport import Weather

__all__ = ["receiver"]

SECONDS = 20
"""Seconds of traffic, with a block of flows and one of accounting in each: so few that no task
comes to carry `rating.traces.TRACES_MAX` traces, however many of them meet in its rounds."""
SETTLED_SECONDS = 300
"""Behind the traffic: every minute has been joined and rated by then."""
PATIENCE_SECONDS = 180

FLOWS = ("receive", "decode", "attribute", "rate", "sink")
ACCOUNTING = ("receive", "sessions", "rate", "sink")
BINDINGS = ("receive", "sessions", "attribute", "rate", "sink")
"""Who had the address may have become known later than what it sent."""


@pytest.fixture
def simulation(
    tmp_path: Path, kafka: Kafka, database_url: str, receiver: Receiver
) -> Iterator[Simulation]:
    """An ISP on a cluster whose every block is traced, and whose network loses nothing."""
    made = plan(weather=Weather())
    traces = (
        f'\n[traces]\nis_enabled = true\nendpoint = "{receiver.endpoint}"\n'
        "sample_one_in = 1\nexport_interval_seconds = 0.2\n"
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
        if span_id not in by_id:
            return frozenset({("missing",)})
        span = by_id[span_id]
        before = {span.parent_span_id, *(link.span_id for link in span.links)} - {b""}
        if not before:
            return frozenset({(span.name,)})
        return frozenset((*way, span.name) for parent in before for way in ways(parent))

    return {way for span in spans if span.name == last for way in ways(span.span_id)}


@pytest.mark.timeout(600)
def test_every_row_leads_back_to_the_datagrams_it_came_from(
    simulation: Simulation, receiver: Receiver
) -> None:
    """How many traces meet in a round depends on the machine; whether they are followed does not.

    As every block is traced, every row comes from some traced block.
    """
    simulation._found()
    for _ in range(SECONDS):
        simulation.world.second()
    simulation.world.jump(simulation.world.seconds + SETTLED_SECONDS)

    def is_all_there() -> bool:
        """No way is missing, and none has a span of which the parent has not come yet."""
        found = ways_to(list(receiver.spans), "sink")
        return {FLOWS, ACCOUNTING} <= found <= {FLOWS, ACCOUNTING, BINDINGS}

    wait_until(is_all_there, f"only {FLOWS} and {ACCOUNTING}", PATIENCE_SECONDS)
    spans = list(receiver.spans)
    by_id = {span.span_id: span for span in spans}
    for span in spans:
        parent = by_id.get(span.parent_span_id)
        assert parent is None or parent.trace_id == span.trace_id
