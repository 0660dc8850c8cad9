"""Rated usage out of one warehouse into Parquet files, and from there into an empty one.

Only the base table travels: the rollups are its materialized views, filled again by the same
inserts. Rows know their log position, so an export is cut exactly where a sink stood.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet

from warehouse.tables import USAGE_RATED

ROWS_PER_FILE = 500_000
"""Rows of one file where its hours have so few; a busier hour is one file whatever it has."""

_HOUR = "intDiv(minute, 60)"
_COLUMNS = ", ".join(f"`{column.name}`" for column in USAGE_RATED.columns if not column.is_internal)


@dataclasses.dataclass(frozen=True, slots=True)
class Reached:
    """How far one partition of the rated log is exported: all rows up to a log position."""

    log_generation: int
    partition: int
    position: int


class ArrowClient(Protocol):
    """The part of clickhouse-connect's client that exports need."""

    def query(self, query: str) -> Any:
        """Run a query; `result_rows` of the answer has its rows."""
        ...

    def query_arrow(self, query: str, *, use_strings: bool | None = None) -> pa.Table:
        """Run a query and return its rows as an Arrow table."""
        ...

    def insert_arrow(
        self, table: str, arrow_table: pa.Table, *, settings: Mapping[str, Any] | None = None
    ) -> object:
        """Insert all rows; when it returns they are in the table and in every rollup."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class RatedSums:
    """What can be compared of two tables of rated usage: rows, octets, charges of all meters."""

    rows: int
    octets_up: int
    octets_down: int
    charge: Decimal


def export_rated(
    client: ArrowClient, generation: int, reached: Sequence[Reached], directory: Path
) -> list[Path]:
    """Write all rows up to where each partition is reached; return the files, in order.

    Rows of other partitions stay behind. Errors of the client pass through.
    """
    table, until = USAGE_RATED.physical(generation), _until(reached)
    counted = client.query(
        f"SELECT {_HOUR} AS hour, count() FROM {table} WHERE {until} GROUP BY hour ORDER BY hour"
    )
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    written: list[Path] = []
    for first, last in _spans([(int(hour), int(rows)) for hour, rows in counted.result_rows]):
        rows = client.query_arrow(
            f"SELECT {_COLUMNS} FROM {table} WHERE {until} AND minute >= {first * 60:d}"
            f" AND minute < {(last + 1) * 60:d} ORDER BY log_partition, log_position",
            use_strings=True,
        )
        path = directory / f"{USAGE_RATED.name}-{len(written) + 1:06d}.parquet"
        pyarrow.parquet.write_table(rows, path, compression="zstd")
        path.chmod(0o600)
        written.append(path)
    return written


def import_rated(client: ArrowClient, generation: int, files: Sequence[Path], token: str) -> None:
    """Insert files of an export; called again with the same token it adds only what is missing.

    Errors of the client pass through.
    """
    for number, path in enumerate(files, 1):
        rows = pyarrow.parquet.read_table(path)
        client.insert_arrow(
            USAGE_RATED.physical(generation),
            rows,
            settings={
                "insert_deduplication_token": f"{token}:{number}",
                "insert_deduplicate": 1,
                "deduplicate_blocks_in_dependent_materialized_views": 1,
                "min_insert_block_size_rows": 0,
                "min_insert_block_size_bytes": 0,
                "max_insert_block_size": max(1_048_576, rows.num_rows),
            },
        )


def rows_in(path: Path) -> int:
    """Return how many rows a file of an export has."""
    return int(pyarrow.parquet.read_metadata(path).num_rows)


def rated_sums(client: ArrowClient, generation: int, reached: Sequence[Reached]) -> RatedSums:
    """Return sums over the rows up to where each partition is reached."""
    ((rows, up, down, charge),) = client.query(
        "SELECT count(), sum(octets_up), sum(octets_down), sum(charge)"
        f" FROM {USAGE_RATED.physical(generation)} WHERE {_until(reached)}"
    ).result_rows
    return RatedSums(int(rows), int(up), int(down), Decimal(charge))


def has_rows(client: ArrowClient, generation: int) -> bool:
    """Return whether a generation's base table exists and has any row."""
    table = USAGE_RATED.physical(generation)
    exists = client.query(f"EXISTS TABLE {table}").result_rows[0][0]
    return bool(exists) and bool(client.query(f"SELECT 1 FROM {table} LIMIT 1").result_rows)


def _until(reached: Sequence[Reached]) -> str:
    """Return the condition; one that no row meets where nothing is reached."""
    parts = [
        f"(log_generation = {part.log_generation:d} AND log_partition = {part.partition:d}"
        f" AND log_position <= {part.position:d})"
        for part in reached
    ]
    return f"({' OR '.join(parts)})" if parts else "(1 = 0)"


def _spans(hours: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield (first, last) hour of each file from (hour, rows), ascending."""
    first, last, held = 0, 0, 0
    for hour, rows in hours:
        if held and held + rows > ROWS_PER_FILE:
            yield first, last
            held = 0
        first = hour if not held else first
        last, held = hour, held + rows
    if held:
        yield first, last
