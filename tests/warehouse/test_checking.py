"""The check of rollups: what differs from the base is found, named and rebuilt; no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.generations import check, open_file, own_generations, sink_all, topic_of
from tests.warehouse.records_made import MINUTE, MemoryTopic, rated, rated_rows
from warehouse.checking import Checker, CheckRules
from warehouse.intents import HeldError, Intent, Source
from warehouse.metrics import Counters
from warehouse.migrations import migrate
from warehouse.store import Store
from warehouse.tables import ROLLUPS

GENERATION = 41
SOURCE = Source(GENERATION, "usage.rated", 0)


def fingerprint(writer: Any, table: str) -> list[str]:
    return [str(writer.command(f"SELECT count(), sum(cityHash64(*)) FROM {table}_{GENERATION}"))]


def months(writer: Any) -> list[int]:
    text = writer.command(
        "SELECT arrayStringConcat(arraySort(groupUniqArray(_partition_id)), ' ')"
        f" FROM usage_rated_{GENERATION}"
    )
    return [int(word) for word in str(text).split()]


DAMAGES = {
    "a row twice": "INSERT INTO {t} SELECT * FROM {t} WHERE {p} LIMIT 1"
    " SETTINGS insert_deduplicate = 0",
    "a partition lost": "ALTER TABLE {t} DROP PARTITION {m}",
    "a row lost": "ALTER TABLE {t} DELETE WHERE {p} AND cityHash64({k}) % 7 = 0"
    " SETTINGS mutations_sync = 2",
}


@pytest.mark.parametrize(
    ("table", "damage"),
    list(zip((ROLLUPS[0], ROLLUPS[2], ROLLUPS[4]), DAMAGES, strict=True)),
    ids=lambda value: getattr(value, "name", value),
)
def test_a_damaged_partition_is_found_named_and_rebuilt(
    store: Store, tmp_path: Path, table: Any, damage: str
) -> None:
    intents = open_file(tmp_path)
    with own_generations(store, GENERATION) as writer:
        migrate(writer, GENERATION, 1, is_current=False)
        sink_all(writer, intents, topic_of(6), GENERATION)
        month = months(writer)[0]
        assert check(writer, intents, GENERATION).findings == ()
        base = fingerprint(writer, "usage_rated")
        others = [fingerprint(writer, t.name) for t in ROLLUPS if t is not table]
        writer.command(
            DAMAGES[damage].format(
                t=f"{table.name}_{GENERATION}",
                p=f"{table.partition_by} = {month}",
                m=month,
                k=", ".join(table.order_by),
            )
        )
        told = check(writer, intents, GENERATION)
        assert [(f.table, f.month, f.is_repaired) for f in told.findings] == [
            (table.name, month, False)
        ]
        assert not told.is_clean
        mended = check(writer, intents, GENERATION, is_repairing=True)
        assert [(f.table, f.month, f.is_repaired) for f in mended.findings] == [
            (table.name, month, True)
        ]
        assert mended.is_clean
        assert f"{table.name} {month}: " in str(mended.findings[0])
        assert check(writer, intents, GENERATION).findings == ()
        assert fingerprint(writer, "usage_rated") == base
        assert [fingerprint(writer, t.name) for t in ROLLUPS if t is not table] == others
        assert int(str(writer.command(f"EXISTS {table.name}_{GENERATION}_shadow"))) == 0
        # The sink's inserts still reach the partition that was swapped.
        sink_all(writer, intents, topic_of(9), GENERATION)
        assert check(writer, intents, GENERATION).findings == ()
    intents.close()


def test_usage_received_within_its_own_minute_is_no_difference(
    store: Store, tmp_path: Path
) -> None:
    """Its lag is below 0; an insert without any lag says 0 in the rollup."""
    early = rated(received_at=MINUTE * 60_000 + 9_000, octets_up=900, seconds=9)
    moved = rated(received_at=MINUTE * 60_000 + 9_000, octets_up=-100)
    records = [(1, rated_rows([early])), (2, rated_rows([moved]))]
    intents = open_file(tmp_path)
    with own_generations(store, GENERATION) as writer:
        migrate(writer, GENERATION, 1, is_current=False)
        sink_all(writer, intents, MemoryTopic(records[:1]), GENERATION)
        sink_all(writer, intents, MemoryTopic(records), GENERATION)
        assert check(writer, intents, GENERATION).findings == ()
    intents.close()


def test_inserts_wait_while_a_partition_is_rebuilt(store: Store, tmp_path: Path) -> None:
    intents = open_file(tmp_path)
    with own_generations(store, GENERATION) as writer:
        migrate(writer, GENERATION, 1, is_current=False)
        sink_all(writer, intents, topic_of(4), GENERATION)
        writer.command(f"ALTER TABLE subscriber_day_{GENERATION} DELETE WHERE 1"
                       " SETTINGS mutations_sync = 2")  # fmt: skip
        refused = []

        class Watched:
            """Tries to begin an insert whenever the check runs a statement that writes."""

            def command(self, cmd: str) -> object:
                if cmd.startswith(("INSERT", "ALTER")):
                    with pytest.raises(HeldError):
                        intents.begin(SOURCE, Intent(5, 5, 1))
                    refused.append(cmd.split()[0])
                return writer.command(cmd)

        report = Checker(Watched(), intents, GENERATION, Counters(), CheckRules()).run()
        assert report.is_clean
        assert "ALTER" in refused
        intents.begin(SOURCE, Intent(5, 5, 1))
    intents.close()


def test_a_check_gives_up_where_an_insert_never_ends(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("warehouse.checking.QUIET_WAIT_SECONDS", 0.2)
    intents = open_file(tmp_path)
    with own_generations(store, GENERATION) as writer:
        migrate(writer, GENERATION, 1, is_current=False)
        sink_all(writer, intents, topic_of(4), GENERATION)
        writer.command(f"TRUNCATE TABLE subscriber_day_{GENERATION}")
        intents.begin(SOURCE, Intent(5, 5, 1))
        report = check(writer, intents, GENERATION, is_repairing=True)
        assert {f.table for f in report.findings} == {"subscriber_day"}
        assert not report.is_clean
        intents.commit(SOURCE, Intent(5, 5, 1))
        assert check(writer, intents, GENERATION, is_repairing=True).is_clean
    intents.close()
