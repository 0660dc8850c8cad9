"""A handful of seeds in the test run (`make simulate` runs more), and proof that they can fail."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation import __main__ as command
from tests.simulation.comparison import differences
from tests.simulation.simulation import Outcome, Simulation, lived, plan_of, run_seed

ROOT = Path(__file__).parent.parent.parent
SEEDS = (8, 12, 15)
"""Between them: every tariff, 1 and 8 partitions, deaths, reboots, late usage, leavers, both
together (12), lag."""


@pytest.mark.parametrize("seed", SEEDS)
def test_not_one_octet_or_cent_differs(tmp_path: Path, seed: int) -> None:
    assert run_seed(tmp_path, seed).differences == []


def test_the_seeds_cover_what_can_happen() -> None:
    plans = [plan_of(seed) for seed in SEEDS]
    assert {plan.world.partitions for plan in plans} == {1, 8}
    assert {plan.features.late_usage for plan in plans} == {True, False}
    assert any(plan.features.reboots for plan in plans)
    assert any(plan.features.endings and plan.features.late_usage for plan in plans)
    assert any(plan.features.endings and not plan.features.late_usage for plan in plans)
    assert any(plan.world.death_probability for plan in plans)
    assert any(plan.world.weather.loss for plan in plans)
    assert any(plan.world.network.shared_addresses for plan in plans)
    assert any(plan.world.network.static_lines for plan in plans)


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulation]:
    """A small simulation without trouble, in which the auditor finds nothing."""
    plan = plan_of(3, death_probability=0.0, partitions=1)
    plan = dataclasses.replace(plan, before_minutes=4)
    with lived(tmp_path_factory.mktemp("small"), plan) as lived_through:
        yield lived_through


def found(simulation: Simulation) -> list[str]:
    return differences(simulation.world, simulation.business, simulation.periods)


def test_the_auditor_finds_nothing_where_nothing_is_wrong(simulation: Simulation) -> None:
    assert found(simulation) == []


def test_the_auditor_finds_one_octet(simulation: Simulation) -> None:
    [reports] = [
        reports
        for (login, _), reports in simulation.world.truth._reports.items()
        if login == "line0000"
    ][:1]
    last = max(reports, key=lambda report: report.at)
    counters = last.counters
    last.counters = (counters[0] + 1, counters[1], counters[2])
    try:
        assert any("octets (up, down) of line0000" in line for line in found(simulation))
    finally:
        last.counters = counters


def test_the_auditor_finds_one_cent(simulation: Simulation) -> None:
    sale = simulation.business.auditor.sales[0]
    tariff = sale.tariff
    sale.tariff = dataclasses.replace(tariff, fee=tariff.fee + 1)
    try:
        assert any("total should be" in line for line in found(simulation))
    finally:
        sale.tariff = tariff


def test_packets_acknowledged_and_lost_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Had the collector answered before its log was durable, this is what would be seen."""
    plan = plan_of(3, death_probability=0.0, partitions=1)
    made = Simulation(tmp_path, dataclasses.replace(plan, before_minutes=4))
    append = made.world.machine.append
    lost: list[bytes] = []

    def forgetful(log: str, kind: str, received_at: int, body: bytes) -> None:
        # The last ones: what an interim update said, the next one says again.
        late = received_at > plan.month_end_at + 160_000
        if log == "radius.accounting" and kind == "data" and late:
            lost.append(body)
            return
        append(log, kind, received_at, body)

    monkeypatch.setattr(made.world.machine, "append", forgetful)
    made.live()
    assert lost
    assert found(made) != []
    made.close()


def test_the_auditor_shares_nothing_with_what_it_audits() -> None:
    program = "import sys, tests.simulation.auditor; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert "infra" in loaded
    assert not loaded & {"rating", "billing", "collectors", "streams", "warehouse", "api"}


def test_the_command_says_how_many_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make simulate` names the failing seeds, how to replay them, and ends with a plain line."""

    def lived_badly(directory: Path, seed: int) -> Outcome:
        if seed == 8:
            raise RuntimeError("the engine cannot start")
        return Outcome(seed, ["a cent is missing"] if seed == 6 else [], deaths=0)

    monkeypatch.setattr(command, "run_seed", lived_badly)
    assert command.main(["--first", "5", "--seeds", "4"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 passed, 2 failed"
    assert "  a cent is missing" in lines
    assert "  RuntimeError: the engine cannot start" in lines
    for seed in (6, 8):
        assert f"  replay: python -m tests.simulation --first {seed} --seeds 1" in lines
    assert command.main(["--seeds", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 0 failed"
