"""Backup of a data directory while Flowrate runs on it, and a new data directory from one.

The database is one moment; everything else is cut to it. The raw logs are copied after it, so no
block that it still has to read is missing. Of the warehouse travel the rows up to where the sink
stands in that moment: what lies behind is in the database's own topic, since a topic is trimmed
only below the sink's position (docs/decisions/0504).
"""

from __future__ import annotations

import dataclasses
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from infra import clock
from infra.backups import rated
from infra.backups.manifest import BackupError, Manifest, RatedPart
from infra.backups.sqlite_files import check_database, copy_database, copy_segments
from infra.secrets import FILE_NAME as SECRETS_FILE
from infra.secrets import open_secrets
from infra.settings import Settings
from infra.wiring.books import Books, examine_file
from infra.wiring.logs import CONSUMERS
from infra.wiring.paths import LOGS, database_path, log_directory, store_directory
from infra.wiring.store import warehouse_config
from warehouse.config import WarehouseConfig
from warehouse.connect import WarehouseError, client
from warehouse.exports import Reached
from warehouse.intent_tables import SqliteIntentStore
from warehouse.intents import CURRENT, Intent, Source, committed_position, current_generation
from warehouse.metrics import Counters
from warehouse.store import Store, intents_path

DATABASE = Path("database/flowrate.sqlite")
RAW = Path("raw")
WAREHOUSE = Path("warehouse")
SMALL_FILES = (SECRETS_FILE, clock.FILE_NAME)
"""Files of the data directory that are copied as they are, where they are there."""


def create(
    settings: Settings, directory: Path, *, is_raw_whole: bool, has_warehouse: bool
) -> tuple[Manifest, Books]:
    """Fill a backup's folder from a data directory; return the manifest without its parts.

    is_raw_whole: all raw blocks that are kept, not only those that the engine has not read.
    BackupError, OSError or sqlite3.Error where it cannot be made.
    """
    copied = directory / DATABASE
    if not database_path(settings).exists():
        raise BackupError(f"{settings.data_dir}: no flowrate.sqlite, so nothing to back up")
    copy_database(database_path(settings), copied)
    positions, newest = _positions(copied)
    part = None
    if has_warehouse:
        part = _export_warehouse(settings, directory / WAREHOUSE, newest)
    for log, folder in LOGS.items():
        after = 0 if is_raw_whole else positions.get(CONSUMERS[log], {}).get(log, 0)
        copy_segments(log_directory(settings, log), directory / RAW / folder, after=after)
    for name in SMALL_FILES:
        _copy_small(settings.data_dir / name, directory / name)
    books = examine_file(copied)
    manifest = Manifest(
        form=1,
        mode="embedded",
        version="",
        schema_revision=books.schema_revision,
        made_at=0,
        topic_generation=0,
        positions=positions,
        chain_heads=books.chain_heads,
        warehouse=part,
        parts=(),
    )
    return manifest, books


def restore(settings: Settings, directory: Path, manifest: Manifest, now_ms: int) -> Books:
    """Make the data directory from a backup whose parts were checked; return its books.

    It is built beside its place and moved there when all is well, so it is whole or absent.
    BackupError where the data directory is not empty or what was restored is not what was kept.
    """
    target = settings.data_dir
    if target.exists() and any(target.iterdir()):
        raise BackupError(f"{target} is not empty: a backup is restored into a new data directory")
    building = target.with_name(f"{target.name}.restoring")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True, mode=0o700)
    built = dataclasses.replace(settings, data_dir=building)
    _copy_small(directory / DATABASE, database_path(built))
    for folder in LOGS.values():
        for path in sorted((directory / RAW / folder).glob("*.sqlite")):
            (building / folder).mkdir(exist_ok=True, mode=0o700)
            _copy_small(path, building / folder / path.name)
    for name in SMALL_FILES:
        _copy_small(directory / name, building / name)
    with closing(sqlite3.connect(database_path(built))) as connection:
        check_database(connection, database_path(built))
    books = examine_file(database_path(built))
    if not books.findings and manifest.warehouse is not None:
        _import_warehouse(built, directory / WAREHOUSE, manifest, now_ms)
    if not books.findings:
        building.rename(target)
    return books


def missing_blocks(directory: Path, manifest: Manifest) -> list[str]:
    """Return one sentence per raw log whose unread blocks the backup does not hold."""
    problems = []
    for log, folder in LOGS.items():
        firsts = sorted(int(path.stem) for path in (directory / RAW / folder).glob("*.sqlite"))
        after = manifest.positions.get(CONSUMERS[log], {}).get(log, 0)
        if after and not firsts:
            problems.append(f"{log}: no segment, but blocks up to {after} were read")
        elif firsts and firsts[0] > after + 1:
            problems.append(f"{log}: blocks {after + 1} to {firsts[0] - 1} are missing")
    return problems


def _positions(database: Path) -> tuple[dict[str, dict[str, int]], int]:
    """Return each task's positions, and the newest position of all topics, of a copied file."""
    positions: dict[str, dict[str, int]] = {}
    uri = f"{database.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        for task, topic, position in connection.execute(
            "select task, topic, position from topic_position order by task, topic"
        ):
            positions.setdefault(task, {})[topic] = position
        newest = connection.execute(
            "select seq from sqlite_sequence where name = 'topic_record'"
        ).fetchone()
    return positions, int(newest[0]) if newest else 0


def _copy_small(source: Path, target: Path) -> None:
    if source.exists():
        shutil.copyfile(source, target)
        target.chmod(0o600)


def _source(config: WarehouseConfig, generation: int) -> Source:
    return Source(generation, config.sink.topic, config.sink.partition)


def _export_warehouse(settings: Settings, directory: Path, newest: int) -> RatedPart:
    config = warehouse_config(settings, open_secrets(settings.data_dir))
    intents = SqliteIntentStore(intents_path(config))
    try:
        generation = current_generation(intents, config.generation)
    finally:
        intents.close()
    source = _source(config, generation)
    position = min(committed_position(intents_path(config), source), newest)
    reached = Reached(source.log_generation, source.partition, position)
    with _answering(config) as answering:
        return rated.export(answering, generation, [reached], directory)


@contextmanager
def _answering(config: WarehouseConfig) -> Iterator[WarehouseConfig]:
    """Give settings under which the store answers: the running one's, or one opened for us."""
    try:
        client(config).close()
    except WarehouseError as unreached:
        try:
            with _opened(config) as opened:
                yield opened
        except RuntimeError as error:
            raise BackupError(f"the store holds its directory, but {unreached}") from error
    else:
        yield config


@contextmanager
def _opened(config: WarehouseConfig) -> Iterator[WarehouseConfig]:
    """Open a store that nobody holds, on a free port. RuntimeError where somebody holds it."""
    free = dataclasses.replace(config, endpoint=dataclasses.replace(config.endpoint, port=0))
    with Store(free, Counters(), now_ms=0) as store:
        endpoint = dataclasses.replace(free.endpoint, port=store.port)
        yield dataclasses.replace(free, endpoint=endpoint)


def _import_warehouse(settings: Settings, directory: Path, manifest: Manifest, now_ms: int) -> None:
    part = manifest.warehouse
    assert part is not None
    config = dataclasses.replace(
        warehouse_config(settings, open_secrets(settings.data_dir)),
        generation=part.generation,
        store_directory=str(store_directory(settings)),
    )
    with _opened(config) as opened:
        rated.load(opened, part, directory, now_ms)
    source = _source(config, part.generation)
    intents = SqliteIntentStore(intents_path(config))
    try:
        intents.set_generation(part.generation, CURRENT)
        last = max((each.position for each in part.reached), default=0)
        intents.commit(source, Intent(last, last, 0))
    finally:
        intents.close()
