"""`flowrate payments import FILE`: a bank's statement, each entry once, matched or queued."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from billing.bank_statements import StatementError, read_statement
from infra.clock import preparing_clock
from infra.settings import find_file, load_settings
from infra.wiring.bank import import_statement

EXIT_REFUSED = 1


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 imported, 1 a file or branch is refused.

    Nothing of a file is imported that cannot be read to its end.
    """
    options = _parser().parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    config = settings.office.payments
    formats = {form.name: form for form in config.bank_csv}
    now_ms = preparing_clock(settings.data_dir, settings.clock).now_ms()
    for file in options.files:
        try:
            if file.stat().st_size > config.statement_octets_max:
                most = config.statement_octets_max
                raise StatementError(f"expected at most {most} octets, got {file.stat().st_size}")
            entries = read_statement(file.read_bytes(), formats, options.format)
            by = options.by or getpass.getuser()
            counts = import_statement(settings, options.branch, entries, by, now_ms)
        except OSError as error:
            print(f"flowrate: {file}: {error.strerror}", file=sys.stderr)
            return EXIT_REFUSED
        except StatementError as error:
            print(f"flowrate: {file}: {error}", file=sys.stderr)
            return EXIT_REFUSED
        except LookupError as error:
            print(f"flowrate: {error.args[0]}", file=sys.stderr)
            return EXIT_REFUSED
        except DBAPIError as error:
            print(f"flowrate: the database refuses: {error.orig}", file=sys.stderr)
            return EXIT_REFUSED
        said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
        print(f"{file}: {said or 'no entries'}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate payments import",
        description="Import a bank's statement (camt.053, or CSV with --format). What matches no"
        " account waits at /v1/bank-entries for a clerk. The same statement again changes nothing.",
        allow_abbrev=False,
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--branch", required=True, help="whose customers paid")
    parser.add_argument(
        "--format", default="", metavar="NAME", help="a name of [[office.payments.bank_csv]]"
    )
    parser.add_argument("--by", default="", help="who imports (default: who runs the command)")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting"
    )
    return parser
