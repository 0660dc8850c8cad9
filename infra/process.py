"""The frame of every process: settings, logs, clock, signals, metrics, and a crash-only end.

A process module is a few lines::

    def main(context: Context) -> None:
        ...  # returns when context.stop is set

    if __name__ == "__main__":
        run_process("engine", main)

Workers are crash-only (DESIGN §3.2): an exception is logged and ends the process with status 1,
and the supervisor starts a new one from what was committed.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from infra.clock import Clock, open_clock
from infra.config import PROCESSES, ROLES
from infra.logs import set_up_logs
from infra.metrics import METRICS
from infra.metrics_endpoint import MetricsEndpoint
from infra.settings import Settings, SettingsError, load_settings
from infra.tracing import Traces, open_traces

LOG = logging.getLogger(__name__)

EXIT_CRASHED = 1
EXIT_SETTINGS = 2
PR_SET_PDEATHSIG = 1
PARENT_CHECK_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Context:
    """What a process's main function is given. It returns soon after `stop` is set."""

    name: str
    settings: Settings
    clock: Clock
    stop: threading.Event
    metrics: MetricsEndpoint
    traces: Traces

    @property
    def data_dir(self) -> Path:
        """The data directory; it exists."""
        return self.settings.data_dir


def run_process(
    name: str, main: Callable[[Context], None], arguments: Sequence[str] | None = None
) -> NoReturn:
    """Run one process to its end and exit: 0 stopped, 1 crashed, 2 settings that cannot be used.

    arguments are ``--config FILE``, any number of ``--set key=value``, and what the supervisor
    adds for its children; default sys.argv.
    """
    options = _parser(name).parse_args(arguments)
    if options.lock_descriptor is not None:
        os.set_inheritable(options.lock_descriptor, False)
    if options.supervisor is not None:
        end_with_parent(options.supervisor)
    try:
        settings = load_settings(options.config, options.set)
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        clock = open_clock(settings.data_dir, settings.clock)
    except (SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        sys.exit(EXIT_SETTINGS)
    identity = identity_of(name, settings)
    set_up_logs(name, settings.logs, identity)
    stop = threading.Event()
    _stop_on_signals(stop, is_supervised=options.supervisor is not None)
    metrics = MetricsEndpoint(name)
    traces = open_traces(settings.traces, identity)
    context = Context(name, settings, clock, stop, metrics, traces)
    status = _run(context, main)
    if status:
        logging.shutdown()
        os._exit(status)  # A thread that still works must not keep a crashed process alive.
    sys.exit(0)


def identity_of(name: str, settings: Settings) -> dict[str, str]:
    """Return what tells a role of a cluster from others like it: role, instance, collector_id.

    The processes of embedded mode need none: there is one of each.
    """
    if settings.mode == "embedded":
        return {}
    host = socket.gethostname()
    identity = {"role": name, "instance": f"{host}:{os.getpid()}"}
    if name.startswith("collect-"):
        identity["collector_id"] = settings.cluster.spool.collector_id or host
    return identity


def child_command(name: str, config: Path | None, flags: Sequence[str]) -> tuple[str, ...]:
    """Return the command that runs `infra.processes.<name>` with the same settings as ours."""
    command = [sys.executable, "-m", f"infra.processes.{name}"]
    if config is not None:
        command += ["--config", str(config.resolve())]
    for flag in flags:
        command += ["--set", flag]
    return tuple(command)


def end_with_parent(parent: int) -> None:
    """End this process at once when its parent dies, however that dies.

    Linux kills us (PR_SET_PDEATHSIG; to be killed is safe, since workers are crash-only). Elsewhere
    a thread looks each second. A parent that died before this call is noticed too.
    """
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (AttributeError, OSError):
        threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()
    else:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(EXIT_CRASHED)


def _watch_parent(parent: int) -> None:
    never = threading.Event()
    while os.getppid() == parent:
        never.wait(PARENT_CHECK_SECONDS)
    os._exit(EXIT_CRASHED)


def _parser(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"flowrate-{name}", allow_abbrev=False)
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--supervisor", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--lock-descriptor", type=int, help=argparse.SUPPRESS)
    return parser


def _stop_on_signals(stop: threading.Event, *, is_supervised: bool) -> None:
    """SIGTERM stops. Ctrl-C is the supervisor's to hear; a process run alone hears it itself."""

    def set_stop(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, set_stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN if is_supervised else set_stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN if is_supervised else set_stop)


def _run(context: Context, main: Callable[[Context], None]) -> int:
    """Run main between the start and stop of the metrics endpoint; return the exit status."""
    config = context.settings.metrics
    facts = {
        "process_started_at": context.clock.now_ms(),
        "process_clock_offset_ms": context.clock.offset_ms,
    }
    context.metrics.add_source(METRICS, lambda: {**facts, **context.traces.counters()})
    _crash_on_thread_exceptions()
    try:
        if config.is_enabled:
            port = metrics_port(context.name, config.first_port)
            port = context.metrics.start(config.listen_address, port)
            LOG.info("started", extra={"pid": os.getpid(), "metrics_port": port})
        main(context)
    except Exception:
        LOG.exception("crashed")
        return EXIT_CRASHED
    finally:
        context.traces.close()
        context.metrics.stop()
    LOG.info("stopped")
    return 0


def metrics_port(name: str, first_port: int) -> int:
    """Return the metrics port of a process; 0 (any) where the first is 0 or the name is new.

    A role of a cluster has the first port: it is alone in its container or on its host.
    """
    if not first_port or name in ROLES:
        return first_port
    return first_port + PROCESSES.index(name) if name in PROCESSES else 0


def _crash_on_thread_exceptions() -> None:
    """Make an exception in any thread the process's end: half a process is worse than none."""

    def end(failure: threading.ExceptHookArgs) -> None:
        if failure.exc_type is SystemExit:
            return
        try:
            error = failure.exc_value or failure.exc_type()
            LOG.critical(
                "crashed in a thread",
                extra={"in_thread": failure.thread.name if failure.thread else ""},
                exc_info=(failure.exc_type, error, failure.exc_traceback),
            )
        finally:
            os._exit(EXIT_CRASHED)

    threading.excepthook = end
