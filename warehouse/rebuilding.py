"""Makes the next generation of tables from the log, beside the running one, and switches to it.

Cut by log position, not by usage time: what was logged before the day is copied from the running
generation (its rows know their positions and never change), everything from there on is replayed
from the log through the ordinary sink. So no row can be in both parts or in none, whatever minute
it is about. What the log no longer has is copied too. Nothing is switched before the sums of both
generations are equal per log partition and day and every rollup is what its base says.

Each step is noted when it is done; a rebuild that was killed goes on by the same command.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

import polars as pl

from warehouse.checking import Checker, CheckRules, Report
from warehouse.config import WarehouseConfig
from warehouse.filling import DAY_SECONDS, NO_TOKENS, days_of, numbers, of_day
from warehouse.intents import (
    CURRENT,
    FILLING,
    IntentStore,
    Source,
    current_generation,
)
from warehouse.metrics import Counters
from warehouse.migrations import drop, migrate, point
from warehouse.retention import apply_retention
from warehouse.sink import RecordReader, Sink
from warehouse.tables import ROLLUPS, SNAPSHOTS, USAGE_RATED

LOG = logging.getLogger(__name__)

STARTS, FROM, SNAPSHOTS_COPIED, MONTH = "starts", "from", "snapshots", "month "
"""Steps that are noted: where replays begin, which generation is rebuilt, what was copied."""


class RebuildLog(Protocol):
    """The log as a rebuild needs it. Errors of its server pass through."""

    def sources(self, generation: int) -> Sequence[Source]:
        """Return every topic partition of rated usage that is in use."""
        ...

    def begin(self, source: Source, since_ms: int) -> tuple[int, int] | None:
        """Return (position, cursor) behind which the records logged since an instant stand.

        Where the log begins later: behind which its first one stands. None: it has none of them.
        """
        ...

    def reader(self, source: Source, position: int, cursor: int) -> RecordReader:
        """Return a reader of the records behind a position."""
        ...


Key = tuple[int, int, int]
"""Log generation, log partition, UTC day since 1970."""

Sums = tuple[int, int, int, int, Decimal]
"""Rows, octets up, octets down, quantity, charge."""

NOTHING: Sums = (0, 0, 0, 0, Decimal(0))


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """Sums of two sides per log partition and day."""

    left: Mapping[Key, Sums]
    right: Mapping[Key, Sums]

    @property
    def differences(self) -> list[tuple[Key, Sums, Sums]]:
        """Return the keys whose sums differ, with both sides' sums."""
        return [
            (key, self.left.get(key, NOTHING), self.right.get(key, NOTHING))
            for key in sorted({*self.left, *self.right})
            if self.left.get(key, NOTHING) != self.right.get(key, NOTHING)
        ]

    @property
    def rows(self) -> int:
        """Return how many rows were compared."""
        return sum(sums[0] for sums in self.left.values())


class DifferenceError(Exception):
    """The new generation is not what the old one is; nothing was switched."""


class Rebuild:
    """One rebuild from an instant (ms) on. One thread at a time; one process at a time."""

    def __init__(
        self,
        client: Any,
        intents: IntentStore,
        log: RebuildLog,
        config: WarehouseConfig,
        counters: Counters,
        say: Callable[[str], None],
    ) -> None:
        """Take a writing client, the ports, and where progress is told."""
        self._client = client
        self._intents = intents
        self._log = log
        self._config = config
        self._counters = counters
        self._say = say
        self.old = current_generation(intents, config.generation)
        states = intents.generations()
        filling = [number for number, state in states.items() if state == FILLING]
        self.new = filling[0] if filling else max([*states, self.old]) + 1
        self._is_resumed = bool(filling)
        if self._is_resumed:
            self.old = int(intents.steps(self.new).get(FROM, self.old))

    def dry_run(self, since_ms: int) -> Comparison:
        """Compare what the log has since then with what the tables have; write nothing."""
        starts = self._find_starts(since_ms)
        replayed: dict[Key, Sums] = {}
        ends = {}
        for source, (start, cursor) in starts.items():
            ends[source] = self._intents.position(source)
            reader = self._log.reader(source, start, cursor)
            while start < ends[source]:
                records = [r for r in reader.read(start, 100_000) if r[0] <= ends[source]]
                if not records:
                    break
                start = records[-1][0]
                for _, frame in records:
                    _add(replayed, source, frame)
        between = " OR ".join(
            f"{_of_log(source)} AND log_position > {start} AND log_position <= {ends[source]}"
            for source, (start, _) in starts.items()
        )
        return Comparison(self._sums(self.old, between or "0"), replayed)

    def run(self, since_ms: int, now_ms: int) -> Comparison:
        """Fill the next generation, compare, switch. DifferenceError: not switched.

        Where an earlier run was cut short its beginning stands, whatever instant is given now.
        """
        if not self._is_resumed:
            starts = self._find_starts(since_ms)
            self._intents.set_generation(self.old, CURRENT)
            self._intents.note_step(self.new, FROM, str(self.old))
            self._intents.note_step(self.new, STARTS, _starts_to_text(starts))
            self._intents.set_generation(self.new, FILLING)
        else:
            self._say(f"goes on with generation {self.new}, which was begun earlier")
        starts = _starts_from_text(self._intents.steps(self.new)[STARTS], self.old)
        migrate(self._client, self.new, now_ms, is_current=False)
        self._copy(starts, now_ms)
        self._replay(starts)
        compared = self.compare()
        if compared.differences:
            raise DifferenceError(describe(compared, self.old, self.new))
        report = self._check_rollups(now_ms)
        if report.findings:
            raise DifferenceError("\n".join(map(str, report.findings)))
        apply_retention(self._client, self.new, self._config.retention)
        self._intents.set_generation(self.new, CURRENT)
        point(self._client, self.new)
        self._say(f"generation {self.new} is in force; {self.old} stays until it is dropped")
        return compared

    def compare(self) -> Comparison:
        """Compare both generations up to the positions that both have committed."""
        new = self._intents.positions(self.new)
        old = self._intents.positions(self.old)
        bounds = [
            f"NOT ({_of_log(source)} AND log_position >"
            f" {min(position, old[dataclasses.replace(source, generation=self.old)])})"
            for source, position in new.items()
        ]
        condition = " AND ".join(bounds) or "1"
        return Comparison(self._sums(self.old, condition), self._sums(self.new, condition))

    def _find_starts(self, since_ms: int) -> dict[Source, tuple[int, int]]:
        """Return where each source's replay begins: never behind what the tables have."""
        starts = {}
        for source in self._log.sources(self.old):
            committed = (self._intents.position(source), self._intents.cursor(source))
            found = self._log.begin(source, since_ms)
            if found is None or found[0] > committed[0]:
                starts[source] = committed
            else:
                starts[source] = found
        return starts

    def _copy(self, starts: Mapping[Source, tuple[int, int]], now_ms: int) -> None:
        """Copy what is not replayed, month by month; a month cut short is copied anew."""
        done = self._intents.steps(self.new)
        kept = self._config.retention.rated_days
        first_day = now_ms // 86_400_000 - kept + 2 if kept else 0
        replayed = [f"({_of_log(s)} AND log_position > {p})" for s, (p, _) in starts.items()]
        condition = f"NOT ({' OR '.join(replayed)})" if replayed else "1"
        days = days_of(self._client, self.old, condition)
        for month in self._months(days):
            if f"{MONTH}{month}" in done:
                continue
            self._say(f"copies {month}")
            for table in (USAGE_RATED, *ROLLUPS):
                name = table.physical(self.new)
                self._client.command(f"ALTER TABLE {name} DROP PARTITION {month}")
            for table in ROLLUPS if first_day else ():
                self._copy_rows(
                    table,
                    f"{table.partition_by} = {month}"
                    f" AND {table.instant} < {first_day * DAY_SECONDS}",
                )
            for day in days:
                if day >= first_day and _month_of(day) == month:
                    self._copy_rows(USAGE_RATED, f"{of_day(day)} AND {condition}")
            self._intents.note_step(self.new, f"{MONTH}{month}", "copied")
        if SNAPSHOTS_COPIED not in done:
            for _, table in SNAPSHOTS.values():
                self._client.command(f"TRUNCATE TABLE {table.physical(self.new)}")
                self._copy_rows(table, "1")
            self._intents.note_step(self.new, SNAPSHOTS_COPIED, "copied")

    def _months(self, days: Sequence[int]) -> list[int]:
        months = {_month_of(day) for day in days}
        if self._config.retention.rated_days:
            for table in ROLLUPS:
                rest = f"FROM {table.physical(self.old)}"
                months |= set(numbers(self._client, table.partition_by, rest))
        return sorted(months)

    def _copy_rows(self, table: Any, condition: str) -> None:
        names = ", ".join(f"`{c.name}`" for c in table.columns if not c.is_internal)
        self._client.command(
            f"INSERT INTO {table.physical(self.new)} ({names}) SELECT {names}"
            f" FROM {table.physical(self.old)} WHERE {condition} SETTINGS {NO_TOKENS}"
        )

    def _replay(self, starts: Mapping[Source, tuple[int, int]]) -> None:
        """Sink every source into the new tables until it has what the old ones have."""
        for old_source, (position, cursor) in starts.items():
            source = dataclasses.replace(old_source, generation=self.new)
            self._intents.seed(source, position, cursor)
            reader = self._log.reader(
                source, self._intents.position(source), self._intents.cursor(source)
            )
            config = dataclasses.replace(
                self._config.sink, topic=source.topic, partition=source.partition
            )
            sink = Sink(config, self.new, reader, self._client, self._intents, self._counters)
            rows = sink.recover()
            while self._intents.position(source) < self._intents.position(old_source):
                before = self._intents.position(source)
                rows += sink.step()
                if self._intents.position(source) == before:
                    raise DifferenceError(
                        f"{source.topic}:{source.partition} ends at {before}, the tables have"
                        f" {self._intents.position(old_source)}"
                    )
            self._say(f"replayed {rows} rows of {source.topic}:{source.partition}")

    def _check_rollups(self, now_ms: int) -> Report:
        return Checker(
            self._client,
            self._intents,
            self.new,
            self._counters,
            CheckRules(
                base_days=self._config.retention.rated_days, now_ms=now_ms, holder="rebuild"
            ),
        ).run(is_repairing=False)

    def _sums(self, generation: int, condition: str) -> dict[Key, Sums]:
        found = self._client.query(
            "SELECT toInt64(log_generation), toInt64(log_partition), toInt64(intDiv(minute, 1440)),"
            " toInt64(count()), sum(octets_up), sum(octets_down), sum(quantity), sum(charge)"
            f" FROM {USAGE_RATED.physical(generation)} WHERE {condition}"
            " GROUP BY log_generation, log_partition, intDiv(minute, 1440)"
        )
        return {tuple(row[:3]): tuple(row[3:]) for row in found.result_rows}


def drop_generation(client: Any, intents: IntentStore, generation: int, first: int) -> None:
    """Delete a generation's tables and what is recorded of it. ValueError: it is in force."""
    if generation == current_generation(intents, first):
        raise ValueError(f"generation {generation} is in force: rebuild into another one first")
    drop(client, generation)
    intents.forget_generation(generation)


def describe(compared: Comparison, left: int | str, right: int | str) -> str:
    """Return the differences for people, a line each."""
    lines = [f"{compared.rows} rows compared, {len(compared.differences)} differences"]
    for (generation, partition, day), one, other in compared.differences:
        on = str(_day_text(day))
        lines.append(f"log g{generation} partition {partition} on {on}:")
        lines += [
            f"  {name}: {value} in {left}, {its} in {right}"
            for name, value, its in zip(
                ("rows", "octets up", "octets down", "quantity", "charge"), one, other, strict=True
            )
            if value != its
        ]
    return "\n".join(lines)


def _of_log(source: Source) -> str:
    return f"log_generation = {source.log_generation} AND log_partition = {source.partition}"


def _add(sums: dict[Key, Sums], source: Source, frame: pl.DataFrame) -> None:
    for (day,), part in frame.group_by(pl.col("minute") // 1440):
        key = (source.log_generation, source.partition, int(str(day)))
        held = sums.get(key, NOTHING)
        sums[key] = (
            held[0] + part.height,
            held[1] + int(part["octets_up"].sum()),
            held[2] + int(part["octets_down"].sum()),
            held[3] + int(part["quantity"].sum()),
            held[4] + sum(part["charge"].to_list(), Decimal(0)),
        )


def _starts_to_text(starts: Mapping[Source, tuple[int, int]]) -> str:
    return json.dumps([[s.topic, s.partition, *start] for s, start in starts.items()])


def _starts_from_text(text: str, generation: int) -> dict[Source, tuple[int, int]]:
    return {
        Source(generation, topic, partition): (position, cursor)
        for topic, partition, position, cursor in json.loads(text)
    }


def _day_text(day: int) -> str:
    then = pl.select(pl.lit(day).cast(pl.Date)).item()
    return str(then)


def _month_of(day: int) -> int:
    then = pl.select(pl.lit(day).cast(pl.Date)).item()
    return int(then.year * 100 + then.month)
