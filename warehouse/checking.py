"""Compares rollups with the base table they are derived from, and rebuilds what differs.

A rollup is compared day by day and judged per partition (month). A partition that differs is looked
at again while all inserts are held off, since an insert reaches base and rollups one after the
other; if it still differs it is derived anew into a shadow table and swapped in whole (REPLACE
PARTITION), so that a reader sees either the old or the new one and a crash leaves the old.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence

from warehouse.filling import DAY_SECONDS, Commands, days_of, derive_into, numbers, of_day
from warehouse.intents import IntentStore
from warehouse.metrics import Counters
from warehouse.tables import ROLLUPS, Table

LOG = logging.getLogger(__name__)

QUIET_WAIT_SECONDS = 60.0
"""How long a repair waits for inserts under way to be committed before it gives up."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """One partition of a rollup that differs: keys that differ, and both sides' main sum."""

    table: str
    month: int
    differing_keys: int
    is_repaired: bool = False

    def __str__(self) -> str:
        """Return the finding for people."""
        done = "rebuilt from the base" if self.is_repaired else "NOT repaired"
        return f"{self.table} {self.month}: {self.differing_keys} keys differ, {done}"


@dataclasses.dataclass(frozen=True, slots=True)
class CheckRules:
    """How a check goes: how long the base keeps rows (days, 0 for ever), now, and its hold.

    holder is the name under which inserts are held off, for at most hold_seconds at a time.
    """

    base_days: int = 0
    now_ms: int = 0
    hold_seconds: float = 120.0
    holder: str = "check"


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What a check compared and found."""

    partitions: int
    findings: tuple[Finding, ...]

    @property
    def is_clean(self) -> bool:
        """Whether every rollup is now what the base says."""
        return all(finding.is_repaired for finding in self.findings)


def day_condition(table: Table, day: int) -> str:
    """Return the condition of a rollup's rows of one UTC day (since 1970)."""
    first, end = day * DAY_SECONDS, (day + 1) * DAY_SECONDS
    return f"{table.instant} >= {first} AND {table.instant} < {end}"


def differing_keys(client: Commands, table: Table, generation: int, day: int) -> int:
    """Return how many keys of one UTC day differ between a rollup and the base.

    The greatest of an insert's no values is 0 and stays in the rollup, so that greatest values are
    compared from 0 on: usage received within its own minute has a lag below.
    """
    keys = ", ".join(table.order_by)
    values = (*table.sums, *table.maxima)
    names = ", ".join((*table.order_by, *values))
    sums = "".join(f", sum(t.{n} * side) AS d_{n}" for n in table.sums)
    tops = "".join(
        f", greatest(0, maxIf(t.{n}, side = 1)) AS a_{n},"
        f" greatest(0, maxIf(t.{n}, side = -1)) AS b_{n}"
        for n in table.maxima
    )
    differs = " OR ".join(
        (*(f"d_{n} != 0" for n in table.sums), *(f"a_{n} != b_{n}" for n in table.maxima))
    )
    return int(
        str(
            client.command(
                f"SELECT count() FROM (SELECT {keys}{sums}{tops} FROM (\n"
                f"SELECT {names}, toInt8(1) AS side FROM (\n"
                f"{table.derive(generation, of_day(day))}\n)\n"
                f"UNION ALL SELECT {names}, toInt8(-1) AS side FROM {table.physical(generation)}\n"
                f"WHERE {day_condition(table, day)}) AS t\nGROUP BY {keys} HAVING {differs})"
            )
        )
    )


class Checker:
    """Checks one generation. open_intents holds inserts off; one thread at a time."""

    def __init__(
        self,
        client: Commands,
        intents: IntentStore,
        generation: int,
        counters: Counters,
        rules: CheckRules,
    ) -> None:
        """Take what to compare, and how."""
        self._client = client
        self._intents = intents
        self._generation = generation
        self._counters = counters
        # The day on the edge is half gone: what the base keeps whole begins two days behind it.
        today = rules.now_ms // 86_400_000
        self._first_day = today - rules.base_days + 2 if rules.base_days else 0
        self._hold_seconds = rules.hold_seconds
        self._holder = rules.holder

    def run(
        self,
        months: Sequence[int] = (),
        newest_months: int = 0,
        tables: Sequence[Table] = ROLLUPS,
        *,
        is_repairing: bool = True,
    ) -> Report:
        """Compare the partitions of these months (YYYYMM), or of the newest few, or all.

        Repairs what differs unless told not to. Errors of ClickHouse and of the intents pass.
        """
        found = []
        compared = 0
        for month, days in self._days(months, newest_months).items():
            for table in tables:
                compared += 1
                self._counters.add("warehouse_checked_partitions")
                differing = self._differing(table, days)
                if differing:
                    finding = self._judge(table, month, is_repairing)
                    found += [finding] if finding else []
        return Report(compared, tuple(found))

    def _days(self, months: Sequence[int], newest_months: int) -> dict[int, list[int]]:
        """Return month -> its days that the base keeps whole, or that a rollup has rows of."""
        days = {day for day in days_of(self._client, self._generation) if day >= self._first_day}
        for table in ROLLUPS:
            name = table.physical(self._generation)
            expression = f"intDiv(toInt64({table.instant}), {DAY_SECONDS})"
            held = numbers(self._client, expression, f"FROM {name}")
            days |= {day for day in held if day >= self._first_day}
        by_month: dict[int, list[int]] = {}
        for day in sorted(days):
            by_month.setdefault(_month_of(day), []).append(day)
        chosen = sorted(months) or sorted(by_month)[-newest_months if newest_months else 0 :]
        return {month: by_month[month] for month in chosen if month in by_month}

    def _differing(self, table: Table, days: Sequence[int]) -> int:
        expired = self._expired_days(table)
        return sum(
            differing_keys(self._client, table, self._generation, day)
            for day in days
            if day >= expired
        )

    def _expired_days(self, table: Table) -> int:
        """Return the first day that a rollup with a TTL keeps whole."""
        engine = str(
            self._client.command(
                "SELECT engine_full FROM system.tables WHERE database = currentDatabase()"
                f" AND name = '{table.physical(self._generation)}'"
            )
        )
        _, _, kept = engine.partition("toIntervalDay(")
        if not kept:
            return 0
        today = int(str(self._client.command("SELECT intDiv(toUnixTimestamp(now()), 86400)")))
        return today - int(kept.partition(")")[0]) + 2

    def _judge(self, table: Table, month: int, is_repairing: bool) -> Finding | None:
        """Look again while nothing is inserted; repair. None: it was an insert under way."""
        if not self._hold():
            return Finding(
                table.name, month, self._differing(table, self._days((month,), 0)[month])
            )
        try:
            days = self._days((month,), 0).get(month, [])
            differing = self._differing(table, days)
            if not differing:
                return None
            self._counters.add("warehouse_differing_partitions")
            LOG.error(
                "a rollup differs from its base",
                extra={"table": table.name, "month": month, "keys": differing},
            )
            if is_repairing:
                self._rebuild(table, month, days)
                self._counters.add("warehouse_repaired_partitions")
            return Finding(table.name, month, differing, is_repaired=is_repairing)
        finally:
            self._intents.release(self._generation, self._holder)

    def _hold(self) -> bool:
        """Hold inserts off and wait until none is under way; False: that took too long."""
        if not self._intents.hold(self._generation, self._holder, self._hold_seconds):
            return False
        deadline = time.monotonic() + min(QUIET_WAIT_SECONDS, self._hold_seconds / 2)
        while self._intents.open_intents(self._generation):
            if time.monotonic() > deadline:
                self._intents.release(self._generation, self._holder)
                return False
            time.sleep(0.1)
        return True

    def _rebuild(self, table: Table, month: int, days: Sequence[int]) -> None:
        target = table.physical(self._generation)
        shadow = f"{target}_shadow"
        names = ", ".join(column.name for column in table.columns)
        self._client.command(f"DROP TABLE IF EXISTS {shadow}")
        self._client.command(f"CREATE TABLE {shadow} AS {target}")
        first = max(self._first_day, self._expired_days(table))
        of_month = f"{table.partition_by} = {month}"
        # What the base no longer has whole is taken over as it is.
        self._client.command(
            f"INSERT INTO {shadow} ({names}) SELECT {names} FROM {target} WHERE {of_month}"
            f" AND {table.instant} < {first * DAY_SECONDS} SETTINGS insert_deduplicate = 0"
        )
        for day in days:
            if day < first:
                continue
            if not self._intents.hold(self._generation, self._holder, self._hold_seconds):
                raise TimeoutError(f"{target}: the repair took longer than it may hold inserts off")
            self._client.command(derive_into(shadow, table, self._generation, of_day(day)))
        self._client.command(f"ALTER TABLE {target} REPLACE PARTITION {month} FROM {shadow}")
        self._client.command(f"DROP TABLE {shadow}")


def _month_of(day: int) -> int:
    then = time.gmtime(day * DAY_SECONDS)
    return then.tm_year * 100 + then.tm_mon
