"""Data sets that wait for their template: kept, released, expired; bounded in number, octets, time.

Keys begin with the receive time, so that the oldest are found without a search.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from collectors.datagrams import DatagramBlock
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.headers import Rows
from collectors.netflow.learning import Learned
from collectors.netflow.sessions import Origin, Sessions
from collectors.netflow.sets import Sets
from collectors.netflow.state import (
    HELD,
    SHARED,
    TOTALS,
    HeldSet,
    Totals,
    session_key,
    split_session_key,
)
from rating.ports import Delete, Put, StateView

Note = Callable[[int, str, int], None]


def release(
    view: StateView,
    sessions: Sessions,
    learned: Learned,
    received_at: NDArray[np.int64],
    config: FlowDecodeConfig,
) -> tuple[list[tuple[HeldSet, int, int]], list[Put | Delete]]:
    """Return the held sets whose template came in time, each with its session and the order.

    received_at gives, per set of the batch, when its datagram was received; a set that had waited
    longer than `held_seconds` then is forgotten instead.
    """
    wanted = {
        (sessions.keys[session], template_id): (session, orders[0])
        for (session, template_id), (orders, _) in learned.versions.items()
        if orders[0] >= 0 and sessions.may_hold(session)
    }
    released: list[tuple[HeldSet, int, int]] = []
    changes: list[Put | Delete] = []
    if not wanted:
        return released, changes
    for key, held in view.scan(HELD):
        address, version, domain = split_session_key(held.session)
        found = wanted.get((held.session, held.template_id))
        if found is None and held.session.endswith(SHARED):
            own = session_key(address, version, domain, held.source_port)
            found = wanted.get((own, held.template_id))
        if found is None:
            continue
        session, order = found
        sessions.add_held(sessions.index_of(held.session), -1, -held.octets)
        changes.append(Delete(HELD, key))
        if int(received_at[order]) - held.received_at <= config.held_seconds * 1000:
            released.append((held, session, order))
    return released, changes


def expire(
    view: StateView,
    sessions: Sessions,
    gone: Sequence[Put | Delete],
    *,
    watermark_at: int,
    config: FlowDecodeConfig,
) -> list[Put | Delete]:
    """Return the deletion of sets that no template received from now on may still release.

    gone is what `release` has deleted already.
    """
    cutoff = watermark_at - config.held_seconds * 1000
    if cutoff <= 0:
        return []
    done = {change.key for change in gone}
    changes: list[Put | Delete] = []
    for key, held in view.scan(HELD, "", f"{cutoff:015d}"):
        if key not in done:
            sessions.add_held(sessions.index_of(held.session), -1, -held.octets)
            changes.append(Delete(HELD, key))
    return changes


def hold(
    view: StateView,
    sessions: Sessions,
    waiting: tuple[Sets, NDArray[np.int64]],
    arrivals: tuple[DatagramBlock, Rows, Sequence[Origin]],
    config: FlowDecodeConfig,
    note: Note,
) -> list[Put | Delete]:
    """Return what keeps the waiting sets; beyond a limit a set is refused and counted.

    waiting is the sets of the batch and the indices of those that wait; arrivals is the block,
    the datagrams' columns and the origins.
    """
    sets, indices = waiting
    block, rows, origins = arrivals
    total = (view.get(TOTALS, "") or Totals()).held_octets
    changes: list[Put | Delete] = []
    for index in indices.tolist():
        row, start = int(sets.row[index]), int(sets.start[index])
        number = int(rows.origin[row])
        session = int(rows.session[row])
        waiting_in = sessions.progress[session]
        value = HeldSet(
            session=sessions.keys[session],
            template_id=int(sets.set_id[index]),
            source_port=origins[number].source_port,
            received_at=int(rows.received_at[row]),
            export_at=int(rows.export_at[row]),
            uptime=int(rows.uptime[row]),
            body=bytes(block.payload[start : start + int(sets.length[index])]),
            skew=int(rows.skew[row]),
        )
        if (
            waiting_in.held_sets >= config.held_sets_per_session_limit
            or waiting_in.held_octets + value.octets > config.held_octets_per_session_limit
            or total + value.octets > config.held_octets_limit
        ):
            note(number, "held_limit", 1)
            continue
        total += value.octets
        sessions.add_held(session, 1, value.octets)
        changes.append(Put(HELD, _key(block, row, start, value.session), value))
    return changes


def _key(block: DatagramBlock, row: int, start: int, session: str) -> str:
    """Return a key that the same set of the same datagram always has, and no other set."""
    datagram = block.datagram(row)
    digest = hashlib.sha256(datagram.payload + session.encode()).hexdigest()[:32]
    return f"{datagram.received_at:015d}:{digest}:{start - int(block.offsets[row]):05d}"
