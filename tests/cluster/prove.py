"""`python -m tests.cluster.prove`: the cluster makes the same books as the embedded engine.

Lives the recorded simulation embedded and through a real Kafka, PostgreSQL, collector and 1, 2 and
4 workers, once more while they are killed and paused, and compares the books octet by octet and
with the auditor. One line per comparison; the last line is ``N passed, N failed``, and the exit
status is 1 where any failed.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.faults import Faults
from tests.cluster.machine import ClusterMachine
from tests.cluster.servers import Kafka, Postgres
from tests.simulation import test_same_invoice as recorded
from tests.simulation.books import books_of
from tests.simulation.comparison import differences
from tests.simulation.simulation import Plan, lived, plan_of

PARTITIONS = 4
FAULT_SECONDS = 60.0
SECOND_LASTS = 0.1
"""How long a virtual second takes while processes are hurt, so that it happens amid work."""
SHOWN_CHARACTERS = 300


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """One life of a seed on the cluster."""

    seed: int
    workers: int
    is_hurt: bool = False

    def __str__(self) -> str:
        """Return it for people."""
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"seed {self.seed}, {workers}{', killed and paused' if self.is_hurt else ''}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every comparison; return the exit status."""
    options = _parser().parse_args(arguments)
    verdicts: list[bool] = []
    with tempfile.TemporaryDirectory(prefix="flowrate-prove-") as place:
        directory = Path(place)
        kafka, postgres = Kafka(directory / "kafka"), Postgres(directory / "postgres")
        for server in (kafka, postgres):
            server.directory.mkdir()
        try:
            kafka.start()
            postgres.start()
            for seed in range(options.first, options.first + options.seeds):
                verdicts += _prove(directory, seed, options.workers, (kafka, postgres))
        finally:
            kafka.kill()
            postgres.kill()
    failed = verdicts.count(False)
    print(f"{len(verdicts) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cluster.prove", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="how many (1)")
    parser.add_argument(
        "--first",
        type=int,
        default=recorded.SEED,
        metavar="S",
        help=f"the first seed ({recorded.SEED}, the recorded simulation)",
    )
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2, 4], metavar="N", help="(1 2 4)"
    )
    return parser


def plan(seed: int) -> Plan:
    """Return what is lived under a seed: the recorded simulation, or whatever the seed draws.

    Embedded and cluster see the same input in the same order, so nothing need be left out.
    """
    if seed == recorded.SEED:
        return recorded.plan()
    return plan_of(seed, death_probability=0.0)


def _prove(
    directory: Path, seed: int, workers: Sequence[int], servers: tuple[Kafka, Postgres]
) -> list[bool]:
    """Return the verdicts of one seed."""
    started = time.monotonic()
    place = directory / f"embedded-{seed}"
    place.mkdir()
    with lived(place, plan(seed)) as simulation:
        books = books_of(simulation.world)
    lines = books.count("\n") + 1
    print(f"seed {seed}, embedded: {lines} lines of books, {_since(started)}", flush=True)
    runs = [Run(seed, count) for count in workers] + [Run(seed, 2, is_hurt=True)]
    verdicts: list[bool] = []
    for run in runs:
        started = time.monotonic()
        try:
            verdicts += _compare(directory, run, books, servers)
        except Exception:
            told = traceback.format_exc()
            print(f"{run}: FAIL, {_since(started)}\n{told}", flush=True)
            verdicts.append(False)
    return verdicts


def _compare(directory: Path, run: Run, books: str, servers: tuple[Kafka, Postgres]) -> list[bool]:
    """Live one run and say what came of it: against the embedded books, against the auditor."""
    started = time.monotonic()
    kafka, postgres = servers
    made = plan(run.seed)
    place = directory / f"{run.seed}-{run.workers}{'-hurt' if run.is_hurt else ''}"
    place.mkdir()
    machine = ClusterMachine(
        place,
        made.world.stages,
        bootstrap=kafka.bootstrap,
        database_url=postgres.create_database(f"prove_{place.name.replace('-', '_')}"),
        partitions=PARTITIONS,
        workers=run.workers,
        faults=Faults(run.seed, FAULT_SECONDS) if run.is_hurt else None,
        second_lasts=SECOND_LASTS if run.is_hurt else 0.0,
    )
    with lived(place, made, machine) as simulation:
        found = books_of(simulation.world)
        told = differences(simulation.world, simulation.business, simulation.periods)
        if run.is_hurt and machine.faults:
            hurt = ", ".join(f"{kind} {n} times" for kind, n in sorted(machine.faults.done.items()))
            print(f"{run}: {hurt}")
    difference = first_difference(books, found)
    lines = found.count("\n") + 1
    verdict = "FAIL" if difference else "PASS"
    print(f"{run}: {lines} lines of books as embedded, {_since(started)}: {verdict}", flush=True)
    if difference:
        print(difference)
    rows = len(simulation.periods)
    verdict = "FAIL" if told else "PASS"
    print(f"{run}: {rows} months as the auditor counts them: {verdict}", flush=True)
    for line in told[:10]:
        print(f"  {line}")
    return [not difference, not told]


def first_difference(wanted: str, found: str) -> str:
    """Return the first line in which two books differ, as both have it; nothing where none does."""
    pairs = itertools.zip_longest(wanted.splitlines(), found.splitlines(), fillvalue="(no line)")
    for number, (one, other) in enumerate(pairs, start=1):
        if one != other:
            at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
            begin = max(0, at - SHOWN_CHARACTERS // 2)
            ends = slice(begin, begin + SHOWN_CHARACTERS)
            return f"  line {number}\n  embedded: {one[ends]}\n  cluster:  {other[ends]}"
    return ""


def _since(started: float) -> str:
    return f"{time.monotonic() - started:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
