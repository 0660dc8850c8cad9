"""`flowrate repair`: a range of the raw logs run again, its difference posted as signed usage."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
from sqlalchemy.exc import IntegrityError

from infra.clock import open_clock
from infra.instants import instant, milliseconds
from infra.settings import Settings, SettingsError, find_file, load_settings
from infra.wiring.repair import RepairShop
from streams.adapters.kafka_ranges import RangeLostError
from streams.adapters.postgres_repairs import Repair
from streams.repair import RepairRange

EXIT_REFUSED = 1
MINUTE_MS = 60_000
_LINES_MAX = 40


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 done, 1 refused."""
    options = _parser().parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    if settings.mode != "cluster":
        raise SettingsError(
            ['mode = "embedded": expected "cluster": embedded trims what repairs compare with']
        )
    clock = open_clock(settings.data_dir, settings.clock)
    shop = RepairShop(settings)
    try:
        return _repair(shop, settings, options, clock.now_ms())
    except RangeLostError as error:
        print(f"flowrate: {error}; ask for a later --from, or less --warm-up", file=sys.stderr)
    except LookupError as error:
        print(f"flowrate: cluster.database_url: {error.args[0]}", file=sys.stderr)
    finally:
        shop.close()
    return EXIT_REFUSED


def range_of(settings: Settings, from_at: int, until_at: int, warm_up_minutes: int) -> RepairRange:
    """Return what is read for minutes in [from_at, until_at) ms: a warm-up before, lateness behind.

    ValueError where the bounds are no whole minutes or the wrong way round.
    """
    if from_at % MINUTE_MS or until_at % MINUTE_MS or from_at >= until_at:
        raise ValueError("expected two whole minutes, the earlier one first")
    behind_ms = settings.rating.rate.lateness_bound_seconds * 1000
    return RepairRange(
        from_at, until_at, from_at - warm_up_minutes * MINUTE_MS, until_at + behind_ms
    )


def _repair(shop: RepairShop, settings: Settings, options: argparse.Namespace, now_ms: int) -> int:
    repair_id = options.id or f"{options.begin:%Y%m%dT%H%M}-{options.end:%Y%m%dT%H%M}"
    before = shop.posted(repair_id)
    if before is not None:
        sent = shop.publish(repair_id)
        print(f"repair {repair_id} was posted before; {sent} messages were still to be sent")
        return 0
    try:
        which = range_of(
            settings, milliseconds(options.begin), milliseconds(options.end), options.warm_up
        )
    except ValueError as error:
        print(f"flowrate: --from, --to: {error}", file=sys.stderr)
        return EXIT_REFUSED
    if which.read_until_at > now_ms:
        print("flowrate: --to: usage of these minutes may still come; repair them later")
        return EXIT_REFUSED
    found = shop.look(which, repair_id, now_ms)
    print(f"{found.blocks} blocks run again, compared with {found.rows_sent} rows of usage")
    for line in summary(found.usage):
        print(line)
    if not found.usage.height:
        print("no difference")
        return 0
    if options.dry_run:
        print("nothing was posted (--dry-run)")
        return 0
    up, down = (int(found.usage[name].sum()) for name in ("octets_up", "octets_down"))
    repair = Repair(repair_id, which.from_at, which.until_at, found.usage.height, up, down, now_ms)
    try:
        shop.post(repair, found.usage)
    except IntegrityError:
        print(f"flowrate: repair {repair_id} was posted meanwhile", file=sys.stderr)
        return EXIT_REFUSED
    shop.publish(repair_id)
    print(f"posted as repair {repair_id}: {repair.row_count} rows of usage")
    return 0


def summary(usage: pl.DataFrame) -> list[str]:
    """Return one line per rating key and source with what it gains or loses, greatest first."""
    sums = usage.group_by("rating_key", "source").agg(
        pl.col("octets_up").sum(), pl.col("octets_down").sum(), pl.len().alias("rows")
    )
    moved = pl.col("octets_up").abs() + pl.col("octets_down").abs()
    lines = [
        f"{key} ({source}): {up:+d} octets up, {down:+d} down, {rows} minutes and classes"
        for key, source, up, down, rows in sums.sort(
            [-moved, pl.col("rating_key"), pl.col("source")]
        ).iter_rows()
    ]
    more = len(lines) - _LINES_MAX
    return [*lines[:_LINES_MAX], f"… and {more} more"] if more > 0 else lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate repair",
        description="Run a range of the raw logs again with today's settings and rules, compare"
        " it with the usage that was sent, and post the signed difference.",
        allow_abbrev=False,
    )
    first = "first minute, 2026-11-29T00:00+06:00"
    parser.add_argument("--from", dest="begin", type=instant, required=True, help=first)
    parser.add_argument("--to", dest="end", type=instant, required=True, help="end, not included")
    parser.add_argument("--dry-run", action="store_true", help="print the difference only")
    parser.add_argument("--id", help="name of the repair; a name is posted once (default: range)")
    parser.add_argument(
        "--warm-up",
        type=int,
        default=120,
        metavar="MINUTES",
        help="how long before the range reading begins: two interim intervals and a template"
        " refresh at least (default: 120)",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting"
    )
    return parser
