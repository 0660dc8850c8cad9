"""What a worker of the cluster reports of where it stands: gauges, and latencies of its rounds.

The worker tells of what it does in its own threads; Prometheus reads what was told in another one,
so nothing here looks into a round that is under way.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Mapping, Sequence

from rating.measures import Labels, Measures
from streams.adapters.postgres_outbox import OutboxRow
from streams.observation import RATED_TOPIC, observe_rated, watermark_ages
from streams.rounds import Round, Rounds
from streams.topics import STORED, physical_topic


class OutboxAge:
    """The outputs of each stage that were committed and not yet acknowledged, oldest first."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        """Start with none."""
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._waiting: dict[str, collections.deque[tuple[int, int, int]]] = {}

    def committed(self, stage: str, rows: Sequence[OutboxRow]) -> None:
        """Take note of the rows of one committed round, also where there are none."""
        entry = (self._now_ms(), len(rows), sum(len(row.body) for row in rows))
        with self._lock:
            self._waiting.setdefault(stage, collections.deque()).append(entry)

    def published(self, stage: str) -> None:
        """Take note that Kafka has acknowledged the stage's oldest round."""
        with self._lock:
            if self._waiting.get(stage):
                self._waiting[stage].popleft()

    def forget(self) -> None:
        """Take note that somebody else publishes from here on."""
        with self._lock:
            self._waiting.clear()

    def gauges(self) -> dict[tuple[str, Labels], float]:
        """Return the gauges stream_outbox_oldest_seconds, _rows and _octets."""
        with self._lock:
            entries = [entry for waiting in self._waiting.values() for entry in waiting]
        oldest_at = min((at for at, rows, _ in entries if rows), default=None)
        age = 0 if oldest_at is None else max(0, self._now_ms() - oldest_at)
        return {
            ("stream_outbox_oldest_seconds", ()): age / 1000,
            ("stream_outbox_rows", ()): float(sum(rows for _, rows, _ in entries)),
            ("stream_outbox_octets", ()): float(sum(octets for _, _, octets in entries)),
        }


class WorkerObservation:
    """Everything that a worker's metrics read; see `streams.metrics.GAUGES` for the meanings."""

    def __init__(
        self, rounds: Rounds, generation: int, measures: Measures, now_ms: Callable[[], int]
    ) -> None:
        """Start with a worker that owns nothing. generation is that of the topics."""
        self.outbox = OutboxAge(now_ms)
        self._rounds = rounds
        self._generation = generation
        self.measures = measures
        self.is_at_gap = False
        self.in_flight = 0
        self.now_ms = now_ms
        self._watermarks: Mapping[str, int] = {}
        self._positions: Mapping[tuple[str, int], int] = {}
        self._collectors: Mapping[str, set[str]] = {}

    def on_round(self, stage: str, done: Round) -> None:
        """Take note of a committed round, before the stage's next one begins."""
        committed_at = self.now_ms()
        for frame in done.rated:
            observe_rated(self.measures, RATED_TOPIC, frame, committed_at)
        self.outbox.committed(stage, done.outputs)
        self.look()

    def look(self) -> None:
        """Take note of what the worker owns and how far it is, while no round is under way.

        To be called after partitions were taken over or released, too.
        """
        tasks = list(self._rounds.tasks.values())
        self._watermarks = {task.name: task.watermark_at for task in tasks}
        self._positions = {
            (physical_topic(topic, self._generation), task.partition): task.standing.offsets.get(
                topic, 0
            )
            for task in tasks
            for topic in (task.stage.raw_log, *task.stage.topics)
            if topic and topic not in STORED
        }

        self._collectors = {
            task.stage.raw_log: task.standing.collectors_live(task.stage.raw_log)
            for task in tasks
            if task.stage.raw_log
        }

    def positions(self) -> Mapping[tuple[str, int], int]:
        """Return the next offset of each topic partition that this worker reads, as committed."""
        return self._positions

    def gauges(self) -> dict[tuple[str, Labels], float]:
        """Return every gauge of `streams.metrics` that a worker has, but the lag."""
        return {
            **watermark_ages(self._watermarks, self.now_ms()),
            **self.outbox.gauges(),
            ("stream_tasks", ()): float(len(self._watermarks)),
            ("stream_at_gap", ()): float(self.is_at_gap),
            ("stream_relay_in_flight_messages", ()): float(self.in_flight),
            **{
                ("stream_collectors_live", (log,)): float(len(live))
                for log, live in self._collectors.items()
            },
        }

    def readiness(self) -> list[str]:
        """Return a finding while the worker owns nothing: it waits for Kafka's assignment."""
        return [] if self._watermarks else ["no partitions are assigned yet"]
