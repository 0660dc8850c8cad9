"""What a worker of the cluster needs: rounds over PostgreSQL, Faust and a relay over Kafka."""

from __future__ import annotations

from billing.adapters.databases import reading, writing
from billing.adapters.rows import write_rows
from infra.settings import Settings
from infra.wiring.databases import business_database
from infra.wiring.engine import stage_configs
from streams.adapters.postgres_tables import current_generation
from streams.cluster import OnRound, Worker
from streams.rounds import RoundConfig, Rounds
from streams.topology import build_stages


def worker(
    settings: Settings, on_round: OnRound = lambda stage, done: None
) -> tuple[Worker, Rounds]:
    """Return a worker of the newest generation, and its rounds; neither is connected to Kafka.

    LookupError where `flowrate migrate` has not run.
    """
    database = business_database(settings, "worker")
    with reading(database) as connection:
        generation, partitions = current_generation(connection)
    stages = build_stages(stage_configs(settings))
    rounds = Rounds(
        lambda: writing(database),
        stages,
        write_rows,
        RoundConfig(
            partitions=partitions,
            state_cache_entries_max=settings.cluster.worker.state_cache_entries_max,
            rows_max=settings.streams.batch_rows_max,
            message_octets_max=settings.cluster.kafka.message_octets_max,
        ),
    )
    cluster = settings.cluster
    topics = (generation, partitions)
    return Worker(rounds, stages, cluster.kafka, cluster.worker, topics, on_round), rounds
