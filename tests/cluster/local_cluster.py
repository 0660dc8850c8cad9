"""A cluster in one process for a simulated ISP: real rounds in PostgreSQL, lists in Kafka's place.

Collectors' blocks are split and numbered as the spool does it; every run takes all that waits. So
a growth of the topics happens at an exact moment, between any two rounds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import polars as pl
from sqlalchemy import Connection, Engine

from billing.adapters.databases import open_database, reading, writing
from billing.adapters.rows import write_rows
from collectors.leases import PRODUCERS, producer_of
from collectors.partitioning import split_flows, split_packets
from infra.migrate import migrate
from rating.envelopes import (
    LEFT,
    LIVE,
    Envelope,
    Mark,
    decode_message,
    encode_envelope,
    encode_marks,
)
from rating.records import RatedUsage
from streams.adapters import postgres_growth, postgres_tables, postgres_topics
from streams.adapters.postgres_outbox import message_of
from streams.bundles import bundled
from streams.codec import decode_frame
from streams.growth import Ends
from streams.rounds import Message, RoundConfig, Rounds, marked_topics
from streams.stage import inputs_of
from streams.topology import StageConfigs, build_stages
from tests.simulation.machine import Machine

MESSAGE_OCTETS_MAX = 900_000
COLLECTOR = "sim"
State = dict[tuple[str, int, str], dict[str, bytes]]
"""(stage, partition, collection) -> key -> encoded value."""
_SPLITS = {"flow.datagrams": split_flows, "radius.accounting": split_packets}
_MESSAGES_PER_ROUND = 7
_OCTETS_MAX = 1_000_000


class LocalCluster(Machine):
    """Machine of a simulation over a database of its own; `grow` gives it more partitions."""

    def __init__(self, stages: StageConfigs, database_url: str, partitions: int) -> None:
        """Make the tables and own every task."""
        url = database_url.replace("postgresql://", "postgresql+psycopg://")
        migrate(url)
        self.database: Engine = open_database(url)
        self.stages = build_stages(stages)
        with writing(self.database) as connection:
            postgres_tables.create_tables(connection, partitions=partitions)
            for log in PRODUCERS:
                connection.exec_driver_sql(
                    "insert into collector_lease values(%s, %s, 0, 'live', 1)", (COLLECTOR, log)
                )
        self._rated: list[pl.DataFrame] = []
        self._marked_at = 0
        self._begin(1, partitions)

    def _begin(self, generation: int, partitions: int) -> None:
        self.generation, self.partitions = generation, partitions
        self.topics: dict[tuple[str, int], list[bytes]] = defaultdict(list)
        self._numbers: dict[tuple[str, int], int] = defaultdict(int)
        self._sent: dict[str, int] = {}
        config = RoundConfig(partitions, 5_000, 100_000, MESSAGE_OCTETS_MAX, generation)
        self.rounds = Rounds(lambda: writing(self.database), self.stages, write_rows, config)
        for row in self.rounds.take_over(range(partitions)):
            raise AssertionError(f"{row.task} begins with an output of its former owner")
        for task, (at, issued) in self.rounds.watermarks().items():
            self._pass_on(task, at, issued)

    @property
    def deaths(self) -> int:
        """Nobody dies here."""
        return 0

    def append(self, log: str, kind: str, received_at: int, body: bytes) -> None:
        """Append a block to the partitions that its parts belong to, a marker to all."""
        producer = producer_of(log, COLLECTOR)
        if kind == "marker":
            self._marked_at = received_at
            self._mark_all(log, received_at, LIVE)
            return
        for partition, part in _SPLITS[log](body, self.partitions, MESSAGE_OCTETS_MAX):
            self._numbers[log, partition] += 1
            number = self._numbers[log, partition]
            message = encode_envelope(Envelope(producer, number, received_at, part))
            self.topics[log, partition].append(message)

    def _mark_all(self, log: str, at: int, state: int) -> None:
        for partition in range(self.partitions):
            number = self._numbers[log, partition]
            mark = Mark(producer_of(log, COLLECTOR), number, at, state)
            self.topics[log, partition].append(encode_marks([mark]))

    def append_rows(
        self, connection: Connection, topic: str, producer: str, frame: pl.DataFrame
    ) -> None:
        """Append for the API, in its transaction."""
        _, partitions = postgres_tables.hold_generation(connection)
        postgres_topics.append_rows(connection, topic, producer, frame, partitions=partitions)

    def run_engine(self, now_ms: int, *, wait: bool) -> None:
        """Run rounds until nothing waits any more."""
        while self._run_stages():
            pass

    def _run_stages(self) -> int:
        """Run one round of each stage; return how many took something."""
        appended, ran = self.rounds.appended(), 0
        offsets = self.rounds.offsets()
        for stage in self.stages:
            messages = {}
            for partition in range(self.partitions):
                found = [
                    Message(topic, at, value)
                    for topic in inputs_of(stage)
                    for at, value in self._next(topic, partition, offsets)
                ]
                if found or partition in appended.get(stage.name, ()):
                    messages[partition] = found
            if messages:
                ran += 1
                self._run(stage.name, messages)
        return ran

    def _next(
        self, topic: str, partition: int, offsets: dict[tuple[str, int], int]
    ) -> list[tuple[int, bytes]]:
        at = offsets.get((topic, partition), 0)
        values = self.topics[topic, partition][at : at + _MESSAGES_PER_ROUND]
        return [(at + n, value) for n, value in enumerate(values)]

    def _run(self, stage: str, messages: dict[int, list[Message]]) -> None:
        done = self.rounds.run(stage, messages)
        read = {topic for each in self.stages for topic in marked_topics(each, self.stages)}
        sent = bundled([message_of(row) for row in done.outputs], read, _OCTETS_MAX)
        for topic, partition, value in sent:
            self.topics[topic, partition].append(value)
        self.rounds.acknowledge(stage, done.outputs)
        for task, (at, issued) in done.watermarks.items():
            self._pass_on(task, at, issued)

    def _pass_on(self, task: str, at: int, issued: dict[str, dict[int, int]]) -> None:
        if self._sent.get(task, 0) >= at:
            return
        self._sent[task] = at
        [stage] = [stage for stage in self.stages if stage.name == task.partition("/")[0]]
        for topic in marked_topics(stage, self.stages):
            for partition in range(self.partitions):
                mark = Mark(task, issued.get(topic, {}).get(partition, 0), at)
                self.topics[topic, partition].append(encode_marks([mark]))

    def run_office(self, work: Callable[[], object]) -> None:
        """Do the office's work."""
        work()

    def rated(self) -> pl.DataFrame:
        """Return every row of `usage.rated`."""
        frames = [*self._rated, *self._rated_now()]
        return pl.concat(frames) if frames else pl.DataFrame()

    def _rated_now(self) -> list[pl.DataFrame]:
        messages = [
            m for (topic, _), kept in self.topics.items() if topic == "usage.rated" for m in kept
        ]
        decoded = map(decode_message, messages)
        return [decode_frame(d.body, RatedUsage) for d in decoded if isinstance(d, Envelope)]

    def ends(self) -> Ends:
        """Return where the topics of the generation that is read end."""
        return {
            (topic, partition): len(self.topics[topic, partition])
            for stage in self.stages
            for topic in inputs_of(stage)
            for partition in range(self.partitions)
        }

    def grow(self, partitions: int) -> State:
        """Grow as `flowrate topics grow` does, once everything that was appended is taken.

        Return the state as it was right before.
        """
        with writing(self.database) as connection:
            postgres_growth.plan(connection, partitions)
        with writing(self.database) as connection:
            postgres_growth.switch(connection)
        for log in PRODUCERS:
            self._mark_all(log, self._marked_at, LEFT)
        with writing(self.database) as connection:
            connection.exec_driver_sql(
                "update collector_lease set generation = %s", (self.generation + 1,)
            )
        self.run_engine(0, wait=True)
        for stage in self.rounds.acknowledged():
            self._run(stage, {partition: [] for partition in range(self.partitions)})
        before = self.state()
        with writing(self.database) as connection:
            postgres_growth.grow(connection, self.stages, self.ends, producer_of)
        self._rated += self._rated_now()
        self._begin(self.generation + 1, partitions)
        return before

    def state(self) -> State:
        """Return all keyed state."""
        found: State = {}
        with reading(self.database) as connection:
            rows = connection.exec_driver_sql(
                "select task, collection, key, value from stage_state join state_space"
                " using (space_id) order by task, collection, key"
            )
            for task, collection, key, value in rows:
                stage, _, partition = str(task).partition("/")
                found.setdefault((stage, int(partition), collection), {})[key] = bytes(value)
        return found

    def close(self) -> None:
        """Close the database."""
        self.database.dispose()
