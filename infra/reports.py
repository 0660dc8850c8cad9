"""`flowrate reports NAME`: revenue, aging, MRR and more, as CSV, XLSX, Parquet or JSON."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from billing.reports.table import Question, ReportTable
from infra.instants import day
from infra.settings import find_file, load_settings
from infra.wiring.reports import FORMAT_NAMES, encode_report, read_report, report_titles

EXIT_REFUSED = 1


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 done, 1 refused."""
    options = _parser().parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    try:
        question = Question(
            options.begin,
            options.end,
            options.branch,
            options.aged_by,
            _wanted(options.where),
            options.details,
        )
        table = read_report(settings, options.name, question)
        octets = encode_report(table, options.format, has_mark=not options.no_mark)
    except (LookupError, ValueError) as error:
        print(f"flowrate: {error.args[0]}", file=sys.stderr)
        return EXIT_REFUSED
    except DBAPIError as error:
        print(f"flowrate: the database refuses: {error.orig}", file=sys.stderr)
        return EXIT_REFUSED
    return _write(octets, options.out) or _tell_ties(table)


def _write(octets: bytes, out: Path | None) -> int:
    if out is None:
        sys.stdout.buffer.write(octets)
        sys.stdout.buffer.flush()
        return 0
    try:
        out.write_bytes(octets)
    except OSError as error:
        print(f"flowrate: {out}: {error.strerror}", file=sys.stderr)
        return EXIT_REFUSED
    return 0


def _tell_ties(table: ReportTable) -> int:
    """Say where the report and the ledger differ; nothing where they agree."""
    for tie in table.ties:
        if tie.difference_minor:
            print(
                f"flowrate: branch {tie.branch_id}: {tie.what} is {tie.report_minor} here and"
                f" {tie.ledger_minor} in the ledger ({tie.currency}, minor units)",
                file=sys.stderr,
            )
    return 0


def _wanted(words: Sequence[str]) -> dict[str, list[str]]:
    """Return what ``column=value`` words ask for. ValueError where one is none."""
    wanted: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"--where {word}: expected COLUMN=VALUE, such as plan_id=home")
        wanted.setdefault(name, []).append(value)
    return wanted


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:12} {text}" for name, text in report_titles().items())
    parser = argparse.ArgumentParser(
        prog="flowrate reports",
        description="Write a report of the business database.",
        epilog=f"reports:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", choices=tuple(report_titles()), metavar="NAME", help="see below")
    first = "first local day of each branch, 2026-11-01"
    parser.add_argument("--from", dest="begin", type=day, required=True, metavar="DAY", help=first)
    last = "last day, included; reports of what stands are of its end"
    parser.add_argument("--to", dest="end", type=day, required=True, metavar="DAY", help=last)
    parser.add_argument("--format", choices=FORMAT_NAMES, default="csv", help="default: csv")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument("--branch", metavar="ID", help="only this branch")
    parser.add_argument(
        "--details", action="store_true", help="the rows behind the sums, with their ids"
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="COLUMN=VALUE",
        help="only rows with this key; may be repeated",
    )
    parser.add_argument(
        "--aged-by",
        choices=("due", "period"),
        default="due",
        help="receivables age from their due day (default) or their period's last day",
    )
    parser.add_argument(
        "--no-mark", action="store_true", help="CSV without the byte order mark that Excel wants"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting"
    )
    return parser
