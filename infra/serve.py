"""`flowrate serve`: takes the data directory, prepares it, and supervises the processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

from infra.clock import Clock, open_clock, preparing_clock
from infra.config import PROCESSES
from infra.instance_lock import InstanceLock
from infra.logs import set_up_logs
from infra.process import child_command
from infra.secrets import Secrets, open_secrets
from infra.settings import Settings, load_settings
from infra.supervisor import Program, Supervisor


@dataclasses.dataclass(frozen=True, slots=True)
class Instance:
    """A data directory that is ours: what `prepare` and `on_started` are given."""

    settings: Settings
    clock: Clock
    secrets: Secrets


def serve(
    config: Path | None,
    flags: Sequence[str],
    *,
    prepare: Callable[[Instance], object],
    on_started: Callable[[Instance], None] = lambda instance: None,
    further: Sequence[Program] = (),
) -> None:
    """Run every process until SIGINT or SIGTERM, then stop them and return.

    prepare brings the database up before the first process starts; on_started runs after the
    last one did; further programs start after, and stop before, Flowrate's own. Raises
    SettingsError, InstanceRunning, SecretsError or ValueError (clock) before anything runs.
    """
    settings = load_settings(config, flags)
    set_up_logs("supervisor", settings.logs)
    with InstanceLock(settings.data_dir) as lock:
        secrets = open_secrets(settings.data_dir)
        prepare(Instance(settings, preparing_clock(settings.data_dir, settings.clock), secrets))
        # A shifted clock is fixed only now: preparing may take a while, and a demo's month must
        # not end before its network has spoken.
        clock = open_clock(settings.data_dir, settings.clock)
        instance = Instance(settings, clock, secrets)
        programs = [Program(name, child_command(name, config, flags)) for name in PROCESSES]
        supervisor = Supervisor(
            [*programs, *further],
            settings.data_dir,
            settings.supervisor,
            clock.now_ms,
            inherited=[lock.descriptor],
        )
        supervisor.stop_on_signals()
        supervisor.run(lambda: on_started(instance))
