"""How fast stages' rows get into PostgreSQL: upserts through COPY against a plain COPY.

Run ``python -m tests.benchmarks.bench_rows [rows a batch at most] [rounds]``. Prints rows per
second, the best of the rounds, per size of a batch: plain COPY into an empty table of the same
shape and key (what the server can take at most), our batch of new keys and of known ones
(updates), and one statement per row in a pipeline. The server is the tests' own, with fsync on; a
batch is one commit.
"""

from __future__ import annotations

import dataclasses
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from billing.adapters.databases import open_database, writing
from billing.adapters.rows import STATEMENTS_MAX, folded, upsert_statement, write_rows
from infra.migrate import migrate
from rating.rows import UsageCounter
from tests.cluster.servers import Postgres
from tests.databases import sqlalchemy_url

SIZES = (1, STATEMENTS_MAX, 100, 1_000, 10_000)
NAMES = [field.name for field in dataclasses.fields(UsageCounter)]
MONTH_AT = 1_793_469_600_000

Write = Callable[[Connection, Sequence[UsageCounter]], Any]


def counters(size: int, first: int, chance: random.Random) -> list[UsageCounter]:
    """Return counters of a month, shuffled as a step returns them."""
    rows = [
        UsageCounter(
            rating_key=f"sub_{first + number:010d}",
            period_start_at=MONTH_AT,
            segment_number=0,
            meter_id="data",
            period_end_at=MONTH_AT + 30 * 86_400_000,
            plan_id="home",
            plan_version=1,
            quantity=chance.randrange(10**12),
            allowance=500 * 10**9,
            amount_exact="1234567/1000",
            amount_minor=123_457,
            currency="BDT",
            updated_at=MONTH_AT + number,
        )
        for number in range(size)
    ]
    chance.shuffle(rows)
    return rows


def plain_copy(connection: Connection, rows: Sequence[UsageCounter]) -> None:
    """COPY rows into the empty table `plain`."""
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY plain ({', '.join(NAMES)}) FROM STDIN") as c:
        for row in folded(UsageCounter, rows).values():
            c.write_row(row)


def statements(connection: Connection, rows: Sequence[UsageCounter]) -> None:
    """Upsert rows one statement each."""
    values = list(folded(UsageCounter, rows).values())
    connection.exec_driver_sql(upsert_statement(UsageCounter, "postgresql"), values)


def rate(engine: Engine, write: Write, batches: Sequence[Sequence[UsageCounter]]) -> float:
    """Return the most rows per second over batches, each with its commit."""
    best = 0.0
    for rows in batches:
        with writing(engine) as connection:
            connection.exec_driver_sql("TRUNCATE plain")
        begun = time.perf_counter()
        with writing(engine) as connection:
            write(connection, rows)
        best = max(best, len(rows) / (time.perf_counter() - begun))
    return best


def measure(engine: Engine, size: int, rounds: int) -> None:
    """Print one line for batches of a size."""
    chance = random.Random(size)
    known = [counters(size, 0, chance) for _ in range(rounds)]
    new = [counters(size, (1 + number) * 10**6 + size, chance) for number in range(rounds)]
    rates = {
        "plain COPY": rate(engine, plain_copy, known),
        "new keys": rate(engine, write_rows, new),
        "known keys": rate(engine, write_rows, known),
        "statements": rate(engine, statements, known),
    }
    told = "  ".join(f"{name} {value:>9,.0f}" for name, value in rates.items())
    print(f"{size:>6} rows a batch, rows/s:  {told}")


def main() -> int:
    """Measure every size on a server of our own."""
    size_max = int(sys.argv[1]) if len(sys.argv) > 1 else SIZES[-1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    with tempfile.TemporaryDirectory() as directory:
        server = Postgres(Path(directory))
        server.start()
        try:
            url = sqlalchemy_url(server.url)
            migrate(url)
            engine = open_database(url)
            with writing(engine) as connection:
                connection.exec_driver_sql("CREATE TABLE plain (LIKE usage_counter INCLUDING ALL)")
                write_rows(connection, counters(100_000, 0, random.Random(0)))
            for size in SIZES:
                if size <= size_max:
                    measure(engine, size, rounds)
            engine.dispose()
        finally:
            server.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
