"""`flowrate plans schema | check | import`: rate plans as documents."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from api.problems import Problem
from infra.clock import preparing_clock
from infra.plan_files import FileError, read_plan
from infra.secrets import open_secrets
from infra.settings import find_file, load_settings
from infra.wiring import web
from infra.wiring.plans import import_plans
from rating.plan_schema import plan_schema
from rating.plans import Plan

EXIT_REFUSED = 1


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands and return its exit status: 0 done, 1 refused."""
    options = _parser().parse_args(arguments)
    if options.command == "schema":
        print(schema_text(), end="")
        return 0
    plans: list[tuple[Path, Plan]] = []
    faults = 0
    for path in options.files:
        try:
            plans.append((path, read_plan(path)))
        except FileError as fault:
            print(fault, file=sys.stderr)
            faults += 1
    if faults:
        return EXIT_REFUSED
    if options.command == "check":
        for path, plan in plans:
            print(f"{path}: {plan.plan_id}, {plan.name}: a plan that can be sold")
        return 0
    return _import(options, plans)


def schema_text() -> str:
    """Return the JSON Schema of plans as it is published."""
    return json.dumps(plan_schema(), indent=2, ensure_ascii=False) + "\n"


def _import(options: argparse.Namespace, plans: Sequence[tuple[Path, Plan]]) -> int:
    settings = load_settings(find_file(options.config), options.set)
    clock = preparing_clock(settings.data_dir, settings.clock)
    try:
        services = web.services(settings, open_secrets(settings.data_dir), clock.now_ms, Counter())
        done = import_plans(services, options.branch, plans)
    except Problem as problem:
        print(f"flowrate plans: {problem.detail}", file=sys.stderr)
        return EXIT_REFUSED
    except LookupError as error:
        print(f"flowrate plans: {error.args[0]}", file=sys.stderr)
        return EXIT_REFUSED
    except ValueError as error:  # What a request's model says of an id or a name.
        print(f"flowrate plans: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except DBAPIError as error:
        print(f"flowrate plans: the database refuses: {error.orig}", file=sys.stderr)
        return EXIT_REFUSED
    print("\n".join(done))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="flowrate plans", allow_abbrev=False)
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, dest="command"
    )
    commands.add_parser("schema", help="print the JSON Schema of plan documents")
    check = commands.add_parser("check", help="say what is wrong with plan documents")
    take = commands.add_parser("import", help="bring plan documents into the database")
    for command in (check, take):
        command.add_argument("files", nargs="+", type=Path, metavar="FILE", help=".toml or .json")
    take.add_argument("--branch", required=True, help="the branch that sells the plans")
    take.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    take.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting")
    return parser
