"""What must hold once everything has settled: a sentence, and what speaks against it."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import select

from billing.adapters import ledger, tables
from billing.adapters.databases import open_database, reading
from infra.demonstration.tariffs import BRANCH
from infra.simulation.network import AccountingEvent
from infra.wiring.sink import libpq_url
from streams.topics import physical_topic
from tests.cluster.chaos.cluster import PARTITIONS, Cluster
from tests.cluster.rated_topic import Rated, read_rated
from tests.databases import sqlalchemy_url
from tests.infra.waiting import wait_until
from tests.simulation.auditor import Auditor
from tests.simulation.comparison import bills_of
from tests.simulation.demonstrated import compare_bills
from tests.simulation.truth import FOREVER
from warehouse.checking import Checker, CheckRules
from warehouse.intent_tables import PostgresIntentStore
from warehouse.metrics import Counters

SETTLE_SECONDS = 90.0
ALARMS = ("SequenceGapError", "sink stopped a partition", "DivergenceError")
"""What a log says where data were missing or met an altered copy."""

Month = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """A claim, and what speaks against it; nothing: it holds."""

    claim: str
    problems: Sequence[str]

    def __str__(self) -> str:
        """Return it as a line, with a few of the problems below."""
        lines = [f"{'FAIL' if self.problems else 'PASS'}  {self.claim}"]
        lines += [f"      {problem}" for problem in self.problems[:5]]
        if len(self.problems) > 5:
            lines.append(f"      and {len(self.problems) - 5} more")
        return "\n".join(lines)


class Audit:
    """Compares a cluster that has settled with the truth."""

    def __init__(
        self,
        cluster: Cluster,
        auditor: Auditor,
        month: Month,
        subscribers: Mapping[str, str],
    ) -> None:
        """Take the auditor, the closed month, and subscriber id -> login."""
        self._cluster = cluster
        self._auditor = auditor
        self._month = month
        self._subscribers = subscribers
        self._engine = open_database(sqlalchemy_url(libpq_url(cluster.settings)))

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    # -- while the roles run -------------------------------------------------------------------

    def invoices(self) -> Verdict:
        """Every account has its finalized invoice, to the cent."""
        accounts = self._auditor.accounts(self._month)

        def count() -> int:
            self._cluster.look_after()
            [(found,)] = self._cluster.rows("select count(*) from invoice where status != 'draft'")
            return int(found)

        with contextlib.suppress(AssertionError):
            wait_until(lambda: count() >= len(accounts), "every account's invoice", SETTLE_SECONDS)
        with reading(self._engine) as connection:
            made = bills_of(connection)
        found, used = compare_bills(made, self._auditor, self._month)
        if not used:
            found.append("nobody used anything: this proves nothing")
        claim = f"{len(accounts)} invoices are exact, over {used:,} octets"
        return Verdict(claim, found)

    def outbox(self) -> Verdict:
        """Everything committed has been published."""

        def is_empty() -> bool:
            self._cluster.look_after()
            time.sleep(0.1)
            return not self._cluster.rows("select 1 from stage_output limit 1")

        with contextlib.suppress(AssertionError):
            wait_until(is_empty, "the outbox to be empty", SETTLE_SECONDS)
        left = self._cluster.rows("select task, topic, count(*) from stage_output group by 1, 2")
        return Verdict("the outbox is empty", [f"{task}: {n} of {to}" for task, to, n in left])

    # -- once nothing is produced any more -----------------------------------------------------

    def rated(self) -> Rated:
        """Return the topic of rated usage, whole."""
        topic = physical_topic("usage.rated", 1)
        return read_rated(self._cluster.kafka.bootstrap, topic, PARTITIONS)

    def numbers(self, rated: Rated) -> Verdict:
        """Rated usage is numbered without a gap."""
        count = sum(rated.last_numbers.values())
        return Verdict(f"{count:,} records of rated usage without a gap", rated.problems)

    def octets(self, rated: Rated, answered: Sequence[AccountingEvent]) -> Verdict:
        """What the NAS was answered is rated, each octet once, and nothing else is."""
        volume = rated.rows.filter(
            (pl.col("meter_id") == "volume") & (pl.col("source") == "accounting")
        )
        sums = volume.group_by("subscriber_id").agg(pl.col("octets_up", "octets_down").sum())
        made = {self._subscribers.get(row[0], ""): (row[1], row[2]) for row in sums.iter_rows()}
        truth = self._auditor.truth
        found = []
        for login in sorted({*truth.logins(), *made}):
            wanted = truth.counted(login, 0, FOREVER, FOREVER)[:2]
            if made.get(login, (0, 0)) != wanted:
                got = made.get(login)
                found.append(f"octets (up, down) of {login} should be {wanted}, are {got}")
        claim = (
            f"{len(answered):,} answered accounting requests of {len(truth.logins())} lines:"
            " every octet is rated once"
        )
        return Verdict(claim, found)

    def balances(self, received: Mapping[str, int], told: str) -> Verdict:
        """Every top-up that was answered is on its balance, once."""
        for key, amount_minor in received.items():
            self._auditor.top_up(key, amount_minor)
        with reading(self._engine) as connection:
            rows = connection.execute(select(tables.balance))
            shown = {row.rating_key: row.amount_minor for row in rows}
        prepaid = {s.key for s in self._auditor.sales if s.tariff.is_prepaid}
        now = self._cluster.clock.now_ms()
        wanted = {key: self._auditor.balance_minor(key, now) for key in prepaid}
        found = [
            f"balance of {key} should be {wanted[key]}, is {shown.get(key)}"
            for key in sorted(prepaid)
            if shown.get(key) != wanted[key]
        ]
        return Verdict(f"{len(prepaid)} prepaid balances are exact, {told}", found)

    def ledger(self) -> Verdict:
        """The ledger balances and nobody altered it."""
        found = []
        with reading(self._engine) as connection:
            sums: dict[str, int] = {}
            for (_, currency), amount in ledger.trial_balance(
                connection, BRANCH["branch_id"]
            ).items():
                sums[currency] = sums.get(currency, 0) + amount
            found += [f"{currency} sums to {amount}" for currency, amount in sums.items() if amount]
            broken = ledger.broken_link(connection, BRANCH["branch_id"])
            if broken is not None:
                found.append(f"the chain breaks at {broken}")
            head = ledger.chain_head(connection, BRANCH["branch_id"])
        if head is None:
            found.append("nothing was posted: this proves nothing")
        count = head.number if head else 0
        return Verdict(f"the ledger's {count} transactions balance, their chain is whole", found)

    def warehouse(self, rated: Rated) -> Verdict:
        """The warehouse holds each rated row once, and its rollups say the same."""
        topic = physical_topic("usage.rated", 1)

        def positions() -> dict[int, int]:
            self._cluster.look_after()
            query = f"select partition, last_position from sink_position where topic = '{topic}'"
            return {int(number): int(at) for number, at in self._cluster.rows(query)}

        wanted = {number: last for number, last in rated.last_numbers.items() if last}
        with contextlib.suppress(AssertionError):
            wait_until(lambda: positions() == wanted, "the sink", SETTLE_SECONDS)
        found = [] if positions() == wanted else [f"the sink is at {positions()}, not {wanted}"]
        names = ("octets_up", "octets_down", "packets_up", "packets_down", "quantity", "charge")
        sent = rated.rows.select(pl.len(), pl.col(*names).sum()).row(0)
        columns = ", ".join(f"sum({name})" for name in names)
        reader: Any = self._cluster.warehouse()
        [held] = reader.query(f"select count(), {columns} from usage_rated").result_rows
        reader.close()
        if tuple(held) != sent:
            found.append(f"the sums should be {sent}, are {tuple(held)}")
        found += self._rollups()
        return Verdict(f"the warehouse holds {sent[0]:,} rated rows once, rollups too", found)

    def _rollups(self) -> list[str]:
        writer = self._cluster.warehouse(may_write=True)
        intents = PostgresIntentStore(libpq_url(self._cluster.settings))
        checker = Checker(writer, intents, 1, Counters(), CheckRules())
        report = checker.run(is_repairing=False)
        writer.close()
        intents.close()
        return [str(finding) for finding in report.findings]

    def alarms(self) -> Verdict:
        """No process has missed data, and nothing was refused as unreadable."""
        found = [
            f"{role.name}: {line[:200]}"
            for role in self._cluster.roles.values()
            for line in role.output().splitlines()
            if any(alarm in line for alarm in ALARMS)
        ]
        topic = physical_topic("dead.letters", 1)
        consumer = KafkaConsumer(bootstrap_servers=self._cluster.kafka.bootstrap)
        places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        letters = sum(consumer.end_offsets(places).values())
        consumer.close()
        if letters:
            found.append(f"{letters} dead letters")
        return Verdict("no alarm of missing data, no dead letter", found)


def ends(statuses: Mapping[str, int | None]) -> Verdict:
    """Every role ended in order when asked."""
    found = [f"{name} ended with {status}" for name, status in statuses.items() if status]
    return Verdict(f"{len(statuses)} roles end in order", found)


Check = Callable[[], Verdict]


def verdict_of(check: Check) -> Verdict:
    """Run a check; one that cannot be made speaks against itself."""
    try:
        return check()
    except Exception as error:
        return Verdict(f"{check} could be made", [f"{type(error).__name__}: {error}"])
