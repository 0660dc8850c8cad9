"""`flowrate topics grow` and `topics drop`: more partitions by a new generation of topics.

Both may be killed and called again at any moment: what is done stands in PostgreSQL.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from billing.adapters.databases import reading, writing
from collectors.leases import producer_of
from infra.settings import Settings
from infra.wiring.engine import stage_configs
from streams import growth
from streams.adapters import postgres_growth
from streams.adapters.kafka_admin import KafkaTopics
from streams.adapters.postgres_growth import Growing, GrowthError, NotDrainedError
from streams.adapters.postgres_tables import current_generation, read_generations
from streams.config import PARTITIONS_MAX
from streams.growth import Ends
from streams.stage import Stage, inputs_of
from streams.topic_plan import compare, describe, wanted_topics
from streams.topics import KAFKA_TOPICS, RAW_LOGS, physical_topic
from streams.topology import build_stages

LOOK_SECONDS = 1.0
QUIET_SECONDS = 4.0
"""How long nothing may come any more: who still collects there says so every second."""
TELL_SECONDS = 10.0
TOLD_MAX = 5
"""Most reasons that are told at once."""


def grow(settings: Settings, engine: Engine, topics: KafkaTopics, partitions: int) -> None:
    """Grow the topics to so many partitions and return when the new generation runs.

    Raises GrowthError, KafkaRefusedError, DBAPIError, LookupError without `flowrate migrate`.
    """
    if partitions > PARTITIONS_MAX:
        raise GrowthError(f"--partitions {partitions}: expected at most {PARTITIONS_MAX}")
    with writing(engine) as connection:
        generation, before = current_generation(connection)
        if before == partitions and postgres_growth.find(connection) is None:
            print(f"nothing to do: generation {generation} has {before} partitions")
            return
        growing = postgres_growth.plan(connection, partitions)
    print(
        f"generation {growing.generation} with {growing.partitions} partitions follows"
        f" generation {growing.former} with {growing.partitions_before}",
        flush=True,
    )
    if growing.state == "planned":
        _create(settings, topics, growing)
        with writing(engine) as connection:
            postgres_growth.switch(connection)
        print("the topics are made, collectors turn to them", flush=True)
    _Drainage(settings, engine, topics, growing).run()
    print(f"generation {growing.generation} runs", flush=True)


def _create(settings: Settings, topics: KafkaTopics, growing: Growing) -> None:
    cluster = settings.cluster
    wanted = wanted_topics(cluster.topics, cluster.kafka, growing.generation, growing.partitions)
    plan = compare(wanted, topics.read(topic.name for topic in wanted))
    for line in describe(plan):
        print(line, flush=True)
    if plan.obstacles:
        raise GrowthError("topics of that name are there and differ: delete them first")
    topics.create(plan.creations)
    topics.change(plan.changes)


class _Drainage:
    """Waits until the former generation is drained, then lets the new one run."""

    def __init__(
        self, settings: Settings, engine: Engine, topics: KafkaTopics, growing: Growing
    ) -> None:
        self._engine = engine
        self._topics = topics
        self._growing = growing
        self._stages: tuple[Stage, ...] = build_stages(stage_configs(settings))
        self._names = {
            physical_topic(topic, growing.former): topic
            for stage in self._stages
            for topic in inputs_of(stage)
        }
        self._told_at = float("-inf")

    def run(self) -> None:
        """Return once the new generation runs."""
        quiet_since, former_ends = time.monotonic(), self._ends()
        while True:
            # The database first: what is in Kafka behind this moment is then not taken for taken.
            left = self._obstacles(ends := self._ends_behind())
            if left or ends != former_ends:
                quiet_since, former_ends = time.monotonic(), ends
            elif time.monotonic() - quiet_since >= QUIET_SECONDS and self._grow():
                return
            self._tell(left)
            time.sleep(LOOK_SECONDS)

    def _ends_behind(self) -> Ends:
        with reading(self._engine) as connection:
            self._drain = postgres_growth.read_drain(connection)
        return self._ends()

    def _obstacles(self, ends: Ends) -> list[str]:
        growing = self._growing
        found = growth.obstacles(
            self._drain, self._stages, ends, growing.former, growing.partitions_before
        )
        return list(itertools.islice(found, TOLD_MAX))

    def _ends(self) -> Ends:
        found = self._topics.ends(dict.fromkeys(self._names, self._growing.partitions_before))
        return {(self._names[name], partition): end for (name, partition), end in found.items()}

    def _grow(self) -> bool:
        print("generation", self._growing.former, "is drained, its state moves", flush=True)
        try:
            with writing(self._engine) as connection:
                postgres_growth.grow(connection, self._stages, self._ends, producer_of)
        except NotDrainedError as error:
            self._tell(error.obstacles[:TOLD_MAX])
            return False
        except OperationalError as error:
            if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                raise
            self._tell(["a transaction that is under way does not end"])
            return False
        return True

    def _tell(self, left: Sequence[str]) -> None:
        if left and time.monotonic() - self._told_at >= TELL_SECONDS:
            self._told_at = time.monotonic()
            for line in left:
                print(f"waits: {line}", flush=True)


def drop(engine: Engine, topics: KafkaTopics, generation: int) -> None:
    """Delete the topics of a generation that is done and that nobody needs any more.

    Raises GrowthError where a sink or the retention of raw evidence still does.
    """
    with reading(engine) as connection:
        found = {number: (count, state) for number, count, state in read_generations(connection)}
        partitions, state = found.get(generation, (0, "unknown"))
        if state == "dropped":
            print(f"nothing to do: generation {generation} is dropped")
            return
        if state != "done":
            raise GrowthError(f"generation {generation} is {state}, not done")
        left = postgres_growth.unsunk(
            connection, generation, physical_topic("usage.rated", generation)
        )
    names = [physical_topic(topic, generation) for topic in KAFKA_TOPICS]
    there = topics.read(names)
    evidence = [physical_topic(topic, generation) for topic in (*RAW_LOGS, "dead.letters")]
    held = {name: partitions for name in evidence if name in there}
    begins, ends = topics.beginnings(held), topics.ends(held)
    for name in held:
        kept = sum(ends[name, n] - begins[name, n] for n in range(partitions))
        if kept:
            left.append(f"{name} keeps {kept} messages (topics.raw_retention_hours)")
    if left:
        raise GrowthError(f"generation {generation} is still needed: {'; '.join(left)}")
    topics.delete(names)
    with writing(engine) as connection:
        postgres_growth.mark_dropped(connection, generation)
    print(f"generation {generation} is dropped, {len(there)} topics are deleted")
