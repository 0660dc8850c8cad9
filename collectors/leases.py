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

    seen: (collector_id, log) -> (renewed_at, since), each ms.
    """

    looked_at: int = 0
    seen: Mapping[tuple[str, str], tuple[int, int]] = dataclasses.field(default_factory=dict)


def producer_of(log: str, collector_id: str) -> str:
    """Return a collector's name in the envelopes of a raw topic: ``flows@ams1``."""
    return f"{PRODUCERS[log]}@{collector_id}"


def look(
    watch: Watch, leases: Iterable[Lease], now_ms: int, lease_ms: int
) -> tuple[Watch, tuple[Lease, ...]]:
    """Return what the keeper knows after a look, and the leases that are over.

    leases are all rows at now_ms, by the keeper's clock. More than half a lease between two looks
    is an absence: a collector may have been alive and unheard.
    """
    was_away = not watch.looked_at or now_ms - watch.looked_at > lease_ms // 2
    known = {} if was_away else watch.seen
    seen: dict[tuple[str, str], tuple[int, int]] = {}
    over = []
    for lease in leases:
        if lease.state != LIVE_LEASE:
            continue
        key = (lease.collector_id, lease.log)
        renewed_at, since = known.get(key, (None, 0))
        if renewed_at != lease.renewed_at:
            since = now_ms
        seen[key] = (lease.renewed_at, since)
        if now_ms - since >= lease_ms:
            over.append(lease)
    return Watch(now_ms, seen), tuple(over)


def expiry_mark(lease: Lease, lease_ms: int) -> Mark:
    """Return the mark that gives a collector up.

    Its time is when the lease ran out: marks that a dead collector sent after its last renewal are
    before that and do not outlive it; those that a living one sends (which only lost sight of the
    database) are behind it and stand.
    """
    producer = producer_of(lease.log, lease.collector_id)
    return Mark(producer, 0, lease.renewed_at + lease_ms, EXPIRED)
