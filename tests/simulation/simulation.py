"""One seed from beginning to end: what is drawn from it, what is lived, what is compared."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import random
import zoneinfo
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from billing.adapters.billing_run import post_usage, run_billing
from billing.config import BillingConfig
from infra.simulation.network import NetworkConfig, static_name_of, static_prefix_of, user_name_of
from tests.simulation.business import Business
from tests.simulation.comparison import differences
from tests.simulation.machine import Machine
from tests.simulation.transport import Weather
from tests.simulation.world import World, WorldConfig

TIMEZONES = ("Asia/Kathmandu", "Asia/Dhaka", "Europe/Berlin", "UTC", "America/St_Johns")
MONTHS = ((2026, 1), (2026, 2), (2026, 3), (2026, 11), (2026, 12))
"""Months that begin at the end of which a simulation lives: one of 28 days, one with a change of
clocks, one at a year's end."""


PLANS = (
    *("overage", "graduated", "volume", "prepaid", "fair-use"),
    *("two-way", "by-the-day", "weighted", "overage", "prepaid"),
)
"""Plans of the first lines in order; the lines behind them are members of pools."""


@dataclasses.dataclass(frozen=True, slots=True)
class Features:
    """What happens beside plain usage."""

    reboots: bool = True
    plan_changes: bool = True
    pool_moves: bool = True
    late_usage: bool = False
    endings: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a seed decides."""

    world: WorldConfig
    timezone: str
    month_end_at: int
    features: Features
    before_minutes: int
    founded_days_before: int


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed. differences is empty where not one octet or cent differs."""

    seed: int
    differences: list[str]
    deaths: int


def plan_of(seed: int, **changes: object) -> Plan:
    """Return what a seed decides; changes replace fields of the world's config."""
    chance = random.Random(seed)
    timezone = chance.choice(TIMEZONES)
    year, month = chance.choice(MONTHS)
    zone = zoneinfo.ZoneInfo(timezone)
    month_end = datetime.datetime(year + month // 12, month % 12 + 1, 1, tzinfo=zone)
    month_end_at = int(month_end.timestamp()) * 1000
    founded_days_before = chance.choice((0, 0, 1, 9, 27))
    before_minutes = chance.randint(5, 8)
    start_at = month_end_at - founded_days_before * 86_400_000 - before_minutes * 60_000
    network = NetworkConfig(
        seed=seed,
        subscribers=chance.randint(10, 14),
        interim_interval_seconds=chance.choice((5, 10, 20)),
        session_mean_seconds=chance.choice((60, 200, 600)),
        mean_rate_down_bps=chance.choice((2_000_000, 8_000_000, 300_000_000)),
        ipfix_sampling_rate=chance.choice((1, 10)),
        shared_addresses=chance.choice((0, 12, 16)),
        static_lines=chance.choice((0, 2)),
    )
    weather = Weather(
        loss=chance.choice((0.0, 0.1, 0.3)),
        repeat=chance.choice((0.0, 0.2)),
        delay_max_seconds=chance.choice((0, 2, 6)),
    )
    world = WorldConfig(
        seed=seed,
        start_seconds=start_at // 1000,
        weather=weather,
        death_probability=chance.choice((0.0, 0.01, 0.05)),
        partitions=chance.choice((1, 8)),
        engine_interval_seconds=chance.choice((3, 7, 7, 45)),
        batch_blocks_max=chance.choice((3, 16, 64)),
        network=network,
    )
    features = Features(
        late_usage=chance.random() < 0.35,
        reboots=chance.random() < 0.5,
        endings=chance.random() < 0.5,
    )
    return Plan(
        dataclasses.replace(world, **changes),  # type: ignore[arg-type]
        timezone,
        month_end_at,
        features,
        before_minutes,
        founded_days_before,
    )


class Simulation:
    """One plan being lived. `live` takes it to the end of its invoices."""

    def __init__(self, directory: Path, plan: Plan, machine: Machine | None = None) -> None:
        """Build world and business; nothing has happened yet."""
        self.plan = plan
        self.world = World(directory, plan.world, machine)
        lateness_ms = plan.world.lateness_seconds * 1000
        self.business = Business(self.world, plan.timezone, lateness_ms)
        self._chance = random.Random(f"business {plan.world.seed}")
        self.periods = [self.business.auditor.period_of(plan.month_end_at - 1)]

    def close(self) -> None:
        """Free what is open."""
        self.business.close()
        self.world.close()

    def live(self) -> None:
        """Found the ISP, live around the month's end, bill it, and a second month if asked."""
        self._found()
        self.world.run_engine()
        end = self.plan.month_end_at // 1000
        begin = end - self.plan.before_minutes * 60
        if begin > self.world.seconds:
            self.world.jump(begin)
        events = self._events(begin, end)
        while self.world.seconds < end + 180:
            for act in events.pop(self.world.seconds + 1, ()):
                act()
            self.world.second()
        if self.plan.features.late_usage:
            self._be_late()
        self.world.is_nas_cut_off = False
        self.world.drain()
        self.bill(self.periods[0])
        if self.plan.features.late_usage:
            period = self.business.auditor.period_of(self.plan.month_end_at)
            self.periods.append(period)
            self.bill(period)

    def bill(self, period: tuple[int, int]) -> None:
        """Let a period close, post its days and make its invoices."""
        close_at = self.business.auditor.close_at(period)
        # A minute later every flow has found its owner, too.
        self.world.jump(max(self.world.seconds + 60, close_at // 1000 + 1))
        self.world.run_office(self._make_invoices)

    def _make_invoices(self) -> None:
        database, config, now = self.world.database, BillingConfig(), self.world.now_ms()
        while post_usage(database, config, now):
            pass
        run_billing(database, config, now)

    def _be_late(self) -> None:
        """The NAS cannot reach us until the month is closed: its last reports come late."""
        end = self.plan.month_end_at // 1000 + self.plan.world.lateness_seconds
        while self.world.seconds < end + 30:
            self.world.second()

    def _found(self) -> None:
        network, business = self.plan.world.network, self.business
        business.open_pool("hill", "family")
        business.open_pool("dale", "family")
        for index in range(network.subscribers):
            login = user_name_of(index)
            if index >= len(PLANS):
                business.connect(login, None, account="hill")
                business.join(login, "hill" if index % 2 else "dale")
                continue
            business.connect(login, PLANS[index])
            if PLANS[index] == "prepaid":
                business.top_up(login, self._chance.randrange(1_000, 90_000))
        for index in range(network.static_lines):
            business.connect(static_name_of(index), "leased", prefix=static_prefix_of(index))

    def _events(self, begin: int, end: int) -> dict[int, list[Callable[[], None]]]:
        """Return what clerks and fate do, by second."""
        features, chance, business = self.plan.features, self._chance, self.business
        events: dict[int, list[Callable[[], None]]] = {}

        def at(second: int, act: Callable[[], None]) -> None:
            events.setdefault(second, []).append(act)

        def some_second() -> int:
            return chance.randrange(begin + 90, end + 100)

        if features.plan_changes:
            at(some_second(), lambda: business.change_plan(user_name_of(0), "graduated"))
            at(some_second(), lambda: business.change_plan(user_name_of(1), "volume"))
            at(some_second(), lambda: business.change_plan(user_name_of(7), "overage"))
            at(some_second(), lambda: business.change_plan(user_name_of(8), "weighted"))
        if features.pool_moves:
            leaving = chance.randrange(begin + 90, end - 60)
            at(chance.randrange(begin + 70, end), lambda: business.join(user_name_of(4), "dale"))
            at(leaving, lambda: self._move_over(user_name_of(10)))
        for login in (user_name_of(3), user_name_of(9)):
            amount_minor = chance.randrange(100, 50_000)
            at(some_second(), functools.partial(business.top_up, login, amount_minor))
        if features.endings:
            at(some_second(), lambda: business.end(user_name_of(2)))
            for login in (user_name_of(5), user_name_of(6)):
                # Just before the month's end, when the NAS may be cut off already.
                at(chance.randrange(end - 115, end - 5), functools.partial(business.end, login))
        if features.reboots:
            at(chance.randrange(begin + 60, end - 70), lambda: self.world.reboot_nas("b"))
            at(chance.randrange(end + 1, end + 100), lambda: self.world.reboot_nas("c"))
        if features.late_usage:
            at(chance.randrange(end - 100, end - 5), self._cut_off_nas)
        return events

    def _cut_off_nas(self) -> None:
        self.world.is_nas_cut_off = True

    def _move_over(self, login: str) -> None:
        """A member leaves one pool for its own name."""
        pool = "hill" if int(login[-4:]) % 2 else "dale"
        if login in self.business.keys:
            self.business.leave(login, pool)


@contextmanager
def lived(directory: Path, plan: Plan, machine: Machine | None = None) -> Iterator[Simulation]:
    """Live a plan to its invoices, on a machine or (None) embedded, and hand it over."""
    simulation = Simulation(directory, plan, machine)
    try:
        simulation.live()
        yield simulation
    finally:
        simulation.close()


def run_seed(directory: Path, seed: int) -> Outcome:
    """Return what came of a seed, with every difference found."""
    with lived(directory, plan_of(seed)) as simulation:
        found = differences(simulation.world, simulation.business, simulation.periods)
        return Outcome(seed, found, simulation.world.deaths)
