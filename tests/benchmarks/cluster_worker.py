"""The worker process of `bench_cluster`: a real worker that also says where its CPU time goes.

The thread of rounds charges its CPU time to a part of the work; the functions of `PARTS` are
wrapped for it. What polars' threads used in a round is charged to its steps. What the other threads
used is Faust's, Kafka's and the relay's. On SIGUSR1 everything counted so far is written to the
file that BENCH_PARTS names.
"""

from __future__ import annotations

import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # as `flowrate worker` does

import functools
import json
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import FrameType
from typing import Any

import infra.processes.worker
import streams.adapters.postgres_state
import streams.adapters.postgres_topics
import streams.rounds
from infra.process import Context, run_process
from streams.rounds import Rounds

PARTS: tuple[tuple[Any, str, str], ...] = (
    (streams.rounds, "decode_message", "frames"),
    (streams.rounds, "decode_frame", "frames"),
    (streams.rounds, "encode_frame", "frames"),
    (streams.rounds, "route", "frames"),
    (streams.rounds, "insert_rows", "postgres"),
    (streams.rounds, "delete_rows", "postgres"),
    (streams.rounds, "save_standings", "postgres"),
    (streams.adapters.postgres_topics, "read_rows", "postgres"),
    (streams.adapters.postgres_state.PostgresState, "load", "postgres"),
    (streams.adapters.postgres_state.PostgresState, "load_range", "postgres"),
    (streams.adapters.postgres_state.PostgresState, "bind", "postgres"),
    (streams.adapters.postgres_state.StateWrites, "flush", "postgres"),
    (streams.adapters.postgres_state.PostgresState, "apply", "state"),
)
"""Where a function lives, its name, and to which part its CPU time is charged."""


class Meter:
    """CPU nanoseconds of the thread of rounds by (stage, part); parts may lie in one another."""

    def __init__(self) -> None:
        """Charge nothing yet."""
        self.spent: Counter[tuple[str, str]] = Counter()
        self.counts: Counter[str] = Counter()
        self._stack = ["rest"]
        self._stage = ""
        self._since = 0
        self._pool = 0

    def begin(self, stage: str) -> None:
        """Charge to a stage from now on."""
        self._stage, self._since, self._pool = stage, time.thread_time_ns(), _pool_ns()

    def end(self) -> None:
        """Charge nobody from now on."""
        self._charge()
        self.spent[self._stage, "step"] += _pool_ns() - self._pool
        self._stage = ""

    def within(self, part: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call, and charge it to a part."""
        self._charge()
        self._stack.append(part)
        try:
            return call(*arguments, **named)
        finally:
            self._charge()
            self._stack.pop()

    def _charge(self) -> None:
        now = time.thread_time_ns()
        if self._stage:
            self.spent[self._stage, self._stack[-1]] += now - self._since
        self._since = now


def _pool_ns() -> int:
    """Return the CPU time of this process that no Python thread has used."""
    ours = sum(
        time.clock_gettime_ns(time.pthread_getcpuclockid(thread.ident))
        for thread in threading.enumerate()
        if thread.ident is not None
    )
    return time.process_time_ns() - ours


def _wrap(meter: Meter, owner: Any, name: str, part: str) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        return meter.within(part, original, *arguments, **named)

    setattr(owner, name, wrapped)


def _count_reads(meter: Meter) -> None:
    """Count the queries for state by collection, each a round trip to the server, and rows."""
    state = streams.adapters.postgres_state.PostgresState
    for name in ("load", "load_range"):
        original = getattr(state, name)

        def counted(self: Any, collection: str, *rest: Any, _call: Any = original) -> Any:
            stage = self.task.partition("/")[0]
            meter.counts[f"{stage} {_call.__name__} of {collection}"] += 1
            return _call(self, collection, *rest)

        setattr(state, name, counted)
    writes: Any = streams.adapters.postgres_state.StateWrites
    flush = writes.flush

    def counting(self: Any, connection: Any) -> None:
        meter.counts["state rows written"] += len(self.puts) + len(self.deletes)
        flush(self, connection)

    writes.flush = counting


class _Commits:
    """Opens the rounds' transactions, and charges beginning and commit to PostgreSQL."""

    def __init__(self, meter: Meter, begin: Callable[[], AbstractContextManager[Any]]) -> None:
        self._meter = meter
        self._begin = begin

    def __call__(self) -> _Commit:
        return _Commit(self._meter, self._begin())


class _Commit:
    def __init__(self, meter: Meter, transaction: AbstractContextManager[Any]) -> None:
        self._meter = meter
        self._transaction = transaction

    def __enter__(self) -> Any:
        return self._meter.within("commit", self._transaction.__enter__)

    def __exit__(self, *error: Any) -> Any:
        return self._meter.within("commit", self._transaction.__exit__, *error)


def measure(rounds: Rounds, meter: Meter) -> None:
    """Wrap what the rounds call, so that the meter hears of it."""
    for owner, name, part in PARTS:
        _wrap(meter, owner, name, part)
    _count_reads(meter)
    inner: Any = rounds
    inner._begin = _Commits(meter, inner._begin)
    _wrap(meter, inner, "_write_rows", "rows")
    for stage in inner._stages.values():
        object.__setattr__(stage, "step", functools.partial(meter.within, "step", stage.step))
    write_rows = inner._write_rows

    def counting(connection: Any, rows: Any) -> Any:
        meter.counts["business rows written"] += len(rows)
        return write_rows(connection, rows)

    inner._write_rows = counting
    run = rounds.run

    def timed(stage: str, messages: Any) -> Any:
        began = time.monotonic_ns()
        meter.begin(stage)
        done = run(stage, messages)
        meter.end()
        meter.counts[f"{stage} rounds"] += 1
        meter.counts[f"{stage} messages"] += sum(map(len, messages.values()))
        meter.counts[f"{stage} outputs"] += len(done.outputs)
        meter.counts[f"{stage} wall ms"] += (time.monotonic_ns() - began) // 1_000_000
        return done

    inner.run = timed


def _writer(meter: Meter, rounds: Rounds, path: Path) -> Callable[[int, FrameType | None], None]:
    def write(number: int, frame: FrameType | None) -> None:
        # Copies first: the thread of rounds goes on and may add keys.
        spent, counts, counters = dict(meter.spent), dict(meter.counts), dict(rounds.counters)
        parts = {"|".join(key): nanoseconds for key, nanoseconds in spent.items()}
        told = {"parts": parts, "counts": counts, "counters": counters}
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(told))
        unfinished.rename(path)

    return write


def main(context: Context) -> None:
    """Work until told to stop."""
    process: Any = infra.processes.worker
    make = process.worker_parts

    def measured(*arguments: Any) -> Any:
        parts = make(*arguments)
        meter = Meter()
        measure(parts.rounds, meter)
        path = Path(os.environ["BENCH_PARTS"])
        signal.signal(signal.SIGUSR1, _writer(meter, parts.rounds, path))
        return parts

    process.worker_parts = measured
    process.main(context)


if __name__ == "__main__":
    run_process("worker", main)
