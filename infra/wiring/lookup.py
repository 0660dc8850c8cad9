"""What a running installation knows of an address: rules, holders, names; read beside it."""

from __future__ import annotations

import contextlib
import dataclasses
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
from sqlalchemy import Connection, or_, select
from sqlalchemy.exc import DBAPIError

from billing.adapters import tables
from billing.adapters.databases import reading
from collectors.netflow.state import SESSION
from infra.settings import Settings
from infra.wiring.databases import business_database
from infra.wiring.engine import asn_tables, stage_configs
from infra.wiring.paths import database_path
from rating.addresses import format_address
from rating.attribution import Evidence, owners_of, statics_of
from rating.binding_table import BindingTable
from rating.classes import Rulebook, RuleEntry, Rules
from rating.directory import MEMBERSHIP, STATIC_PREFIX, Directory
from rating.ports import MemoryState, StateView
from rating.records import DirectoryEntry, schema_of
from rating.session_config import RADIUS
from streams.adapters import asn_store, postgres_topics, sqlite_topics
from streams.adapters.postgres_state import PostgresState, StateWrites
from streams.adapters.postgres_tables import current_generation
from streams.adapters.sqlite_state import TaskState
from streams.decode import KINDS
from streams.topics import block_partition
from streams.topology import build_stages

MINUTE_MS = 60_000
_CACHED_ENTRIES = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """Whom one kind of evidence names: kind as in `who_order`, session_id "" where it has none."""

    kind: str
    subscriber_id: str
    session_id: str


class Lookup:
    """One question's view of an installation; its reads are of one moment."""

    def __init__(self, settings: Settings, connection: Connection) -> None:
        """Read the directory."""
        self._settings = settings
        self._connection = connection
        self._stages = {stage.name: stage for stage in build_stages(stage_configs(settings))}
        self._partitions = settings.streams.partitions
        if settings.mode == "cluster":
            _, self._partitions = current_generation(connection)
        frames = self._directory_frames()
        rows = pl.concat([pl.DataFrame(schema=schema_of(DirectoryEntry)), *frames])
        newest = rows.sort("revision").unique("entry_id", keep="last").sort("entry_id")
        entries = [
            RuleEntry(**row)
            for row in newest.filter(pl.col("kind").is_in(KINDS)).iter_rows(named=True)
        ]
        self._rules = Rules(entries, asn_tables(settings))
        self._directory = Directory(MemoryState(), frozenset({STATIC_PREFIX, MEMBERSHIP}))
        self._directory.take(newest)

    def _directory_frames(self) -> Sequence[pl.DataFrame]:
        if self._settings.mode == "cluster":
            return postgres_topics.read_all(self._connection, "directory", postgres_topics.EVERY)
        read = sqlite_topics.read_topic(self._connection, "directory", 0, after=0, rows_max=2**62)
        return read.frames

    def book(self, minute: int) -> Rulebook:
        """Return the rules that hold in a minute."""
        return self.book_at(minute * MINUTE_MS)

    def book_at(self, at_ms: int) -> Rulebook:
        """Return the rules that hold at an instant (ms)."""
        (epoch,) = self._rules.epochs(pl.Series([at_ms]).to_numpy()).tolist()
        return self._rules.book(epoch)

    def holders(self, address: bytes, minute: int) -> list[Holder]:
        """Return whom each kind of evidence names for an address in a minute, in the order asked.

        Users whom flows name are not among them: no address has one.
        """
        holder = pl.DataFrame(
            {
                "hi": [int.from_bytes(address[:8], "big")],
                "lo": [int.from_bytes(address[8:], "big")],
                "port_block": [0],
                "user_name": [""],
            },
            schema={
                "hi": pl.UInt64,
                "lo": pl.UInt64,
                "port_block": pl.Int64,
                "user_name": pl.String,
            },
        )
        nobody = pl.DataFrame(schema={"user_name": pl.String, "subscriber_id": pl.String})
        statics = statics_of(self._directory.static_prefixes())
        bindings = self._bindings(address).index
        found = []
        for kind in self._settings.rating.attribution.who_order:
            evidence = Evidence(bindings, statics, nobody, (kind,))
            (row,) = owners_of(holder, minute, evidence).iter_rows(named=True)
            who = (row["subscriber_id"], row["session_id"])
            if not who[0] and kind == RADIUS:
                who = self.session_of(address, minute * MINUTE_MS) or who
            if who[0]:
                found.append(Holder(kind, *who))
        return found

    def session_of(self, address: bytes, at_ms: int) -> tuple[str, str] | None:
        """Return (subscriber_id, session_id) of who had an address at an instant (ms).

        From the record of sessions, which remembers what the stages have forgotten; None where no
        session of a known subscriber had it last.
        """
        session = tables.live_session.c
        asked = (
            select(session.subscriber_id, session.session_id)
            .where(
                session.framed_address == format_address(address),
                session.started_at <= at_ms,
                or_(session.ended_at.is_(None), session.ended_at > at_ms),
            )
            .order_by(session.started_at.desc(), session.session_id.desc())
            .limit(1)
        )
        row = self._connection.execute(asked).first()
        return (str(row[0]), str(row[1])) if row and row[0] else None

    def rating_key(self, subscriber_id: str, minute: int) -> str:
        """Return whose counters a subscriber's usage of a minute adds to."""
        return self._directory.rating_key_at(subscriber_id, minute)

    def asn_file_name(self, digest: str) -> str:
        """Return the name of an AS file, "" where the database does not have it."""
        return asn_store.name_of(self._connection, digest)

    def asn_name(self, digest: str, asn: int) -> str:
        """Return how an AS file calls an AS, "" where it does not."""
        return asn_tables(self._settings).table(digest).names.get(asn, "")

    def application_name(self, exporter: bytes, told: str) -> str:
        """Return how an exporter calls an application id, "" where it has not said."""
        partition = zlib.crc32(exporter) % self._partitions
        view = self._state("decode", partition if self._settings.mode == "cluster" else 0)
        low, high = f"{exporter.hex()}:", f"{exporter.hex()};"
        if view is None:
            return ""
        names = (session.applications.get(told) for _, session in view.scan(SESSION, low, high))
        return next((name for name in names if name), "")

    def _bindings(self, address: bytes) -> BindingTable:
        view = self._state("attribute", block_partition(address, self._partitions))
        return BindingTable(MemoryState() if view is None else view)

    def _state(self, stage: str, partition: int) -> StateView | None:
        """Return the state of a task to look into; None where it has not run yet."""
        task = f"{stage}/{partition}"
        collections = self._stages[stage].collections
        state: Any
        if self._settings.mode == "cluster":
            state = PostgresState(
                task, collections, entries_max=_CACHED_ENTRIES, writes=StateWrites()
            )
        else:
            state = TaskState(task, collections, entries_max=_CACHED_ENTRIES)
        return state if state.attach(self._connection) else None


@contextlib.contextmanager
def open_lookup(settings: Settings) -> Iterator[Lookup]:
    """Open a view of the installation that the settings name, running or not; nothing is changed.

    LookupError says why there is none to look into.
    """
    with looking(settings, "classify") as connection:
        yield Lookup(settings, connection)


@contextlib.contextmanager
def looking(settings: Settings, role: str) -> Iterator[Connection]:
    """Open a read transaction on an installation's database for a tool of that name.

    LookupError says why there is none to look into.
    """
    if settings.mode == "embedded" and not database_path(settings).exists():
        raise LookupError(f"nothing has run on {settings.data_dir} yet")
    database = business_database(settings, role)
    try:
        with reading(database) as connection:
            yield connection
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise LookupError(f"the database cannot be read: {reason}") from error
    finally:
        database.dispose()
