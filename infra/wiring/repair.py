"""What `flowrate repair` needs: raw logs and usage from Kafka, the stages over scratch files."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from sqlalchemy import Engine

from billing.adapters.databases import open_database, reading, writing
from infra.settings import Settings
from infra.wiring.databases import business_database
from infra.wiring.engine import stage_configs
from infra.wiring.paths import ACCOUNTING_LOG, FLOW_LOG
from rating.binding_table import BindingTable
from rating.records import DirectoryEntry, SessionBinding, Usage, schema_of
from streams.adapters import postgres_repairs, postgres_topics
from streams.adapters.kafka_ranges import KafkaRanges
from streams.adapters.kafka_relay import KafkaRelay
from streams.adapters.postgres_outbox import OutboxRow, delete_rows, message_of
from streams.adapters.postgres_state import PostgresState, StateWrites
from streams.adapters.postgres_tables import current_generation, hold_generation, read_generations
from streams.codec import decode_frame
from streams.repair import RepairRange, ReplayLog, binding_rows, differences, run_again
from streams.stage import Stage
from streams.topology import build_stages

_BLOCKS_PER_WRITE = 500


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What a repair would do: signed usage, and how much was read to find it."""

    usage: pl.DataFrame
    blocks: int
    rows_sent: int


class RepairShop:
    """One cluster's database, topics and stages, as a repair uses them."""

    def __init__(self, settings: Settings) -> None:
        """Open the database. Raises LookupError where `flowrate migrate` has not run."""
        self._settings = settings
        self._database: Engine = business_database(settings, "repair")
        with writing(self._database) as connection:
            self._generation, self._partitions = current_generation(connection)
            postgres_repairs.create_table(connection)
        self._stages = build_stages(stage_configs(settings))

    def close(self) -> None:
        """Close the database."""
        self._database.dispose()

    def posted(self, repair_id: str) -> postgres_repairs.Repair | None:
        """Return the repair of this id, where it was posted."""
        with reading(self._database) as connection:
            return postgres_repairs.find(connection, repair_id)

    def look(self, which: RepairRange, repair_id: str, now_ms: int) -> Found:
        """Run the range again and return the difference; writes nothing that lasts.

        Raises RangeLostError where Kafka no longer has what is needed.
        """
        with contextlib.closing(self._open_ranges()) as ranges, _scratch() as folder:
            engines = [
                open_database(f"sqlite:///{folder / name}", synchronous="normal")
                for name in ("logs.sqlite", "stages.sqlite")
            ]
            try:
                logs = ReplayLog(lambda: writing(engines[0]))
                blocks = sum(
                    self._copy(ranges, logs, log, which) for log in (FLOW_LOG, ACCOUNTING_LOG)
                )
                again = run_again(
                    lambda: writing(engines[1]),
                    logs,
                    self._stages,
                    self._directory(),
                    self._bindings(ranges),
                )
            finally:
                for engine in engines:
                    engine.dispose()
            sent = self._sent(ranges, which)
        usage = differences(sent, again, which, repair_id=repair_id, now_ms=now_ms)
        return Found(usage, blocks, sent.height)

    def post(self, repair: postgres_repairs.Repair, usage: pl.DataFrame) -> None:
        """Record the repair and send its usage; IntegrityError where its id was posted before."""
        with writing(self._database) as connection:
            if hold_generation(connection) != (self._generation, self._partitions):
                raise RuntimeError("the topics have grown meanwhile: begin again")
            postgres_repairs.post(connection, repair, usage, self._partitions)

    def publish(self, repair_id: str) -> int:
        """Send what of a posted repair is not in Kafka yet; return how many messages."""
        with reading(self._database) as connection:
            rows = postgres_repairs.unpublished(connection, repair_id)
        asyncio.run(self._publish(rows))
        with writing(self._database) as connection:
            delete_rows(connection, rows)
        return len(rows)

    async def _publish(self, rows: list[OutboxRow]) -> None:
        relay = KafkaRelay(self._settings.cluster.kafka, self._generation)
        await relay.start()
        try:
            await relay.publish([message_of(row) for row in rows])
        finally:
            await relay.stop()

    def _open_ranges(self) -> KafkaRanges:
        with reading(self._database) as connection:
            rows = read_generations(connection)
        kept = [row[:2] for row in rows if row[2] != "dropped"]
        return KafkaRanges(self._settings.cluster.kafka, kept, is_cut=len(kept) < len(rows))

    def _copy(self, ranges: KafkaRanges, logs: ReplayLog, log: str, which: RepairRange) -> int:
        copied, waiting = 0, []
        for partition, envelope in ranges.read(log, which.read_from_at):
            if which.read_from_at <= envelope.received_at < which.read_until_at:
                origin = f"{envelope.producer}/{partition}"
                waiting.append((envelope.received_at, origin, envelope.number, envelope.body))
            if len(waiting) >= _BLOCKS_PER_WRITE:
                copied += logs.add(log, waiting)
                waiting = []
        copied += logs.add(log, waiting)
        logs.seal(log, which.read_until_at)
        return copied

    def _directory(self) -> list[pl.DataFrame]:
        with reading(self._database) as connection:
            frames = postgres_topics.read_all(connection, "directory", postgres_topics.EVERY)
        return [pl.DataFrame(schema=schema_of(DirectoryEntry)), *frames]

    def _bindings(self, ranges: KafkaRanges) -> list[pl.DataFrame]:
        """Return every binding that is known: what was sent, and what attribute still holds."""
        frames = [
            decode_frame(envelope.body, SessionBinding)
            for _, envelope in ranges.read("session.bindings", 0)
        ]
        [attribute] = [stage for stage in self._stages if stage.name == "attribute"]
        with reading(self._database) as connection:
            for partition in range(self._partitions):
                state = _state_of(attribute, partition)
                state.attach(connection)
                frames.append(binding_rows(BindingTable(state).table))
        return frames

    def _sent(self, ranges: KafkaRanges, which: RepairRange) -> pl.DataFrame:
        """Return the usage of the range that was sent, each message once, repairs included."""
        schema = schema_of(Usage)
        frames: dict[tuple[int, str, int], pl.DataFrame] = {}
        low, high = which.from_at // 60_000, which.until_at // 60_000
        for partition, envelope in ranges.read(postgres_repairs.USAGE_TOPIC, which.from_at):
            frame = decode_frame(envelope.body, Usage)
            inside = frame.filter(pl.col("minute").is_between(low, high - 1))
            frames[partition, envelope.producer, envelope.number] = inside
        return pl.concat([pl.DataFrame(schema=schema), *frames.values()])


def _state_of(stage: Stage, partition: int) -> PostgresState:
    name = f"{stage.name}/{partition}"
    return PostgresState(name, stage.collections, entries_max=100, writes=StateWrites())


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="flowrate-repair-") as folder:
        yield Path(folder)
