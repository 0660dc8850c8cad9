"""The books that a benchmark's engine works with: own prefixes, classes, subscribers, one plan."""

from __future__ import annotations

from billing.adapters.databases import open_database, writing
from infra.migrate import migrate
from rating.events import SubscriptionStarted, account_event
from rating.periods import Calendar
from rating.plans import plan_from
from rating.records import AccountEvent, DirectoryEntry, frame_of
from streams.adapters import sqlite_topics

_CLASSES = {"cdn": '{"prefixes": ["198.18.0.0/22"]}', "dns": '{"ports": [[53, 53]]}'}
_DAY_MS = 86_400_000
PLAN = plan_from(
    {
        "plan_id": "bench",
        "version": 1,
        "name": "Bench",
        "currency": "BDT",
        "measured_by": "flows",
        "meters": [
            {"meter_id": "data", "curve": {"model": "payg", "unit_price": "1", "unit": 10**9}}
        ],
    }
)


def found(url: str, lines: int, at_ms: int) -> None:
    """Make the database of an ISP with so many subscribers, each of them on `PLAN`."""
    migrate(url)
    database = open_database(url)
    with writing(database) as connection:
        sqlite_topics.create_tables(connection)
        for topic, frame in (
            ("directory", frame_of(DirectoryEntry, _directory(lines))),
            ("account.events", frame_of(AccountEvent, _subscriptions(lines, at_ms))),
        ):
            sqlite_topics.append_rows(connection, topic, "bench", frame, partitions=1)
    database.dispose()


def _directory(lines: int) -> list[DirectoryEntry]:
    entries = [DirectoryEntry("own", 1, "own_prefix", "100.64.0.0/10", "", 0, 0, None)]
    for name, rule in _CLASSES.items():
        entries.append(DirectoryEntry(name, 1, "class_rule", rule, name, 0, 0, None))
    for line in range(lines):
        who = f"line{line}"
        match = f"user_name:{who}"
        entries.append(DirectoryEntry(f"i{line}", 1, "identity", match, who, 0, 0, None))
        entries.append(DirectoryEntry(f"m{line}", 1, "membership", who, who, 0, 0, None))
    return entries


def _subscriptions(lines: int, at_ms: int) -> list[AccountEvent]:
    payload = SubscriptionStarted(plan=PLAN, calendar=Calendar())
    at = (at_ms - _DAY_MS) // 60_000 * 60_000
    return [
        account_event(f"e{line}", f"line{line}", payload, effective_at=at, received_at=at)
        for line in range(lines)
    ]
