"""Two years of an ISP with an office in each of five time zones, from metered usage to paid bills.

The network is left out: usage comes as the stages before rate would measure it, so that months are
cheap. Rate, billing, ledger and API are the real ones. Lines come, change their plan, move between
pools, leave; usage comes late, after its month is closed; engine and office die anywhere; people
pay too little, too much, late, and with payments that bounce.
"""

from __future__ import annotations

import dataclasses
import datetime
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from sqlalchemy import Connection

from billing.adapters.billing_run import post_usage, run_billing
from billing.config import BillingConfig
from rating.config import RateConfig
from rating.ports import Batch, Block, Output, StateView, StepResult
from rating.records import Usage, frame_of
from rating.session_config import AttributionConfig, SessionsConfig
from streams.embedded import EmbeddedRunner
from streams.sessions import SessionsStageConfig
from streams.stage import Stage
from streams.topology import StageConfigs, build_stages
from tests.simulation.auditor import Auditor, Period
from tests.simulation.business import Branch, Business
from tests.simulation.catalog import TARIFFS
from tests.simulation.machine import EmbeddedMachine
from tests.simulation.tariffs import Tariff

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
LOG = "radius.accounting"

OFFICES = (
    (Branch("dhaka", "BDT", "DHK", "d"), "Asia/Dhaka"),
    (Branch("kathmandu", "NPR", "KTM", "k"), "Asia/Kathmandu"),
    (Branch("berlin", "EUR", "BER", "b"), "Europe/Berlin"),
    (Branch("auckland", "NZD", "AKL", "a"), "Pacific/Auckland"),
    (Branch("saint-johns", "CAD", "YYT", "s"), "America/St_Johns"),
)
"""No two have midnight together; three change their clocks, one of them in the other season."""

WITHOUT_FLOWS = tuple(t for t in TARIFFS if t.plan_id not in ("weighted", "leased", "fair-use"))
SINGLE = tuple(t.plan_id for t in WITHOUT_FLOWS if t.plan_id != "family")


@dataclasses.dataclass(frozen=True, slots=True)
class Used:
    """One minute of a line as metering measured it."""

    login: str
    session: str
    minute: int
    octets_up: int
    octets_down: int
    seconds: int
    received_at: int


@dataclasses.dataclass(slots=True)
class YearsTruth:
    """What was used; answers what the auditor asks of `tests.simulation.truth.Truth`."""

    static_prefixes: dict[str, Any] = dataclasses.field(default_factory=dict)
    used: dict[str, list[Used]] = dataclasses.field(default_factory=lambda: defaultdict(list))

    def sessions(self, login: str) -> list[str]:
        """Return the sessions of a line."""
        return sorted({used.session for used in self.used[login]})

    def counted(
        self, login: str, from_at: int, until_at: int, before: int, session: str | None = None
    ) -> tuple[int, int, int]:
        """Return (up, down, seconds) of the minutes in [from_at, until_at) received in time."""
        found = [
            used
            for used in self.used[login]
            if from_at <= used.minute * MINUTE_MS < until_at
            and used.received_at < before
            and session in (None, used.session)
        ]
        return (
            sum(used.octets_up for used in found),
            sum(used.octets_down for used in found),
            sum(used.seconds for used in found),
        )


@dataclasses.dataclass(slots=True)
class Feed:
    """A raw log of batches of usage, and the stage that hands them on as measured."""

    frames: list[pl.DataFrame] = dataclasses.field(default_factory=list)
    blocks: list[Block] = dataclasses.field(default_factory=list)

    def append(self, frame: pl.DataFrame, through_at: int) -> None:
        """Append a batch, and behind it the word that all is received through an instant."""
        self.frames.append(frame)
        body = str(len(self.frames) - 1).encode()
        for kind, octets in (("data", body), ("marker", b"")):
            self.blocks.append(Block(len(self.blocks) + 1, kind, through_at, octets))

    def read(self, after: int, limit: int) -> Sequence[Block]:
        """Return the blocks behind a number."""
        return self.blocks[after : after + limit]

    def step(self, view: StateView, batch: Batch, *, watermark_at: int) -> StepResult:
        """Put the batches out as measured usage."""
        frames = [self.frames[int(block.body)] for block in batch.blocks]
        return StepResult((), [Output("usage.measured", frame) for frame in frames])


class MeteredMachine(EmbeddedMachine):
    """The embedded machine with a feed of usage in place of the stages before rate."""

    def __init__(self, directory: Path, *, seed: int, death_probability: float) -> None:
        """Make the database, and start the engine."""
        self.feed = Feed()
        configs = StageConfigs(
            decode=None,
            sessions=SessionsStageConfig(SessionsConfig(), None),  # type: ignore[arg-type]
            attribute=AttributionConfig(),
            rate=RateConfig(),
        )
        super().__init__(
            directory,
            configs,
            seed=seed,
            partitions=1,
            batch_blocks_max=64,
            death_probability=death_probability,
        )

    def _start_engine(self) -> EmbeddedRunner:
        [rate] = [stage for stage in build_stages(self._stages) if stage.name == "rate"]
        measured = Stage("measured", self.feed.step, {}, LOG, produces=("usage.measured",))
        stages, readers = (measured, rate), {LOG: self.feed}
        return EmbeddedRunner(
            self._begin_mortal, stages, readers, self._write_mortal, self._streams
        )


class Office(Business):
    """A branch that also takes money."""

    def __init__(self, years: Years, branch: Branch, timezone: str, chance: random.Random) -> None:
        """Open the branch with a price list of its own."""
        tariffs = [
            dataclasses.replace(tariff, plan_id=f"{branch.branch_id}-{tariff.plan_id}")
            for tariff in WITHOUT_FLOWS
        ]
        super().__init__(years, timezone, years.lateness_ms, tariffs, branch)
        self.branch = branch
        self._years = years
        self._chance = chance
        self._names = 0
        self.lines: list[str] = []
        self.pooled: dict[str, str] = {}
        self.paid: dict[str, int] = defaultdict(int)
        self.returnable: list[tuple[str, str, int]] = []
        self.tariff_of: dict[str, Tariff] = {tariff.plan_id: tariff for tariff in tariffs}
        self.open_pool(self._pool("hill"), f"{branch.branch_id}-family")
        self.open_pool(self._pool("dale"), f"{branch.branch_id}-family")

    def _pool(self, name: str) -> str:
        return f"{self.branch.branch_id}-{name}"

    def _some_plan(self, than: str = "") -> str:
        """Return a postpaid plan other than one."""
        kinds = [p for p in SINGLE if p != "prepaid" and not than.endswith(p)]
        return f"{self.branch.branch_id}-{self._chance.choice(kinds)}"

    def comes(self) -> None:
        """Connect a new line: on a plan of its own, prepaid, or as a pool's member."""
        self._names += 1
        login = f"{self.branch.branch_id}{self._names:03d}"
        kind = self._chance.randrange(5)
        self.lines.append(login)
        if kind == 0:
            pool = self._pool(self._chance.choice(("hill", "dale")))
            self.connect(login, None, account=pool)
            self.join(login, pool)
            self.pooled[login] = pool
        elif kind == 1:
            self.connect(login, f"{self.branch.branch_id}-prepaid")
            self.top_up(login, self._chance.randrange(1_000, 500_000))
        else:
            self.connect(login, self._some_plan())

    def _single(self) -> str | None:
        """Return some line with a postpaid plan of its own."""
        held = [
            name for name in self.lines if name in self.subscriptions and not self._is_prepaid(name)
        ]
        return self._chance.choice(held) if held else None

    def _is_prepaid(self, login: str) -> bool:
        return any(
            sale.key == self.keys[login] and sale.tariff.is_prepaid for sale in self.auditor.sales
        )

    def changes_plan(self) -> None:
        """Put some line on another plan."""
        if name := self._single():
            held = [s.tariff.plan_id for s in self.auditor.sales if s.key == self.keys[name]]
            self.change_plan(name, self._some_plan(held[-1]))

    def leaves(self) -> None:
        """End some line's plan."""
        if (name := self._single()) and len(self.lines) > 3:
            self.end(name)
            self.lines.remove(name)
            del self.subscriptions[name]

    def moves(self) -> None:
        """Move some member from its pool to the other one."""
        if not self.pooled:
            return
        login = self._chance.choice(sorted(self.pooled))
        pool = self.pooled[login]
        other = self._pool("dale" if pool.endswith("hill") else "hill")
        self.join(login, other)
        self.pooled[login] = other

    def tops_up(self) -> None:
        """Add money to some prepaid line."""
        held = [name for name in self.lines if name in self.keys and self._is_prepaid(name)]
        if held:
            self.top_up(self._chance.choice(held), self._chance.randrange(1, 300_000))

    def is_paid(self) -> None:
        """Take a payment of some account: too little, enough, or too much."""
        account = self.accounts[self._chance.choice(sorted(self.accounts))]
        amount = self._chance.choice((1, 5_000, 49_995, 100_000, 333_333))
        body = {"amount_minor": amount, "currency": self.branch.currency, "method": "bank"}
        made = self.post(f"/v1/accounts/{account}/payments", **body)
        self.paid[account] += amount
        self.returnable.append((account, made["payment_id"], amount))

    def is_paid_in_flight(self) -> None:
        """Let a payment be announced that comes, or does not."""
        account = self.accounts[self._chance.choice(sorted(self.accounts))]
        body = {"amount_minor": 7_777, "currency": self.branch.currency, "is_pending": True}
        made = self.post(f"/v1/accounts/{account}/payments", method="wallet", **body)
        if self._chance.random() < 0.5:
            self.post(f"/v1/payments/{made['payment_id']}/fail", reason="no money")
        else:
            self.post(f"/v1/payments/{made['payment_id']}/settle")
            self.paid[account] += 7_777

    def bounces(self) -> None:
        """Let some payment of before bounce."""
        if self.returnable:
            place = self._chance.randrange(len(self.returnable))
            account, payment_id, amount = self.returnable.pop(place)
            self.post(f"/v1/payments/{payment_id}/reverse", reason="bounced")
            self.paid[account] -= amount


class Years:
    """The ISP and its clock. `live` takes it to the end; `offices` tell what was decided."""

    def __init__(self, directory: Path, seed: int, months: int, death_probability: float) -> None:
        """Found the ISP on the first of January 2027, UTC; nobody is connected yet."""
        self._chance = random.Random(f"years {seed}")
        self.lateness_ms = RateConfig().lateness_bound_ms
        self.began_at = self._now_at = _utc(2027, 1)
        self.ends_at = _utc(2027 + months // 12, months % 12 + 1) + DAY_MS
        self.truth = YearsTruth()
        self.machine = MeteredMachine(directory, seed=seed, death_probability=death_probability)
        self.database = self.machine.database
        self._late: list[Used] = []
        self._fresh: list[Used] = []
        self.offices = [
            Office(self, branch, timezone, random.Random(f"{branch.branch_id} {seed}"))
            for branch, timezone in OFFICES
        ]
        for office in self.offices:
            for _ in range(3):
                office.comes()

    def close(self) -> None:
        """Free what is open."""
        for office in self.offices:
            office.close()
        self.machine.close()

    def now_ms(self) -> int:
        """Return what time it is."""
        return self._now_at

    def append_rows(
        self, connection: Connection, topic: str, producer: str, frame: pl.DataFrame
    ) -> None:
        """Append for the API, in its transaction."""
        self.machine.append_rows(connection, topic, producer, frame)

    @property
    def deaths(self) -> int:
        """Return how often something died."""
        return self.machine.deaths

    # -- living --------------------------------------------------------------------------------

    def live(self, on_billed: Callable[[], None] = lambda: None) -> None:
        """Live to the end; on_billed is called after each billing that made something."""
        while self._now_at < self.ends_at:
            before = self._now_at
            hours = self._chance.randrange(20, 60)
            self._now_at = min(before + hours * HOUR_MS, self._next_closing(before))
            self._use(before)
            for office in self.offices:
                for _ in range(self._chance.choice((0, 0, 1, 1, 2))):
                    self._decide(office)
            self._tell()
            if self.bill():
                on_billed()
        # What was decided last takes effect with the next minute.
        self._now_at += 2 * MINUTE_MS
        self._tell()
        self.bill()

    def periods(self, office: Office) -> list[Period]:
        """Return an office's closed periods, ascending."""
        auditor = office.auditor
        found = []
        period = auditor.period_of(self.began_at)
        while auditor.close_at(period) <= self._now_at:
            found.append(period)
            period = auditor.period_of(period[1])
        return found

    def _next_closing(self, after: int) -> int:
        """Return the next instant at which some office's month closes, and two minutes more."""
        auditors: list[Auditor] = [office.auditor for office in self.offices]
        closings = []
        for auditor in auditors:
            at = auditor.close_at(auditor.period_of(after - self.lateness_ms - 2 * MINUTE_MS))
            closings.append(at + 2 * MINUTE_MS)
        return min(at for at in closings if at > after)

    def _decide(self, office: Office) -> None:
        acts: Sequence[tuple[int, Callable[[], None]]] = (
            (2, office.comes),
            (2, office.changes_plan),
            (1, office.leaves),
            (1, office.moves),
            (2, office.tops_up),
            (4, office.is_paid),
            (1, office.is_paid_in_flight),
            (1, office.bounces),
        )
        [act] = self._chance.choices([act for _, act in acts], [weight for weight, _ in acts])
        act()

    def _use(self, before: int) -> None:
        """Let every line use something since an instant; a few minutes of it are told late."""
        first, last = before // MINUTE_MS + 1, self._now_at // MINUTE_MS - 1
        for office in self.offices:
            for login in office.lines:
                for _ in range(self._chance.choice((0, 1, 1, 2))):
                    minute = self._chance.randrange(first, last)
                    used = Used(
                        login,
                        f"{login}/{minute // 1_000}",
                        minute,
                        self._chance.randrange(40_000_000),
                        self._chance.randrange(400_000_000),
                        self._chance.randrange(1, 61),
                        0,
                    )
                    if self._chance.random() < 0.03:
                        self._late.append(used)
                    else:
                        self._receive(used, before)

    def _receive(self, used: Used, before: int) -> None:
        received_at = self._chance.randrange(
            max(before, (used.minute + 1) * MINUTE_MS), self._now_at
        )
        self.truth.used[used.login].append(dataclasses.replace(used, received_at=received_at))
        self._fresh.append(self.truth.used[used.login][-1])

    def _tell(self) -> None:
        """Hand on what was received, late minutes of the month before too, and run the engine."""
        for used in [used for used in self._late if self._is_told_now(used)]:
            self._late.remove(used)
            told = dataclasses.replace(used, received_at=self._now_at - 1)
            self.truth.used[used.login].append(told)
            self._fresh.append(told)
        rows = [row for used in self._fresh if (row := self._row(used)) is not None]
        self.machine.feed.append(frame_of(Usage, rows), self._now_at)
        self._fresh.clear()
        self.machine.run_engine(self._now_at, wait=True)

    def _is_told_now(self, used: Used) -> bool:
        """Say whether a late minute is told: behind its month's closing, before the next one's."""
        [auditor] = [o.auditor for o in self.offices if used.login.startswith(o.branch.branch_id)]
        period = auditor.period_of(used.minute * MINUTE_MS)
        following = auditor.period_of(period[1])
        opens_at, closes_at = auditor.close_at(period), auditor.close_at(following)
        if not opens_at < self._now_at - 1 < closes_at:
            return False
        return self._chance.random() < 0.3 or self._now_at > closes_at - 4 * DAY_MS

    def _row(self, used: Used) -> Usage | None:
        """Return a minute as measured usage of whoever shares the line's counters then."""
        at = used.minute * MINUTE_MS
        for office in self.offices:
            for member in office.auditor.memberships:
                if member.login == used.login and member.from_at <= at < member.until_at:
                    return Usage(
                        rating_key=member.key,
                        subscriber_id=office.keys[used.login],
                        source="accounting",
                        session_id=used.session,
                        traffic_class="unclassified",
                        minute=used.minute,
                        octets_up=used.octets_up,
                        octets_down=used.octets_down,
                        packets_up=1,
                        packets_down=1,
                        seconds=used.seconds,
                        received_at=used.received_at,
                    )
        return None

    # -- billing -------------------------------------------------------------------------------

    def bill(self) -> int:
        """Let the office work, sometimes twice at once; return how many invoices there are more."""
        made: list[int] = []

        def work() -> None:
            config, now = BillingConfig(), self._now_at
            while post_usage(self.database, config, now):
                pass
            counts = run_billing(self.database, config, now)
            made.append(counts["invoices_finalized"] + counts["notes_finalized"])

        if self._chance.random() < 0.2:
            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            self.machine.run_office(work)
        return sum(made)

    def paid(self) -> Mapping[str, int]:
        """Return what each account has paid that did not bounce."""
        return {account: minor for office in self.offices for account, minor in office.paid.items()}


def _utc(year: int, month: int) -> int:
    return int(datetime.datetime(year, month, 1, tzinfo=datetime.UTC).timestamp()) * 1000
