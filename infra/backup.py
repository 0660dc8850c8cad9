"""`flowrate backup create|verify|restore|align`: a backup of a running Flowrate and its way back.

    flowrate backup create /var/backups/flowrate/2026-11-30
    flowrate backup verify /var/backups/flowrate/2026-11-30
    flowrate backup restore /var/backups/flowrate/2026-11-30 --set data_dir=/var/lib/flowrate
    flowrate backup align      # a cluster, once, before the first worker starts again

Both modes (`mode` in the settings) have the same commands; docs/operations.md says when to use
which.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from infra.backups import cluster, embedded
from infra.backups.alignment import align
from infra.backups.manifest import (
    BackupError,
    Manifest,
    altered_parts,
    parts_in,
    read_manifest,
    running_version,
    write_manifest,
)
from infra.settings import Settings, find_file, load_settings
from infra.wiring.books import Books, examine_file
from warehouse.connect import WarehouseError

EXIT_REFUSED = 1


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands; 0 done, 1 refused or not well, 2 used or set wrongly."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.run
    # Subscribers, balances and passwords: whatever is written is its owner's alone.
    os.umask(0o077)
    try:
        return command(options)
    except (BackupError, WarehouseError) as error:
        return _refuse(str(error))
    except OSError as error:
        return _refuse(f"{error.filename or 'backup'}: {error.strerror or error}")
    except (sqlite3.Error, SQLAlchemyError) as error:
        return _refuse(f"database: {error}")


def _create(options: argparse.Namespace) -> int:
    settings = load_settings(find_file(options.config), options.set)
    directory: Path = options.directory
    if directory.exists() and any(directory.iterdir()):
        raise BackupError(f"{directory} is not empty: each backup has a folder of its own")
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    has_warehouse = not options.without_warehouse
    if settings.mode == "cluster":
        manifest, books = cluster.create(settings, directory, has_warehouse=has_warehouse)
    else:
        manifest, books = embedded.create(
            settings,
            directory,
            is_raw_whole=options.raw_logs == "all",
            has_warehouse=has_warehouse,
        )
    manifest = dataclasses.replace(
        manifest,
        version=running_version(),
        made_at=time.time_ns() // 1_000_000,
        parts=parts_in(directory),
    )
    write_manifest(directory, manifest)
    octets = sum(part.octets for part in manifest.parts)
    print(f"{directory}: {len(manifest.parts)} files, {octets:,} octets, {_told(manifest)}")
    return _judge(books)


def _verify(options: argparse.Namespace) -> int:
    manifest = _trusted(options.directory)
    print(f"{options.directory}: {len(manifest.parts)} files as written, {_told(manifest)}")
    if manifest.mode == "embedded":
        return _judge(examine_file(options.directory / embedded.DATABASE))
    return 0


def _restore(options: argparse.Namespace) -> int:
    manifest = _trusted(options.directory)
    settings = load_settings(find_file(options.config), options.set)
    if settings.mode != manifest.mode:
        raise BackupError(f"a backup of mode {manifest.mode}, settings of mode {settings.mode}")
    if options.without_warehouse:
        manifest = dataclasses.replace(manifest, warehouse=None)
    restore = cluster.restore if manifest.mode == "cluster" else embedded.restore
    books = restore(settings, options.directory, manifest, time.time_ns() // 1_000_000)
    if books.chain_heads != manifest.chain_heads:
        findings = (*books.findings, f"the ledger ends at {books.chain_heads}")
        books = dataclasses.replace(books, findings=findings)
    if _judge(books) == 0:
        print(f"restored: {_told(manifest)}\n{_what_follows(settings, manifest)}")
        return 0
    return EXIT_REFUSED


def _align(options: argparse.Namespace) -> int:
    settings = load_settings(find_file(options.config), options.set)
    if settings.mode != "cluster":
        raise BackupError("only a cluster is aligned with Kafka: mode is embedded")
    told = align(settings, is_dry=options.dry_run, has_sink=not options.without_sink)
    for line in told:
        print(line)
    return 0


def _trusted(directory: Path) -> Manifest:
    manifest = read_manifest(directory)
    problems = altered_parts(directory, manifest)
    if manifest.mode == "embedded":
        problems += embedded.missing_blocks(directory, manifest)
    if problems:
        raise BackupError("\n".join(f"{directory}: {problem}" for problem in problems))
    return manifest


def _told(manifest: Manifest) -> str:
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(manifest.made_at // 1000))
    rows = f"{manifest.warehouse.rows:,} rated rows" if manifest.warehouse else "no warehouse"
    return (
        f"mode {manifest.mode}, Flowrate {manifest.version}, schema {manifest.schema_revision},"
        f" {sum(manifest.chain_heads.values()):,} ledger transactions, {rows}, made {made}"
    )


def _what_follows(settings: Settings, manifest: Manifest) -> str:
    if manifest.mode == "embedded":
        return f"next: flowrate serve on {settings.data_dir}; it goes on from the raw logs"
    return (
        "next: flowrate backup align, before any worker or sink starts: it sets the tasks on what"
        " Kafka holds. Then start the roles; usage since the backup is metered again from the raw"
        " topics"
    )


def _judge(books: Books) -> int:
    for finding in books.findings:
        print(f"flowrate: {finding}", file=sys.stderr)
    if not books.findings:
        print("books: every ledger sums to zero and its chain is unbroken")
    return EXIT_REFUSED if books.findings else 0


def _refuse(message: str) -> int:
    print(f"flowrate: {message}", file=sys.stderr)
    return EXIT_REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate backup", description="Back up a running Flowrate.", allow_abbrev=False
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, run, text in (
        ("create", _create, "write a backup into a new folder"),
        ("verify", _verify, "check a backup's files against their checksums, and its books"),
        ("restore", _restore, "fill an empty data directory, or an empty database, from a backup"),
        ("align", _align, "set a restored cluster's tasks on what Kafka holds"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text}.", allow_abbrev=False)
        command.set_defaults(run=run)
        if name != "align":
            command.add_argument("directory", type=Path, metavar="DIRECTORY")
        if name != "verify":
            command.add_argument("--config", type=Path, metavar="FILE", help="settings file")
            command.add_argument(
                "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting"
            )
        if name in ("create", "restore"):
            command.add_argument("--without-warehouse", action="store_true")
        if name == "create":
            command.add_argument(
                "--raw-logs",
                choices=("unread", "all"),
                default="unread",
                help="raw blocks to keep: what the engine has not read (default), or all evidence",
            )
        if name == "align":
            command.add_argument("--dry-run", action="store_true", help="only say what it would do")
            command.add_argument(
                "--without-sink", action="store_true", help="no sink of this cluster ever ran"
            )
    return parser
