"""Roles of a cluster that one process at a time works as: `act` and `schedule`."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable

from sqlalchemy import Engine

from billing.adapters.roles import Role
from billing.metrics import COUNTERS
from infra.process import Context
from infra.settings import Settings, SettingsError
from infra.wiring.databases import application_of
from infra.wiring.paths import database_url

LOG = logging.getLogger(__name__)

STANDBY_SECONDS = 0.5
"""Between two looks whether the role is free."""

TURN_SECONDS = 0.05

RunOnce = Callable[[int], Counter[str]]
"""Does what is due at an instant (ms) and returns counts by metric name."""


def run_role(context: Context, name: str, open_loop: Callable[[Engine], RunOnce]) -> None:
    """Stand by until the role is free, then work as it until told to stop.

    The loop is opened with the engine that it may use: one connection, the role's. Whatever is
    raised (RoleLostError, a lost connection) must end the process.
    """
    counts: Counter[str] = Counter()
    held = {"role_is_held": 0}
    context.metrics.add_source(COUNTERS, lambda: {**counts, **held})
    role = open_role(context.settings, name)
    has_looked = threading.Event()
    context.metrics.add_readiness_check(
        lambda: [] if has_looked.is_set() else ["the database has not answered yet"]
    )
    try:
        LOG.info("stands by", extra={"task": name})
        while not _has_taken(role, has_looked):
            if context.stop.wait(STANDBY_SECONDS):
                return
        held["role_is_held"] = 1
        LOG.info("works", extra={"task": name})
        run_once = open_loop(role.engine)
        while not context.stop.is_set():
            counts += run_once(context.clock.now_ms())
            context.stop.wait(TURN_SECONDS)
    finally:
        role.close()


def _has_taken(role: Role, has_looked: threading.Event) -> bool:
    taken = role.take()
    has_looked.set()
    return taken


def open_role(settings: Settings, name: str) -> Role:
    """Return a role of this cluster; SettingsError where there is no cluster."""
    if settings.mode != "cluster":
        raise SettingsError(
            [f'mode = "embedded": expected "cluster"; `flowrate serve` does the work of {name}']
        )
    return Role(
        database_url(settings),
        name,
        config=settings.cluster.database,
        application=application_of(name),
    )
