"""`flowrate network apply`: own prefixes, class rules and the AS file of the settings, now."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from infra.clock import preparing_clock
from infra.settings import find_file, load_settings
from infra.wiring.preparation import apply_network

EXIT_REFUSED = 1


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 done, 1 refused."""
    options = _parser().parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    clock = preparing_clock(settings.data_dir, settings.clock)
    try:
        done = apply_network(settings, clock.now_ms())
    except LookupError as error:
        print(f"flowrate: {error.args[0]}", file=sys.stderr)
        return EXIT_REFUSED
    except DBAPIError as error:
        print(f"flowrate: the database refuses: {error.orig}", file=sys.stderr)
        return EXIT_REFUSED
    print("\n".join(done))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flowrate network", allow_abbrev=False)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    text = "bring a running Flowrate to the settings' own prefixes, class rules and AS file"
    apply = commands.add_parser("apply", help=text, description=f"{text}, from the next minute on.")
    apply.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    apply.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting"
    )
    return parser
