"""What can go wrong with a cluster, and what does, as a seed says."""

from __future__ import annotations

import dataclasses
import random
import time
from collections import Counter
from collections.abc import Callable

from tests.cluster.chaos.cluster import Cluster
from tests.cluster.chaos.paths import State
from tests.cluster.chaos.probes import Probes

_WAIT_SECONDS = 25.0
"""How long the next fault waits for the recovery from the one before, mostly."""
_OVERLAP_PROBABILITY = 0.25
_GAP_SECONDS = (0.5, 3.0)
_TICK_SECONDS = 0.05
WORKERS = ("worker-0", "worker-1")


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One kind of misfortune: it begins, lasts between two bounds of seconds, and ends."""

    kind: str
    seconds: tuple[float, float]
    begin: Callable[[], object]
    end: Callable[[], object] = lambda: None


class Chaos:
    """Draws faults and lets them happen to a cluster."""

    def __init__(self, cluster: Cluster, probes: Probes, seed: int) -> None:
        """Take what is hurt and what is told of it."""
        self._cluster = cluster
        self._probes = probes
        self._chance = random.Random(f"chaos {seed}")
        self._deck: list[Callable[[], Fault]] = []
        self.done: Counter[str] = Counter()

    def run(self, seconds: float, told: Callable[[str], None]) -> None:
        """Hurt the cluster for so many seconds; then everything is whole again."""
        started = time.monotonic()
        while (at := time.monotonic() - started) < seconds:
            fault = self._draw()
            lasts = self._chance.uniform(*fault.seconds)
            told(f"{at:6.1f} s  {fault.kind}" + (f" for {lasts:.1f} s" if lasts else ""))
            wound = self._probes.strike(fault.kind)
            self.done[fault.kind] += 1
            fault.begin()
            self._pass(lasts)
            fault.end()
            wound.outage_seconds = time.monotonic() - wound.struck_at
            if self._chance.random() >= _OVERLAP_PROBABILITY:
                self._pass(_WAIT_SECONDS, lambda wound=wound: wound.is_healed)  # type: ignore[misc]
            self._pass(self._chance.uniform(*_GAP_SECONDS))
        self._cluster.paths.heal()

    def _pass(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Look after the roles for so long, or until is_over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not is_over():
            self._cluster.look_after()
            time.sleep(_TICK_SECONDS)

    # -- what can happen -----------------------------------------------------------------------

    def _draw(self) -> Fault:
        """Return the next fault: each kind once, in any order, before one comes again."""
        if not self._deck:
            self._deck = self._kinds()
            self._chance.shuffle(self._deck)
        return self._deck.pop()()

    def _kinds(self) -> list[Callable[[], Fault]]:
        chance = self._chance
        kinds: list[Callable[[], Fault]] = [
            lambda: self._killed(chance.choice(WORKERS), "worker"),
            lambda: self._killed("radius", "RADIUS collector"),
            lambda: self._killed("flows", "flow collector"),
            lambda: self._killed("api", "API"),
            lambda: self._killed("sink", "sink"),
            lambda: self._killed("act", "act"),
            lambda: self._killed("schedule", "schedule"),
            lambda: self._killed("store", "warehouse"),
            lambda: Fault("Kafka killed", (0, 0), self._kill_kafka),
            lambda: Fault("PostgreSQL killed", (0, 0), self._kill_postgres),
            self._paused_worker,
            lambda: self._cut(chance.choice(WORKERS), "kafka", "worker off Kafka"),
            lambda: self._cut(chance.choice(WORKERS), "postgres", "worker off PostgreSQL"),
            lambda: self._cut("radius", "kafka", "RADIUS collector off Kafka"),
            lambda: self._cut("radius", "postgres", "RADIUS collector off PostgreSQL"),
            lambda: self._cut("sink", "kafka", "sink off Kafka"),
            lambda: self._cut("api", "postgres", "API off PostgreSQL"),
        ]
        if self._cluster.disk.is_mounted:
            disk = self._cluster.disk
            kinds.append(lambda: Fault("spools' disk full", (3, 8), disk.fill, disk.make_room))
        return kinds

    def _killed(self, name: str, kind: str) -> Fault:
        return Fault(f"{kind} killed", (0, 0), self._cluster.roles[name].kill)

    def _kill_kafka(self) -> None:
        self._cluster.kafka.kill()
        self._cluster.kafka.start()

    def _kill_postgres(self) -> None:
        self._cluster.postgres.kill()
        self._cluster.postgres.start()

    def _paused_worker(self) -> Fault:
        """Past the session timeout: the other has its partitions when it wakes."""
        role = self._cluster.roles[self._chance.choice(WORKERS)]
        return Fault("worker paused", (8, 14), role.pause, role.resume)

    def _cut(self, name: str, server: str, kind: str) -> Fault:
        """Resets connections, or lets nothing through without a word."""
        paths, path = self._cluster.paths, f"{name} {server}"
        state: State = self._chance.choice(["cut", "frozen"])
        return Fault(
            f"{kind}, {'reset' if state == 'cut' else 'silent'}",
            (3, 10),
            lambda: paths.change(path, state),
            lambda: paths.change(path, "open"),
        )
