"""The warehouse's part of a backup: rated usage up to the sink's positions, as Parquet files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import warehouse.connect
from infra.backups.manifest import BackupError, RatedPart
from warehouse import exports, migrations
from warehouse.config import WarehouseConfig
from warehouse.exports import Reached

_QUERY_TIMEOUT_SECONDS = 3_600
"""An export's query may take longer than any page may wait."""


def export(
    config: WarehouseConfig, generation: int, reached: Sequence[Reached], directory: Path
) -> RatedPart:
    """Write a generation's rows up to where it is reached; return their sums in the warehouse.

    Raises WarehouseError where the warehouse does not answer; BackupError where it changed.
    """
    client = _client(config)
    try:
        sums = exports.rated_sums(client, generation, reached)
        files = exports.export_rated(client, generation, reached, directory)
    finally:
        client.close()
    written = sum(exports.rows_in(path) for path in files)
    if written != sums.rows:
        raise BackupError(f"the warehouse gave {written} rows of {sums.rows}: try again")
    return RatedPart(
        generation,
        tuple(reached),
        sums.rows,
        sums.octets_up,
        sums.octets_down,
        str(sums.charge),
    )


def load(config: WarehouseConfig, part: RatedPart, directory: Path, now_ms: int) -> None:
    """Fill the backup's generation of tables, which is empty, and compare its sums.

    BackupError where the tables hold rows already or then hold others than were exported.
    """
    client = _client(config)
    try:
        if exports.has_rows(client, part.generation):
            raise BackupError(
                f"the warehouse's generation {part.generation} of tables holds rows already:"
                " a backup is restored into an empty warehouse"
            )
        migrations.migrate(client, part.generation, now_ms)
        files = sorted(directory.glob("*.parquet"))
        exports.import_rated(client, part.generation, files, f"backup:{part.rows}")
        sums = exports.rated_sums(client, part.generation, part.reached)
    finally:
        client.close()
    wanted = (part.rows, part.octets_up, part.octets_down, part.charge)
    found = (sums.rows, sums.octets_up, sums.octets_down, str(sums.charge))
    if found != wanted:
        raise BackupError(f"the warehouse holds (rows, up, down, charge) {found}, not {wanted}")


def _client(config: WarehouseConfig) -> Any:
    patient = dataclasses.replace(config, query_timeout_seconds=_QUERY_TIMEOUT_SECONDS)
    return warehouse.connect.client(patient, may_write=True)
