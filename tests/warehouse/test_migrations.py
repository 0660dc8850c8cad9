"""A store of an earlier release is brought to the new tables, its rollups filled from the base."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import polars as pl
import pytest

from tests.warehouse.generations import check, open_file, own_generations, sink_all, topic_of
from warehouse.config import RetentionConfig
from warehouse.intents import Intent, Source
from warehouse.migrations import MIGRATIONS, migrate
from warehouse.retention import apply_retention, days_kept
from warehouse.sink import rated_frame
from warehouse.store import Store
from warehouse.tables import ROLLUPS, TABLES

OLD = 31
SOURCE = Source(OLD, "usage.rated", 0)


def test_new_rollups_are_filled_exactly_though_an_insert_was_cut_short(
    store: Store, tmp_path: Path
) -> None:
    topic = topic_of(12)
    intents = open_file(tmp_path)
    old_columns = ["log_generation", "insert_before"]
    with own_generations(store, OLD) as writer:
        for statement in MIGRATIONS[0].statements(OLD):
            if not statement.startswith("CREATE OR REPLACE VIEW"):
                writer.command(statement)

        def insert(first: int, last: int) -> Intent:
            """As the earlier release did."""
            records = topic.records[first - 1 : last]
            rows = rated_frame(records, SOURCE).drop(old_columns)
            intent = Intent(first, last, rows.height)
            writer.insert_arrow(
                f"usage_rated_{OLD}",
                rows.to_arrow(compat_level=pl.CompatLevel.oldest()),
                settings={"insert_deduplication_token": intent.token(SOURCE)},
            )
            return intent

        for first in (1, 4, 7):
            intents.commit(SOURCE, insert(first, first + 2))
        # Killed in the middle of the next insert: the base has it, one rollup does not.
        writer.command(f"DROP VIEW usage_cell_{OLD}_fill")
        intents.begin(SOURCE, insert(10, 11))
        writer.command(ROLLUPS[1].fill(OLD))

        opened = intents.open_intents(OLD)
        assert migrate(writer, OLD, 1, open_intents=opened, is_current=False) == (1, 2, 3)
        assert migrate(writer, OLD, 1, open_intents=opened, is_current=False) == ()
        sink_all(writer, intents, topic, OLD)
        report = check(writer, intents, OLD)
        assert report.findings == ()
        rows = int(str(writer.command(f"SELECT count() FROM usage_rated_{OLD}")))
        assert rows == sum(frame.height for _, frame in topic.records)
        octets = [
            str(writer.command(f"SELECT sum(octets_down) FROM subscriber_{unit}_{OLD}"))
            for unit in ("minute", "hour", "day")
        ]
        volume = pl.concat([frame for _, frame in topic.records]).filter(
            pl.col("meter_id") == "volume"
        )
        assert octets == [str(volume["octets_down"].sum())] * 3
    intents.close()


def test_a_migration_cut_short_is_run_again(store: Store, tmp_path: Path) -> None:
    intents = open_file(tmp_path)
    with own_generations(store, OLD) as writer:
        migrate(writer, OLD, 1, is_current=False)
        sink_all(writer, intents, topic_of(5), OLD)
        # As if it had died behind the second rollup's fill: nothing is recorded yet.
        writer.command(f"TRUNCATE TABLE subscriber_day_{OLD}")
        writer.command(
            f"ALTER TABLE schema_migration DELETE WHERE generation = {OLD} AND number = 2"
            " SETTINGS mutations_sync = 2"
        )
        assert check(writer, intents, OLD).findings != ()
        assert migrate(writer, OLD, 1, is_current=False) == (2,)
        assert check(writer, intents, OLD).findings == ()
    intents.close()


def test_every_table_is_kept_as_long_as_the_settings_say(store: Store) -> None:
    kept = RetentionConfig(rated_days=400, subscriber_day_days=0, alert_days=30)
    with own_generations(store, OLD) as writer:
        migrate(writer, OLD, 1, is_current=False)
        assert set(apply_retention(writer, OLD, kept)) == {
            "usage_rated", "subscriber_minute", "alert",
        }  # fmt: skip
        assert apply_retention(writer, OLD, kept) == []
        assert apply_retention(writer, OLD, RetentionConfig()) == ["usage_rated", "alert"]
        names = [field.name for field in dataclasses.fields(RetentionConfig)]
        every = RetentionConfig(**dict.fromkeys(names, 7))
        assert set(days_kept(every)) == {table.name for table in TABLES}
        assert set(apply_retention(writer, OLD, every)) == {table.name for table in TABLES}


def test_rows_older_than_a_table_keeps_go_and_no_others(store: Store, tmp_path: Path) -> None:
    """The made usage is of 2025: a hundred days keep nothing of it, the longest time all."""
    intents = open_file(tmp_path)
    with own_generations(store, OLD) as writer:
        migrate(writer, OLD, 1, is_current=False)
        sink_all(writer, intents, topic_of(3), OLD)
        before = int(str(writer.command(f"SELECT count() FROM subscriber_hour_{OLD}")))
        apply_retention(
            writer, OLD, RetentionConfig(subscriber_minute_days=100, subscriber_hour_days=20_000)
        )
        for unit in ("minute", "hour"):
            writer.command(f"OPTIMIZE TABLE subscriber_{unit}_{OLD} FINAL")
        assert int(str(writer.command(f"SELECT count() FROM subscriber_minute_{OLD}"))) == 0
        assert 0 < int(str(writer.command(f"SELECT count() FROM subscriber_hour_{OLD}"))) <= before
        # The check does not take for lost what was let go.
        assert check(writer, intents, OLD).findings == ()
    intents.close()


@pytest.mark.parametrize("table", ROLLUPS, ids=lambda table: table.name)
def test_a_rollup_keeps_octets_or_charges_per_key(table: object) -> None:
    assert {"octets_up", "charge"} & set(table.sums)  # type: ignore[attr-defined]
