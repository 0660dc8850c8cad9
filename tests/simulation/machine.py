"""What runs the stages under a simulated ISP: a port, and the embedded engine in this process."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import polars as pl
from sqlalchemy import Connection, Engine, event

from billing.adapters.databases import open_database, writing
from billing.adapters.rows import write_rows
from collectors.adapters.segments import SegmentReader, SegmentWriter
from infra.migrate import migrate
from streams.adapters import sqlite_topics
from streams.config import StreamsConfig
from streams.embedded import EmbeddedRunner
from streams.topology import StageConfigs, build_stages


class DeathError(Exception):
    """The engine process dies here, in the middle of what it does."""


class Machine(Protocol):
    """Logs, database and engine of one installation."""

    database: Engine

    @property
    def deaths(self) -> int:
        """How often something died."""
        ...

    def append(self, log: str, kind: str, received_at: int, body: bytes) -> None:
        """Append a block or a marker to a raw log, durably."""
        ...

    def append_rows(
        self, connection: Connection, topic: str, producer: str, frame: pl.DataFrame
    ) -> None:
        """Append for the API, in its transaction."""
        ...

    def run_engine(self, now_ms: int, *, wait: bool) -> None:
        """Let what was appended be rated; with wait, return only once all of it is."""
        ...

    def run_office(self, work: Callable[[], object]) -> None:
        """Do the office's work, again and again until it lives through it."""
        ...

    def rated(self) -> pl.DataFrame:
        """Return every row of `usage.rated`."""
        ...

    def close(self) -> None:
        """Close everything."""
        ...


class EmbeddedMachine:
    """SQLite, segments and the embedded runner, mortal as a seed says."""

    def __init__(
        self,
        directory: Path,
        stages: StageConfigs,
        *,
        seed: int,
        partitions: int,
        batch_blocks_max: int,
        death_probability: float,
    ) -> None:
        """Make the database and the logs, and start the engine."""
        self._directory = directory
        self._stages = stages
        self._death_probability = death_probability
        url = f"sqlite:///{directory / 'flowrate.sqlite'}"
        migrate(url)
        self.database: Engine = open_database(url, synchronous="normal")
        self._streams = StreamsConfig(partitions=partitions, batch_blocks_max=batch_blocks_max)
        self._chance = random.Random(f"deaths {seed}")
        self.deaths = 0
        self._is_office_mortal = False
        event.listen(self.database, "commit", self._strike_office)
        with writing(self.database) as connection:
            sqlite_topics.create_tables(connection)
        self.runner = self._restart_engine()
        self._logs = {
            "flow.datagrams": SegmentWriter(directory / "flows"),
            "radius.accounting": SegmentWriter(directory / "radius"),
        }

    def append(self, log: str, kind: str, received_at: int, body: bytes) -> None:
        """Append a block or a marker to a raw log, durably."""
        self._logs[log].append(kind, received_at, body)

    def append_rows(
        self, connection: Connection, topic: str, producer: str, frame: pl.DataFrame
    ) -> None:
        """Append for the API, in its transaction."""
        sqlite_topics.append_rows(
            connection, topic, producer, frame, partitions=self._streams.partitions
        )

    def _start_engine(self) -> EmbeddedRunner:
        readers = {
            "flow.datagrams": SegmentReader(self._directory / "flows"),
            "radius.accounting": SegmentReader(self._directory / "radius"),
        }
        return EmbeddedRunner(
            self._begin_mortal,
            build_stages(self._stages),
            readers,
            self._write_mortal,
            self._streams,
        )

    @contextlib.contextmanager
    def _begin_mortal(self) -> Iterator[Connection]:
        with writing(self.database) as connection:
            yield connection
            self._strike()

    def _write_mortal(self, connection: Connection, rows: Any) -> None:
        write_rows(connection, rows)
        self._strike()

    def _strike(self) -> None:
        if self._chance.random() < self._death_probability:
            raise DeathError

    def run_engine(self, now_ms: int, *, wait: bool) -> None:
        """Run passes until nothing is left; a death is followed by a new start."""
        while True:
            try:
                if not self.runner.run_once():
                    return
            except DeathError:
                self.deaths += 1
                self.runner = self._restart_engine()

    def _restart_engine(self) -> EmbeddedRunner:
        while True:
            try:
                return self._start_engine()
            except DeathError:
                self.deaths += 1

    def run_office(self, work: Callable[[], object]) -> None:
        """Do the office's work; a death before any of its commits is followed by a new start."""
        self._is_office_mortal = True
        while True:
            try:
                work()
                break
            except DeathError:
                self.deaths += 1
        self._is_office_mortal = False

    def _strike_office(self, connection: Connection) -> None:
        if self._is_office_mortal:
            self._strike()

    def rated(self) -> pl.DataFrame:
        """Return every row of `usage.rated`; nothing was trimmed."""
        with writing(self.database) as connection:
            frames = [
                frame
                for partition in range(self._streams.partitions)
                for frame in sqlite_topics.read_topic(
                    connection, "usage.rated", partition, after=0, rows_max=2**62
                ).frames
            ]
        return pl.concat(frames) if frames else pl.DataFrame()

    def close(self) -> None:
        """Close the logs and the database."""
        for log in self._logs.values():
            log.close()
        self.database.dispose()
