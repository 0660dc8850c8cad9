"""`flowrate warehouse`: check and rebuild the warehouse's tables, and print them for a cluster."""

from __future__ import annotations

import argparse
import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.secrets import open_secrets
from infra.settings import Settings, find_file, load_settings
from infra.wiring import rebuild as wiring
from infra.wiring.store import warehouse_config
from warehouse.checking import Checker, CheckRules
from warehouse.connect import WarehouseError
from warehouse.ddl import ClusterShape, cluster_statements
from warehouse.intents import current_generation
from warehouse.metrics import Counters
from warehouse.rebuilding import DifferenceError, Rebuild, describe, drop_generation
from warehouse.sink import DivergenceError

EXIT_REFUSED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0: done and everything equal, 1: something differs or was refused."""
    options = _parser().parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    try:
        return int(options.run(settings, options))
    except (WarehouseError, DivergenceError, DifferenceError, ValueError, TimeoutError) as error:
        print(f"flowrate warehouse: {error}", file=sys.stderr)
        return EXIT_REFUSED


def _check(settings: Settings, options: argparse.Namespace) -> int:
    config = warehouse_config(settings, open_secrets(settings.data_dir))
    with (
        wiring.writing_client(settings, open_secrets(settings.data_dir)) as client,
        wiring.open_intents(settings) as intents,
    ):
        generation = current_generation(intents, config.generation)
        report = Checker(
            client,
            intents,
            generation,
            Counters(),
            CheckRules(
                base_days=config.retention.rated_days,
                now_ms=_now_ms(),
                hold_seconds=config.sink.hold_seconds,
                holder="flowrate warehouse check",
            ),
        ).run([options.month] if options.month else (), is_repairing=not options.dry_run)
    for finding in report.findings:
        print(finding)
    print(
        f"generation {generation}: {report.partitions} partitions of rollups compared with"
        f" usage_rated, {len(report.findings)} differed"
    )
    return 0 if report.is_clean else EXIT_REFUSED


def _rebuild(settings: Settings, options: argparse.Namespace) -> int:
    secrets = open_secrets(settings.data_dir)
    since = datetime.datetime.combine(options.since, datetime.time(), datetime.UTC)
    since_ms = int(since.timestamp() * 1000)
    with (
        wiring.writing_client(settings, secrets) as client,
        wiring.open_log(settings) as (intents, log),
    ):
        config = warehouse_config(settings, secrets)
        rebuild = Rebuild(client, intents, log, config, Counters(), print)
        if options.dry_run:
            compared = rebuild.dry_run(since_ms)
            print(describe(compared, f"generation {rebuild.old}", "the log"))
            return EXIT_REFUSED if compared.differences else 0
        compared = rebuild.run(since_ms, _now_ms())
        print(describe(compared, rebuild.old, rebuild.new))
    return 0


def _drop(settings: Settings, options: argparse.Namespace) -> int:
    with (
        wiring.writing_client(settings, open_secrets(settings.data_dir)) as client,
        wiring.open_intents(settings) as intents,
    ):
        drop_generation(client, intents, options.generation, settings.warehouse.generation)
    print(f"generation {options.generation} is gone")
    return 0


def _ddl(settings: Settings, options: argparse.Namespace) -> int:
    shape = ClusterShape(options.cluster, options.shards)
    for statement in cluster_statements(settings.warehouse, shape):
        print(f"{statement};\n")
    return 0


def _now_ms() -> int:
    return int(datetime.datetime.now(datetime.UTC).timestamp() * 1000)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flowrate warehouse", allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    check = commands.add_parser("check", help="compare rollups with the base; rebuild what differs")
    check.add_argument("--month", type=int, metavar="YYYYMM", help="only this month (UTC)")
    check.add_argument("--dry-run", action="store_true", help="repair nothing")
    check.set_defaults(run=_check)

    rebuild = commands.add_parser("rebuild", help="replay the log into a new generation of tables")
    rebuild.add_argument(
        "--from",
        dest="since",
        type=datetime.date.fromisoformat,
        required=True,
        metavar="DATE",
        help="replay what was logged from this day on (UTC); copy what is older",
    )
    rebuild.add_argument("--dry-run", action="store_true", help="only compare the log with now")
    rebuild.set_defaults(run=_rebuild)

    drop = commands.add_parser("drop", help="delete a generation that is not in force")
    drop.add_argument("--generation", type=int, required=True, metavar="NUMBER")
    drop.set_defaults(run=_drop)

    ddl = commands.add_parser("ddl", help="print replicated and sharded tables for ClickHouse")
    ddl.add_argument("--cluster", required=True, metavar="NAME", help="as ON CLUSTER names it")
    ddl.add_argument("--shards", type=int, default=1, metavar="N", help="default 1: replicas only")
    ddl.set_defaults(run=_ddl)
    for command in (check, rebuild, drop, ddl):
        command.add_argument("--config", type=Path, metavar="FILE", help="settings file")
        command.add_argument(
            "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
