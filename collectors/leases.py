"""Which collectors are waited for: each renews a lease, and a keeper gives up who does not.

Pure. The keeper compares no clocks of two machines: a lease is over when the keeper itself has
watched it stand still for `lease_ms`. A keeper that was away, or whose database was, has watched
nothing, and everyone has a whole lease from then on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from rating.envelopes import EXPIRED, Mark

LIVE_LEASE, LEFT_LEASE, EXPIRED_LEASE = "live", "left", "expired"
"""States of a lease: renewed, given back in an orderly end, given up by the keeper."""

DAY_MS = 86_400_000
"""How long a collector that was given up is given up again."""

PRODUCERS: Mapping[str, str] = {"flow.datagrams": "flows", "radius.accounting": "radius"}
"""Raw topic -> what its producers' names begin with."""


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """A row of `collector_lease`: renewed_at is ms by the collector's own clock."""

    collector_id: str
    log: str
    renewed_at: int
    state: str


@dataclasses.dataclass(frozen=True, slots=True)
class Watch:
    """What a keeper has seen: when it looked last (ms), and since when each lease stands still.

    seen: (collector_id, log) -> (renewed_at, since, whole leases since then), the first two in ms.
    """

    looked_at: int = 0
    seen: Mapping[tuple[str, str], tuple[int, int, int]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Over:
    """A lease that is over, and how many whole leases it has stood still."""

    lease: Lease
    times: int


def producer_of(log: str, collector_id: str) -> str:
    """Return a collector's name in the envelopes of a raw topic: ``flows@ams1``."""
    return f"{PRODUCERS[log]}@{collector_id}"


def look(
    watch: Watch, leases: Iterable[Lease], now_ms: int, lease_ms: int
) -> tuple[Watch, tuple[Over, ...]]:
    """Return what the keeper knows after a look, and the leases that are over.

    leases are all rows at now_ms, by the keeper's clock. More than half a lease between two looks
    is an absence: a collector may have been alive and unheard. Who was given up is given up again
    after every further lease, at most for a day: see `expiry_mark`.
    """
    was_away = not watch.looked_at or now_ms - watch.looked_at > lease_ms // 2
    known = {} if was_away else watch.seen
    seen: dict[tuple[str, str], tuple[int, int, int]] = {}
    over = []
    for lease in leases:
        if lease.state == LEFT_LEASE:
            continue
        key = (lease.collector_id, lease.log)
        renewed_at, since, before = known.get(key, (None, 0, 0))
        if renewed_at != lease.renewed_at:
            since, before = now_ms, 0
        times = (now_ms - since) // lease_ms
        seen[key] = (lease.renewed_at, since, times)
        is_due = times > before and times * lease_ms <= DAY_MS
        if times and (lease.state == LIVE_LEASE or is_due):
            over.append(Over(lease, times))
    return Watch(now_ms, seen), tuple(over)


def expiry_mark(over: Over, lease_ms: int) -> Mark:
    """Return the mark that gives a collector up.

    Its time is when the lease ran out: marks that a dead collector sent after its last renewal are
    before that and do not outlive it; those that a living one sends (which only lost sight of the
    database) are behind it and stand. One that lost sight of the database, went on and died later
    is caught by a later mark: their times grow by a lease each, until they pass its last one.
    """
    producer = producer_of(over.lease.log, over.lease.collector_id)
    return Mark(producer, 0, over.lease.renewed_at + over.times * lease_ms, EXPIRED)
