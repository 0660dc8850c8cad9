"""When watermark, API, RADIUS and warehouse moved again after a fault."""

from __future__ import annotations

import dataclasses
import statistics
import threading
import time
from collections.abc import Callable, Sequence

import httpx
import psycopg

from tests.cluster.chaos.cluster import PARTITIONS, Cluster
from tests.cluster.tasks import STAGES

WATERMARK, API, RADIUS, WAREHOUSE = "watermark", "API", "RADIUS", "warehouse"
SIGNS = (WATERMARK, API, RADIUS, WAREHOUSE)
_INTERVAL_SECONDS = 0.1
_API_SECONDS = 2.0
_IN_FLIGHT_SECONDS = 0.3
"""An answer this soon after a fault was on the way before it."""


@dataclasses.dataclass(slots=True)
class Wound:
    """A fault that struck, and after how many seconds each sign of life came back."""

    kind: str
    struck_at: float
    clock_at: int
    outage_seconds: float = 0.0
    back: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def is_healed(self) -> bool:
        """Whether everything has moved again."""
        return len(self.back) == len(SIGNS)


class Probes:
    """Watches from outside, past every path that can be cut.

    The watermark is back when all that was received before the fault has passed every stage; the
    API when a request sent after it is answered; RADIUS and warehouse when they have taken more
    than at a look after the fault.
    """

    def __init__(self, cluster: Cluster, count_answers: Callable[[], int]) -> None:
        """Take how many RADIUS answers the NAS has; `start` watches."""
        self._cluster = cluster
        self._count_answers = count_answers
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.wounds: list[Wound] = []
        self._threads = [
            threading.Thread(target=self._watch_database, name="probe-database"),
            threading.Thread(target=self._watch_api, name="probe-api"),
            threading.Thread(target=self._watch_radius, name="probe-radius"),
        ]

    def start(self) -> None:
        """Begin to watch."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Watch no longer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def strike(self, kind: str) -> Wound:
        """Take note of a fault that strikes now."""
        wound = Wound(kind, time.monotonic(), self._cluster.clock.now_ms())
        with self._lock:
            self.wounds.append(wound)
        return wound

    def _back(self, sign: str, moment: Callable[[Wound], float], at: float) -> None:
        """A sign of life was seen for the wounds whose moment is not after `at`."""
        now = time.monotonic()
        with self._lock:
            for wound in self.wounds:
                if sign not in wound.back and moment(wound) <= at:
                    wound.back[sign] = now - wound.struck_at

    def _watch_database(self) -> None:
        before: tuple[float, int] | None = None
        connection = None
        while not self._stop.wait(_INTERVAL_SECONDS):
            looked_at = time.monotonic()
            try:
                connection = connection or self._cluster.connect()
                [(count, watermark_at)] = connection.execute(
                    "select count(*), min(watermark_at) from stage_task"
                ).fetchall()
                [(sunk,)] = connection.execute(
                    "select coalesce(sum(last_position), 0) from sink_position"
                ).fetchall()
            except psycopg.Error:
                connection = None
                continue
            if count == STAGES * PARTITIONS:
                self._back(WATERMARK, lambda wound: wound.clock_at, watermark_at)
            self._has_grown(WAREHOUSE, before, int(sunk))
            before = (looked_at, int(sunk))
        if connection:
            connection.close()

    def _has_grown(self, sign: str, before: tuple[float, int] | None, value: int) -> None:
        """A value that stood at a look after the fault has grown since."""
        if before is not None and value > before[1]:
            self._back(sign, lambda wound: wound.struck_at + _IN_FLIGHT_SECONDS, before[0])

    def _watch_radius(self) -> None:
        before: tuple[float, int] | None = None
        while not self._stop.wait(_INTERVAL_SECONDS):
            looked_at, count = time.monotonic(), self._count_answers()
            self._has_grown(RADIUS, before, count)
            before = (looked_at, count)

    def _watch_api(self) -> None:
        while not self._stop.wait(_INTERVAL_SECONDS):
            asked_at = time.monotonic()
            try:
                with self._cluster.api(_API_SECONDS) as api:
                    is_answered = api.get("/v1/accounts?limit=1").status_code == 200
            except httpx.HTTPError:
                continue
            if is_answered:
                self._back(API, lambda wound: wound.struck_at, asked_at)


def table_of(wounds: Sequence[Wound]) -> list[str]:
    """Return lines of a table: per kind how often, its own length, and each sign's recovery."""
    kinds = sorted({wound.kind for wound in wounds})
    width = max((len(kind) for kind in kinds), default=0)
    title = f"{'fault':{width}}  times  outage s"
    lines = [title + "".join(f"  {f'{sign} s: min median max':>26}" for sign in SIGNS)]
    for kind in kinds:
        own = [wound for wound in wounds if wound.kind == kind]
        outage = statistics.median(wound.outage_seconds for wound in own)
        line = f"{kind:{width}}  {len(own):5}  {outage:8.1f}"
        for sign in SIGNS:
            seconds = [wound.back[sign] for wound in own if sign in wound.back]
            missing = len(own) - len(seconds)
            if seconds:
                told = f"{min(seconds):.1f} {statistics.median(seconds):.1f} {max(seconds):.1f}"
            else:
                told = "-"
            line += f"  {told + (f' ({missing} never)' if missing else ''):>26}"
        lines.append(line)
    return lines
