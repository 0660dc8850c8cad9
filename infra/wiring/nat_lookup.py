"""What an installation knows of a shared public address, read beside it: pools, events, holders."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import polars as pl
from sqlalchemy import Connection, or_, select
from sqlalchemy.exc import DBAPIError

from billing.adapters import tables
from billing.adapters.databases import reading
from infra.settings import Settings
from infra.wiring.databases import business_database
from infra.wiring.engine import stage_configs
from infra.wiring.paths import database_path
from rating.addresses import format_address, format_prefix
from rating.binding_table import BindingTable
from rating.directory import MEMBERSHIP, STATIC_PREFIX, Directory
from rating.nat_evidence import (
    Lent,
    Question,
    by_events,
    by_formula,
    outside_by_events,
    outside_by_formula,
)
from rating.nat_pools import NAT_POOL, CompiledPool, decode_pool
from rating.ports import MemoryState, StateView
from rating.records import DirectoryEntry, schema_of
from rating.session_config import RADIUS
from streams.adapters import postgres_topics, sqlite_topics
from streams.adapters.postgres_state import PostgresState, StateWrites
from streams.adapters.postgres_tables import current_generation
from streams.adapters.sqlite_state import TaskState
from streams.topics import block_partition
from streams.topology import build_stages

_CACHED_ENTRIES = 100


@dataclasses.dataclass(frozen=True, slots=True)
class NatHolder:
    """Who held an inside address: by says which evidence (as in `who_order`) names him."""

    subscriber_id: str
    by: str
    session_id: str


class NatLookup:
    """One question's view of an installation; its reads are of one moment."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        """Read the directory."""
        self._settings = settings
        self._connection = connection
        self._stages = {stage.name: stage for stage in build_stages(stage_configs(settings))}
        self._partitions = settings.streams.partitions
        if settings.mode == "cluster":
            _, self._partitions = current_generation(connection)
            frames = postgres_topics.read_all(connection, "directory", postgres_topics.EVERY)
        else:
            read = sqlite_topics.read_topic(connection, "directory", 0, after=0, rows_max=2**62)
            frames = list(read.frames)
        rows = pl.concat([pl.DataFrame(schema=schema_of(DirectoryEntry)), *frames])
        newest = rows.sort("revision").unique("entry_id", keep="last").sort("entry_id")
        self._pools = newest.filter(pl.col("kind") == NAT_POOL)
        self._directory = Directory(MemoryState(), frozenset({STATIC_PREFIX, MEMBERSHIP}))
        self._directory.take(newest)

    @property
    def retention_ms(self) -> int:
        """How long an allocation holds whose end was never told."""
        return self._settings.rating.attribution.nat_binding_retention_seconds * 1000

    def pools_at(self, at_ms: int) -> list[CompiledPool]:
        """Return the pools that hold at an instant, the longest prefix first."""
        until = pl.col("valid_until_at")
        holds = (pl.col("valid_from_at") <= at_ms) & (until.is_null() | (until > at_ms))
        found = []
        for match in self._pools.filter(holds)["match"]:
            with contextlib.suppress(ValueError):
                found.append(CompiledPool(decode_pool(match)))
        return sorted(found, key=lambda pool: -pool.outside.length)

    def pool_of(self, address: bytes, at_ms: int) -> CompiledPool | None:
        """Return the pool that an outside address lies in at an instant, None where in none."""
        for pool in self.pools_at(at_ms):
            shift = 128 - pool.outside.length
            if int.from_bytes(address, "big") >> shift == _number(pool) >> shift:
                return pool
        return None

    def inside_of(self, pool: CompiledPool, outside: bytes, asked: Question) -> list[Lent]:
        """Return who held ports of an outside address, by the pool's formula and by events."""
        found = by_formula(pool, outside, asked)
        view = self._state("translate", block_partition(outside, self._partitions))
        if view is None or (found and asked.port is not None):
            return found
        name = format_prefix(pool.outside.address, pool.outside.length)
        return found + by_events(view, outside, asked, name)

    def outside_of(self, inside: bytes, at_ms: int) -> list[Lent]:
        """Return which ports an inside address held at an instant."""
        pools = self.pools_at(at_ms)
        found = [lent for pool in pools for lent in outside_by_formula(pool, inside)]
        for partition in range(self._partitions):
            view = self._state("translate", partition)
            if view is not None:
                found += outside_by_events(view, inside, at_ms)
        return found

    def holder_of(self, inside: bytes, at_ms: int) -> NatHolder | None:
        """Return who held an inside address at an instant, None where nobody is known."""
        for kind in self._settings.rating.attribution.who_order:
            found = None
            if kind == RADIUS:
                found = self._bound(inside, at_ms) or self._session(inside, at_ms)
            elif kind == STATIC_PREFIX:
                subscriber_id = self._directory.static_subscriber_at(inside, at_ms)
                found = NatHolder(subscriber_id, kind, "") if subscriber_id else None
            if found is not None:
                return found
        return None

    def rating_key(self, subscriber_id: str, at_ms: int) -> str:
        """Return whose counters a subscriber's usage of an instant adds to."""
        return self._directory.rating_key_at(subscriber_id, at_ms // 60_000)

    def _bound(self, inside: bytes, at_ms: int) -> NatHolder | None:
        """Return the session that held an address, as the stage attribute still knows it."""
        view = self._state("attribute", block_partition(inside, self._partitions))
        if view is None:
            return None
        until = pl.col("valid_until_at")
        holds = (pl.col("valid_from_at") <= at_ms) & (until.is_null() | (until > at_ms))
        number = int.from_bytes(inside, "big")
        order = ("valid_from_at", "prefix_length", "binding_id")
        for row in (
            BindingTable(view).table.filter(holds & (pl.col("port_block") == 0))
            .sort(order, descending=True).iter_rows(named=True)
        ):  # fmt: skip
            shift = 128 - row["prefix_length"]
            if number >> shift == (row["hi"] << 64 | row["lo"]) >> shift:
                # An unknown user hides older holders, as when octets are attributed.
                return NatHolder(row["subscriber_id"], RADIUS, row["session_id"])
        return None

    def _session(self, inside: bytes, at_ms: int) -> NatHolder | None:
        """Return the session that had an address, from the record of past sessions."""
        session = tables.live_session.c
        asked = (
            select(session.subscriber_id, session.session_id)
            .where(
                session.framed_address == format_address(inside),
                session.started_at <= at_ms,
                or_(session.ended_at.is_(None), session.ended_at > at_ms),
            )
            .order_by(session.started_at.desc(), session.session_id.desc())
            .limit(1)
        )
        row = self._connection.execute(asked).first()
        return NatHolder(str(row[0]), RADIUS, str(row[1])) if row and row[0] else None

    def _state(self, stage: str, partition: int) -> StateView | None:
        """Return the state of a task to look into; None where it has not run yet."""
        task, collections = f"{stage}/{partition}", self._stages[stage].collections
        state: Any
        if self._settings.mode == "cluster":
            writes = StateWrites()
            state = PostgresState(task, collections, entries_max=_CACHED_ENTRIES, writes=writes)
        else:
            state = TaskState(task, collections, entries_max=_CACHED_ENTRIES)
        return state if state.attach(self._connection) else None


def _number(pool: CompiledPool) -> int:
    return int.from_bytes(pool.outside.address, "big")


@contextlib.contextmanager
def open_nat_lookup(settings: Settings) -> Iterator[NatLookup]:
    """Open a view of the installation that the settings name, running or not; nothing is changed.

    LookupError says why there is none to look into.
    """
    if settings.mode == "embedded" and not database_path(settings).exists():
        raise LookupError(f"nothing has run on {settings.data_dir} yet")
    database = business_database(settings, "nat")
    try:
        with reading(database) as connection:
            yield NatLookup(settings, connection)
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise LookupError(f"the database cannot be read: {reason}") from error
    finally:
        database.dispose()
