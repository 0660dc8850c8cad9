"""How long each table keeps its rows: ClickHouse's TTL, brought to what the settings say."""

from __future__ import annotations

import re
from collections.abc import Mapping

from warehouse.config import RetentionConfig
from warehouse.filling import Commands
from warehouse.tables import TABLES, Table

_DAYS = re.compile(r"toIntervalDay\((\d+)\)")


DAYS_MAX = 20_000
"""More counts as for ever: ClickHouse's DateTime ends in 2106, and a TTL that overflows it would
let go of everything at once."""


def days_kept(config: RetentionConfig) -> Mapping[str, int]:
    """Return table name -> days that its rows are kept, 0 for ever."""
    set_days = {
        "usage_rated": config.rated_days,
        "usage_minute": config.network_minute_days,
        "usage_cell": config.subscriber_quarter_hour_days,
        "charge_cell": config.charge_days,
        "subscriber_minute": config.subscriber_minute_days,
        "subscriber_hour": config.subscriber_hour_days,
        "subscriber_day": config.subscriber_day_days,
        "live_session": config.live_session_days,
        "session": config.session_days,
        "alert": config.alert_days,
        "command": config.command_days,
        "loss_minute": config.loss_days,
        "loss_hour": config.loss_days,
        "flow_hour": config.flow_hour_days,
        "invoice": config.invoice_days,
        "invoice_line": config.invoice_days,
    }
    return {name: days if days <= DAYS_MAX else 0 for name, days in set_days.items()}


def ttl_of(table: Table, days: int) -> str:
    """Return the TTL expression of a table whose rows are kept for so many days."""
    return f"toDateTime({table.instant}, 'UTC') + toIntervalDay({days:d})"


def apply_retention(client: Commands, generation: int, config: RetentionConfig) -> list[str]:
    """Change the TTL of those tables that differ from the settings; return their names.

    What is older than a new, shorter TTL goes when the engine merges next.
    """
    kept = days_kept(config)
    return [
        table.name for table in TABLES if apply_days(client, table, generation, kept[table.name])
    ]


def apply_days(client: Commands, table: Table, generation: int, days: int) -> bool:
    """Let a table keep its rows for so many days, 0 for ever; return whether that is a change."""
    days = days if days <= DAYS_MAX else 0
    name = table.physical(generation)
    engine = str(
        client.command(
            "SELECT engine_full FROM system.tables"
            f" WHERE database = currentDatabase() AND name = '{name}'"
        )
    )
    if "MergeTree" not in engine.partition("(")[0].partition(" ")[0]:
        return False  # A Distributed table: its local tables have the TTL (`ddl`).
    found = _DAYS.search(engine)
    if days == (int(found.group(1)) if found else 0):
        return False
    change = f"MODIFY TTL {ttl_of(table, days)}" if days else "REMOVE TTL"
    client.command(f"ALTER TABLE {name} {change}")
    return True
