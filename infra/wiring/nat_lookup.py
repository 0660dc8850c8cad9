"""What an installation knows of a shared public address, read beside it: pools, events, holders."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import polars as pl

from infra.settings import Settings
from infra.wiring.lookup import Lookup, looking
from rating.address_columns import halves
from rating.addresses import format_prefix
from rating.directory import STATIC_PREFIX
from rating.nat_evidence import (
    Lent,
    Question,
    by_events,
    by_formula,
    outside_by_events,
    outside_by_formula,
)
from rating.nat_pools import CompiledPool
from rating.session_config import RADIUS
from streams.topics import block_partition

_CACHED_ENTRIES = 100


@dataclasses.dataclass(frozen=True, slots=True)
class NatHolder:
    """Who held an inside address: by says which evidence (as in `who_order`) names him."""

    subscriber_id: str
    by: str
    session_id: str


class NatLookup(Lookup):
    """One question's view of an installation; its reads are of one moment."""

    @property
    def retention_ms(self) -> int:
        """How long an allocation holds whose end was never told."""
        return self._settings.rating.attribution.nat_binding_retention_seconds * 1000

    def pool_of(self, address: bytes, at_ms: int) -> CompiledPool | None:
        """Return the pool that an outside address lies in at an instant, None where in none."""
        book = self.book_at(at_ms)
        high, low = halves(pl.Series([address]))
        number = int(book.pool_of(high, low)[0])
        return book.pools[number] if number >= 0 else None

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
        pools = self.book_at(at_ms).pools
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

    def _bound(self, inside: bytes, at_ms: int) -> NatHolder | None:
        """Return the session that held an address, as the stage attribute still knows it."""
        until = pl.col("valid_until_at")
        holds = (pl.col("valid_from_at") <= at_ms) & (until.is_null() | (until > at_ms))
        number = int.from_bytes(inside, "big")
        order = ("valid_from_at", "prefix_length", "binding_id")
        for row in (
            self._bindings(inside).table.filter(holds & (pl.col("port_block") == 0))
            .sort(order, descending=True).iter_rows(named=True)
        ):  # fmt: skip
            shift = 128 - row["prefix_length"]
            if number >> shift == (row["hi"] << 64 | row["lo"]) >> shift:
                # An unknown user hides older holders, as when octets are attributed.
                return NatHolder(row["subscriber_id"], RADIUS, row["session_id"])
        return None

    def _session(self, inside: bytes, at_ms: int) -> NatHolder | None:
        """Return the session that had an address, from the record of past sessions."""
        found = self.session_of(inside, at_ms)
        return NatHolder(found[0], RADIUS, found[1]) if found else None


@contextlib.contextmanager
def open_nat_lookup(settings: Settings) -> Iterator[NatLookup]:
    """Open a view of the installation that the settings name, running or not; nothing is changed.

    LookupError says why there is none to look into.
    """
    with looking(settings, "nat") as connection:
        yield NatLookup(settings, connection)
