"""The command `flowrate`. Each subcommand imports what it needs when it is called."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from infra.serve import Instance

EXIT_REFUSED = 1
EXIT_USAGE = 2

DELEGATED = {
    ("demo",): ("infra.demo", "run Flowrate with a simulated network (what `make run` does)"),
    ("inspect", "flows"): ("infra.inspect_flows", "decode NetFlow, IPFIX and sFlow captures"),
    ("inspect", "radius"): ("infra.inspect_radius", "decode RADIUS captures"),
    ("nat",): ("infra.nat", "who was behind a public address and port, and why"),
    ("dashboards", "publish"): ("dashboards.publish", "send the dashboards to a Grafana"),
    ("dashboards", "export"): ("dashboards.export", "write the dashboards as JSON files"),
    ("topics",): ("infra.topics", "create, compare and grow the topics of a cluster"),
    ("network",): (
        "infra.network_tools",
        "bring a running Flowrate to the settings of its network",
    ),
    ("classify",): ("infra.classify", "say whose an address is, and which class its traffic gets"),
    ("plans",): ("infra.plans", "rate plans as documents: their schema, check them, import them"),
    ("quote",): ("infra.quote", "price usage against a plan document, step by step"),
    ("cas-simulator",): (
        "infra.cas_simulator",
        "be a conditional-access gateway for cable TV, to try things on",
    ),
    ("migrate",): ("infra.migrate", "bring the business database to this version's schema"),
    ("vouchers",): ("infra.vouchers", "make, list, sell and void batches of voucher codes"),
    ("warehouse",): ("infra.warehouse_tools", "rebuild, check and print the warehouse's tables"),
    ("backup",): ("infra.backup", "back up a running Flowrate, restore it, check a backup"),
    ("payments", "import"): ("infra.payments_import", "import a bank's statement"),
    ("audit", "verify"): ("infra.audit", "check the hash chains of ledger and audit log"),
    ("repair",): ("infra.repair", "run a range again and post signed differences"),
    ("rerate",): ("infra.rerate", "price closed usage anew by a corrected plan"),
    ("reports",): ("infra.reports", "revenue, aging, MRR and more, as CSV, XLSX, Parquet or JSON"),
    ("doctor",): (
        "infra.doctor.command",
        "examine settings, machine, data and NASes; say what to do",
    ),
}
"""Subcommands with a `main(arguments) -> int` of their own: words -> (module, help)."""

ROLES = {
    ("collect", "flows"): ("receive", "receive NetFlow, IPFIX and sFlow and publish them to Kafka"),
    ("collect", "radius"): ("radius", "answer RADIUS accounting and publish it to Kafka"),
    ("worker",): ("worker", "run the stages of the partitions that Kafka assigns"),
    ("sink",): ("sink", "move rated usage from Kafka into ClickHouse"),
    ("api",): ("web", "serve the API and the pages"),
    ("act",): ("act", "send CoA commands and notifications"),
    ("schedule",): ("schedule", "run billing, ledger postings, checks and leases"),
}
"""Roles of a cluster, one process each: words -> (module of `infra.processes`, help)."""

EPILOG = """\
settings come from a TOML file, then variables FLOWRATE_SECTION__KEY, then --set flags; the later
one wins. `flowrate init` writes a file with every setting explained.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 refused, 2 used or set wrongly."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for path, (module, _) in DELEGATED.items():
        if tuple(words[: len(path)]) == path:
            return _call(module, words[len(path) :])
    for path, (process, _) in ROLES.items():
        if tuple(words[: len(path)]) == path:
            return _run_role(path, process, words[len(path) :])
    options = _parser().parse_args(words)
    command: Callable[[argparse.Namespace], int] = options.run
    return _told(lambda: command(options))


def _told(command: Callable[[], int]) -> int:
    """Run a command; what is the operator's to mend is one message, never a traceback."""
    from infra.instance_lock import InstanceRunning
    from infra.secrets import SecretsError
    from infra.settings import SettingsError

    try:
        return command()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    except (InstanceRunning, SecretsError) as error:
        print(f"flowrate: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _call(module: str, words: list[str]) -> int:
    status = _told(lambda: importlib.import_module(module).main(words))
    return int(status or 0)


def _run_role(path: tuple[str, ...], process: str, words: list[str]) -> int:
    """Run one role of a cluster until it is told to stop; it says itself what is wrong."""
    # Told to stop while it still imports, nothing has begun: that is an orderly end as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if process == "worker":
        # Partitions are what a worker shares its work out by: a thread of polars' pool per core in
        # every worker only makes workers wait for one another. Polars reads this at its import.
        os.environ.setdefault("POLARS_MAX_THREADS", "1")
    from infra.process import run_process

    run_process("-".join(path), importlib.import_module(f"infra.processes.{process}").main, words)


def _init(options: argparse.Namespace) -> int:
    from infra.init import write_settings

    try:
        done = write_settings(options.dir)
    except FileExistsError as error:
        print(f"flowrate: {error.filename} exists and is left as it is", file=sys.stderr)
        return EXIT_REFUSED
    except OSError as error:
        print(f"flowrate: {error.filename}: {error.strerror}", file=sys.stderr)
        return EXIT_REFUSED
    print("\n".join(done))
    return 0


def _serve(options: argparse.Namespace) -> int:
    from infra.serve import serve
    from infra.settings import find_file
    from infra.wiring.preparation import prepare

    serve(find_file(options.config), options.set, prepare=prepare, on_started=_say_where)
    return 0


def _say_where(instance: Instance) -> None:
    settings = instance.settings
    port = settings.api.listen_port or "(a free port, see the log of web)"
    print(
        f"Flowrate runs: page and API on http://{settings.api.listen_address}:{port},"
        f" API key in {settings.data_dir / 'secrets'}; Ctrl-C stops it",
        flush=True,
    )


def _check_settings(options: argparse.Namespace) -> int:
    from infra.settings import find_file, load_settings

    file = find_file(options.config)
    settings = load_settings(file, options.set)
    print(f"{file or 'defaults'}: all settings can be used; data_dir is {settings.data_dir}")
    return 0


def _status(options: argparse.Namespace) -> int:
    from infra.settings import find_file, load_settings
    from infra.supervisor import read_status

    settings = load_settings(find_file(options.config), options.set)
    status = read_status(settings.data_dir)
    if status is None:
        print(f"nothing has run on {settings.data_dir} yet")
        return EXIT_REFUSED
    print(f"supervisor {status.state}, pid {status.pid}")
    for process in status.processes:
        last = f", last ended: {process.last_exit}" if process.last_exit else ""
        pid = f"pid {process.pid}" if process.pid else "no process"
        print(f"{process.name:10} {process.state}, {pid}, {process.restarts} restarts{last}")
    return 0 if status.state == "running" else EXIT_REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate",
        description="Usage rating and billing for internet service providers.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"flowrate {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    init = commands.add_parser("init", help="write a commented flowrate.toml and make the secrets")
    init.add_argument(
        "--dir", type=Path, default=Path(), metavar="DIRECTORY", help="where to (default: here)"
    )
    init.set_defaults(run=_init)

    for name, run, text in (
        ("serve", _serve, "run Flowrate: every process, supervised, until Ctrl-C"),
        ("status", _status, "say how the processes of a data directory are"),
        ("check-settings", _check_settings, "read the settings and say what is wrong with them"),
    ):
        command = commands.add_parser(name, help=text, description=f"{text}.", allow_abbrev=False)
        _add_settings_flags(command)
        command.set_defaults(run=run)

    groups: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {}
    for path, (_, text) in (DELEGATED | ROLES).items():
        if len(path) == 1:
            commands.add_parser(path[0], help=text)
            continue
        if path[0] not in groups:
            names = ", ".join(
                " ".join(other[1:]) for other in DELEGATED | ROLES if other[0] == path[0]
            )
            group = commands.add_parser(path[0], help=names)
            groups[path[0]] = group.add_subparsers(title="commands", metavar="WHAT", required=True)
        groups[path[0]].add_parser(path[1], help=text)
    return parser


def _add_settings_flags(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="settings file (default: $FLOWRATE_CONFIG, else flowrate.toml here if it exists)",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="one setting, api.listen_port=8080; may be repeated",
    )


def _version() -> str:
    try:
        return importlib.metadata.version("flowrate")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
