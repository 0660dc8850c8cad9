"""Moves rated usage from its topic into the warehouse, each row exactly once.

An insert is atomic neither across partitions (months) nor across a table and its views, so a crash
can leave any part of it. Hence: save the intent, insert with the intent as deduplication token,
commit. After a crash the intent's records are read again and inserted again with the same token:
the engine adds what is missing, in the base and in every rollup, and drops what is there. The rows
are counted before (to report what the crash left) and after (to be sure); see docs/decisions/0400.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import polars as pl
import pyarrow as pa

from rating.records import RatedUsage, schema_of
from warehouse.config import SinkConfig
from warehouse.intents import Intent, IntentStore, Source
from warehouse.metrics import Counters
from warehouse.tables import DEDUPLICATION_WINDOW, USAGE_RATED, Table

LOG = logging.getLogger(__name__)

TOKENS_REMEMBERED = DEDUPLICATION_WINDOW // 4
"""Inserts of all sinks after which a token counts as forgotten: one insert over a month's end adds
two entries to a table's window, and a late replay of others adds more."""


class RecordReader(Protocol):
    """Reads a topic's records in order, from any position; records never change.

    Positions ascend but need not be dense. Reading the same positions again gives the same rows
    in the same order, until the topic is trimmed, which happens only below committed positions.
    """

    def read(self, after_position: int, limit_rows: int) -> list[tuple[int, pl.DataFrame]]:
        """Return (position, rows) of whole records with position > after_position, ascending.

        Stops before the record that would exceed limit_rows in sum, but gives at least one where
        there is one. Frames have the columns of `rating.records.RatedUsage`.
        """
        ...

    def cursor(self, position: int) -> int:
        """Return where another reader finds the record behind one that `read` gave: kept beside
        the position. 0 where the position is enough.
        """
        ...


class TableWriter(Protocol):
    """Inserts into warehouse tables. clickhouse-connect's clients are one, over HTTP or chDB."""

    def insert_arrow(
        self, table: str, arrow_table: pa.Table, *, settings: Mapping[str, Any] | None = None
    ) -> object:
        """Insert all rows; when it returns they are in the table and in every rollup."""
        ...

    def command(self, cmd: str) -> Any:
        """Run a statement and return its first value."""
        ...


class DivergenceError(Exception):
    """The log or the table is not what was recorded: an operator must look."""


class RowsNotThereYetError(OSError):
    """The log did not answer in time: try again."""


class Sink:
    """Follows one topic partition into one generation of the base table. One thread at a time."""

    target: ClassVar[Table] = USAGE_RATED
    """The table that it fills."""
    columns: ClassVar[Sequence[str]] = list(schema_of(RatedUsage))
    """The columns that the topic's frames have."""
    counted: ClassVar[str] = "warehouse_sink"
    """How the names begin under which rows, inserts and the position are counted."""

    def __init__(
        self,
        config: SinkConfig,
        generation: int,
        reader: RecordReader,
        writer: TableWriter,
        intents: IntentStore,
        counters: Counters,
    ) -> None:
        """Take the ports; call `recover` before the first `step`."""
        self.config = config
        self._reader = reader
        self._writer = writer
        self._intents = intents
        self._counters = counters
        self.source = Source(generation, config.topic, config.partition)
        self._table = self.target.physical(generation)
        self.deadline: Callable[[], int] = lambda: 0
        """Gives the second (of ClickHouse's clock) from which an insert is refused; 0 never."""

    def recover(self) -> int:
        """Replay the insert that was under way, if any; return its rows.

        DivergenceError where the topic no longer has its records, or the table then holds another
        number of its rows. Errors of the reader or writer pass through; the intent then stands.
        """
        intent = self._intents.intent(self.source)
        if intent is None:
            return 0
        found = self._count(intent)
        LOG.warning("sink replays %s: %d rows found", intent.token(self.source), found)
        self._counters.add("warehouse_sink_replays")
        self._counters.add("warehouse_sink_replayed_rows_found", found)
        if found == 0 or self._intents.inserts_since(self.source) < TOKENS_REMEMBERED:
            self._insert(self._read_again(intent), intent)
        else:
            # The token may be forgotten: another insert could count everything twice. The base is
            # judged by its count below; rollups that a crash cut short, by the nightly check.
            self._pass(intent)
            self._counters.add("warehouse_sink_tokens_forgotten")
        held = self._count(intent)
        if held != intent.row_count:
            raise DivergenceError(
                f"{self._table} holds {held} rows of {intent.token(self.source)},"
                f" not {intent.row_count}"
            )
        self._commit(intent)
        return intent.row_count

    def step(self) -> int:
        """Insert what the topic holds behind the position, one batch; return its rows.

        0 means that nothing was there. An error of the reader or writer passes through with the
        intent recorded: call `recover` before the next step.
        """
        after = self._intents.position(self.source)
        records = self._reader.read(after, self.config.batch_rows)
        if not records:
            return 0
        rows = sum(frame.height for _, frame in records)
        last = records[-1][0]
        intent = Intent(records[0][0], last, rows, self._reader.cursor(last))
        if rows:
            self._intents.begin(self.source, intent)
            self._insert(records, intent)
        self._commit(intent)
        self._observe([frame for _, frame in records])
        return rows

    def _observe(self, frames: Sequence[pl.DataFrame]) -> None:
        """Count how old the rows are, now that they are committed."""
        self._counters.observe_sunk(frames)

    def _pass(self, intent: Intent) -> None:
        """Take note of records that are not inserted again, because the table has them."""

    def _state(self, intent: Intent) -> Mapping[str, bytes | None]:
        """Return what changes in the source's state with an intent's records."""
        return {}

    def _commit(self, intent: Intent) -> None:
        self._intents.commit(self.source, intent, self._state(intent))
        self._counters.add(f"{self.counted}_rows", intent.row_count)
        self._counters.add(f"{self.counted}_inserts", 1 if intent.row_count else 0)
        self._counters.set(f"{self.counted}_position", intent.last_position)

    def _insert(self, records: Sequence[tuple[int, pl.DataFrame]], intent: Intent) -> None:
        frame = logged_frame(records, self.columns, self.source, self.deadline())
        assert frame.height == intent.row_count, "the topic gave other rows for the same records"
        self._writer.insert_arrow(
            self._table,
            frame.to_arrow(compat_level=pl.CompatLevel.oldest()),
            settings={
                "insert_deduplication_token": intent.token(self.source),
                "insert_deduplicate": 1,
                "deduplicate_blocks_in_dependent_materialized_views": 1,
                # Where the table is Distributed: return when the shards have the rows.
                "distributed_foreground_insert": 1,
                # One Arrow record batch, hence one block: what the token stands for does not
                # depend on how the engine would have cut the batch.
                "min_insert_block_size_rows": 0,
                "min_insert_block_size_bytes": 0,
                "max_insert_block_size": max(1_048_576, intent.row_count),
            },
        )

    def _read_again(self, intent: Intent) -> list[tuple[int, pl.DataFrame]]:
        records: list[tuple[int, pl.DataFrame]] = []
        after = intent.first_position - 1
        while after < intent.last_position:
            more = self._reader.read(after, self.config.batch_rows)
            if not more:
                break
            records += [record for record in more if record[0] <= intent.last_position]
            after = more[-1][0]
        rows = sum(frame.height for _, frame in records)
        if not records or records[0][0] != intent.first_position or rows != intent.row_count:
            raise DivergenceError(
                f"topic {self.source.topic} no longer has the records of"
                f" {intent.token(self.source)}: {rows} rows instead of {intent.row_count}"
            )
        return records

    def _count(self, intent: Intent) -> int:
        return int(
            self._writer.command(
                f"SELECT count() FROM {self._table}"
                f" WHERE log_generation = {self.source.log_generation:d}"
                f" AND log_partition = {self.source.partition:d}"
                f" AND log_position BETWEEN {intent.first_position:d} AND {intent.last_position:d}"
            )
        )


def rated_frame(
    records: Sequence[tuple[int, pl.DataFrame]], source: Source, insert_before: int = 0
) -> pl.DataFrame:
    """Return all rows of the records as `usage_rated` has them, with their log position.

    Raises polars errors where a frame has not the columns of RatedUsage.
    """
    return logged_frame(records, list(schema_of(RatedUsage)), source, insert_before)


def logged_frame(
    records: Sequence[tuple[int, pl.DataFrame]],
    names: Sequence[str],
    source: Source,
    insert_before: int = 0,
) -> pl.DataFrame:
    """Return the named columns of all rows of the records, with their log position.

    Raises polars errors where a frame has not the columns.
    """
    return pl.concat(
        [
            frame.select(names).with_columns(
                pl.lit(source.partition, pl.UInt16).alias("log_partition"),
                pl.lit(position, pl.UInt64).alias("log_position"),
                pl.lit(source.log_generation, pl.UInt16).alias("log_generation"),
                pl.lit(insert_before, pl.UInt32).alias("insert_before"),
            )
            for position, frame in records
        ],
        rechunk=True,
    )
