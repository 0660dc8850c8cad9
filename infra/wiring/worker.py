"""What a worker of the cluster needs: rounds over PostgreSQL, Faust and a relay over Kafka."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from billing.adapters.databases import reading, writing
from billing.adapters.rows import write_rows
from infra.settings import Settings
from infra.wiring.databases import business_database
from infra.wiring.engine import stage_configs
from rating.measures import Measures
from rating.traces import Spans
from streams.adapters.postgres_tables import current_generation
from streams.cluster import Worker
from streams.metrics import HISTOGRAMS
from streams.observation import RoundTraces
from streams.rounds import RoundConfig, Rounds
from streams.topology import build_stages
from streams.worker_observation import WorkerObservation


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerParts:
    """A worker that is connected to nothing yet, and what its metrics read."""

    worker: Worker
    rounds: Rounds
    observation: WorkerObservation


def worker_parts(settings: Settings, now_ms: Callable[[], int], spans: Spans) -> WorkerParts:
    """Return a worker of the newest generation of topics.

    LookupError where `flowrate migrate` has not run.
    """
    database = business_database(settings, "worker")
    with reading(database) as connection:
        generation, partitions = current_generation(connection)
    stages = build_stages(stage_configs(settings))
    cluster = settings.cluster
    rounds = Rounds(
        lambda: writing(database),
        stages,
        write_rows,
        RoundConfig(
            partitions=partitions,
            state_cache_entries_max=cluster.worker.state_cache_entries_max,
            rows_max=settings.streams.batch_rows_max,
            message_octets_max=cluster.kafka.message_octets_max,
            generation=generation,
        ),
        RoundTraces(spans, lambda: now_ms() * 1_000_000),
    )
    measures = Measures(HISTOGRAMS, threading.Lock())
    observation = WorkerObservation(rounds, generation, measures, now_ms)
    topics = (generation, partitions)
    worker = Worker(rounds, stages, cluster.kafka, cluster.worker, topics, observation)
    return WorkerParts(worker, rounds, observation)
