"""IPFIX over connections (RFC 7011 §10.4): how a transport session begins and ends in the decoder.

Templates belong to the transport session and die with it (RFC 7011 §8), so each connection has a
session of its own per observation domain. Rates and boot times are the exporter's: a connection
begins with what was announced on any of its exporter's connections before (decision 0121).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from collectors.datagrams import NO_CONNECTION, DatagramBlock
from collectors.netflow.headers import Rows
from collectors.netflow.sampling import Announcement
from collectors.netflow.sessions import Sessions
from collectors.netflow.sets import Sets
from collectors.netflow.state import HELD, PROGRESS, SESSION, HeldSet, Progress, connection_of
from rating.ports import Delete, Put, StateView

Ended = Sequence[tuple[bytes, int]]
"""Addresses of exporters and their connections that ended."""


def split_ends(block: DatagramBlock) -> tuple[DatagramBlock, Ended]:
    """Return the block without the ends of connections, and those."""
    if block.connections is None:
        return block, ()
    is_end = (block.connections != NO_CONNECTION) & (block.lengths == 0)
    if not is_end.any():
        return block, ()
    ended = zip(
        block.source_address[is_end].tolist(), block.connections[is_end].tolist(), strict=True
    )
    return block.take(np.flatnonzero(~is_end)), list(ended)


def begins_at(sessions: Sessions, rows: Rows, sets: Sets) -> dict[int, int]:
    """Return where in the order of sets each connection begins that this batch is the first of."""
    begun: dict[int, int] = {}
    for session in sessions.begun():
        row = int(np.argmax(rows.session == session))
        later = np.flatnonzero(sets.row >= row)
        begun[session] = int(later[0]) if len(later) else len(sets)
    return begun


def share_rates(
    sessions: Sessions,
    begun: Mapping[int, int],
    announced: dict[int, list[Announcement]],
    samplers_limit: int,
) -> None:
    """Have new connections inherit, and note for later ones what connections announced.

    announced is what was announced in each session, in any order; begun is `begins_at`. What a
    connection inherits is as of its first message, however the messages are batched.
    """
    for session, shared in sessions.shared.items():
        if session in announced:
            announced.setdefault(shared, []).extend(announced[session])
    for session, shared in sessions.shared.items():
        if shared in announced or sessions.sessions[shared].samplers:
            heard, noted = sessions.progress[session], sessions.progress[shared]
            seen_at = max(heard.last_seen_at, noted.last_seen_at)
            sessions.progress[shared] = dataclasses.replace(noted, last_seen_at=seen_at)
    for session, order in begun.items():
        shared = sessions.shared[session]
        rates = dict(sessions.sessions[shared].samplers)
        for event in sorted(announced.get(shared, ()), key=lambda event: event.order):
            if event.order < order and (event.selector in rates or len(rates) < samplers_limit):
                rates[event.selector] = event.rate
        if rates:
            own = sessions.sessions[session]
            sessions.sessions[session] = dataclasses.replace(own, samplers=rates)


def sessions_of(view: StateView, keys: Sequence[str], ended: Ended) -> dict[str, Progress | None]:
    """Return the sessions of connections, with their progress in the state (None: not there).

    keys are those of the batch's sessions, which the state need not have.
    """
    found: dict[str, Progress | None] = {}
    for address, connection in ended:
        prefix = address.hex()
        found |= {
            key: None for key in keys if key.startswith(prefix) and connection_of(key) == connection
        }
        for key, progress in view.scan(PROGRESS, f"{prefix}:", f"{prefix};"):
            if connection_of(key) == connection:
                found[key] = progress
    return found


def end_sessions(
    view: StateView, over: Mapping[str, Progress | None], others: Iterable[Put | Delete]
) -> list[Put | Delete]:
    """Return the deletion of sessions whose connection ended, and of what waits in them in vain.

    over is what `sessions_of` returns; others is what else the batch changes.
    """
    out: list[Put | Delete] = [
        Delete(collection, key)
        for key, progress in over.items()
        if progress is not None
        for collection in (SESSION, PROGRESS)
    ]
    waiting: set[str] = set()
    if any(progress is not None and progress.held_octets for progress in over.values()):
        waiting = {key for key, held in view.scan(HELD) if held.session in over}
    for change in others:
        if change.collection != HELD:
            continue
        if isinstance(change, Delete):
            waiting.discard(change.key)  # Released, or expired.
        elif isinstance(change.value, HeldSet) and change.value.session in over:
            waiting.add(change.key)
    return [*out, *(Delete(HELD, key) for key in sorted(waiting))]
