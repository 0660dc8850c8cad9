"""`flowrate doctor`: examines settings, machine and data, and says what to do."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from infra.doctor.examination import examine
from infra.doctor.findings import Finding, as_json, as_table, exit_status
from infra.settings import SettingsError, find_file, load_settings


def main(arguments: Sequence[str]) -> int:
    """Print the findings; return 0 where all is well, 1 with a warning, 2 with a failure."""
    options = _parser().parse_args(arguments)
    file = find_file(options.config)
    try:
        settings = load_settings(file, options.set)
    except SettingsError as error:
        advice = "`flowrate check-settings` tells the same; nothing else can be examined"
        findings = [
            Finding("settings", str(file or "defaults"), "fail", problem, advice)
            for problem in error.problems
        ]
    else:
        findings = examine(settings, file)
    print(as_json(findings) if options.json else as_table(findings))
    return exit_status(findings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate doctor",
        description="Examine settings, sockets, kernel, clocks, secrets, disk, versions, positions,"
        " and each NAS against the flows of its subscribers. Changes nothing; may run beside"
        " everything else. Exit status: 0 all is well, 1 something to look at, 2 something failed.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings file (default: $FLOWRATE_CONFIG, else flowrate.toml here if it exists)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, api.listen_port=8080; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser
