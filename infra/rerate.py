"""`flowrate rerate`: closed usage priced by a corrected plan, the differences as charges."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from infra.clock import preparing_clock
from infra.instants import day
from infra.plan_files import FileError, read_plan
from infra.settings import find_file, load_settings
from infra.wiring.rerating import Rerated, Stretch, rerate
from rating.money import format_minor

EXIT_REFUSED = 1


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0 where all is right then, 1 where some was refused or left out."""
    options = _parser().parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    clock = preparing_clock(settings.data_dir, settings.clock)
    stretch = Stretch(options.plan, options.version, options.begin, options.end)
    try:
        corrected = read_plan(options.corrected)
        found = rerate(settings, stretch, corrected, clock.now_ms(), is_dry_run=options.dry_run)
    except FileError as fault:
        print(fault, file=sys.stderr)
        return EXIT_REFUSED
    except LookupError as error:
        print(f"flowrate: {error.args[0]}", file=sys.stderr)
        return EXIT_REFUSED
    except ValueError as error:
        print(f"{options.corrected}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except DBAPIError as error:
        print(f"flowrate: the database refuses: {error.orig}", file=sys.stderr)
        return EXIT_REFUSED
    print("\n".join(told(found, is_dry_run=options.dry_run)))
    for item in found.left_out:
        print(f"flowrate: {item.counted.counter} is left: {item.reason}", file=sys.stderr)
    return EXIT_REFUSED if found.left_out else 0


def told(found: Rerated, *, is_dry_run: bool) -> list[str]:
    """Return a line per subscriber and period that changes, greatest first, and the sum."""
    changed = [item for item in found.corrections if item.difference_minor]
    lines = []
    for item in sorted(changed, key=lambda i: (-abs(i.difference_minor), i.counted.counter)):
        counted = item.counted
        before, after, difference = (
            format_minor(amount, counted.charge.currency)
            for amount in (item.before_minor, item.after_minor, item.difference_minor)
        )
        sign = "+" if item.difference_minor > 0 else ""
        lines.append(
            f"{counted.charge.rating_key} ({counted.subject}), {counted.charge.meter_id},"
            f" {counted.period.start_on}: {before} to {after}, {sign}{difference}"
            f" {counted.charge.currency}"
        )
    same = len(found.corrections) - len(changed)
    done = (
        "nothing was written (--dry-run)"
        if is_dry_run
        else f"{found.written} charges stand on the accounts' next invoices"
    )
    return [*lines, f"{len(changed)} counters change, {same} stay; {done}"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate rerate",
        description="Price the closed periods of a plan version anew by a corrected document, and"
        " put the differences on the accounts' next invoices. A second run changes nothing.",
        allow_abbrev=False,
    )
    parser.add_argument("--plan", required=True, metavar="ID", help="plan that was wrong")
    parser.add_argument("--version", type=int, required=True, help="its version")
    parser.add_argument(
        "--corrected", type=Path, required=True, metavar="FILE", help="what it should have said"
    )
    first = "first local day; only periods that lie whole within the days count"
    parser.add_argument("--from", dest="begin", type=day, required=True, metavar="DAY", help=first)
    parser.add_argument(
        "--to", dest="end", type=day, required=True, metavar="DAY", help="last day, included"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the differences only")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting"
    )
    return parser
