"""Whose datagram is it: origins (who sent) and sessions (who shares templates and sampling).

A session is an exporter's address and observation domain. Two exporters behind one address are
told apart by source port only where they must be: by setting, or once two ports have sent
different templates under one id while both were alive (decision 0102). What came over a connection
is of that connection's session, which begins with the exporter's rates and ends with it (0121).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from collectors.datagrams import NO_CONNECTION, DatagramBlock
from collectors.netflow.config import ExporterConfig, FlowDecodeConfig
from collectors.netflow.exporters import exporters_of
from collectors.netflow.headers import Headers
from collectors.netflow.state import (
    HELD,
    PROGRESS,
    SESSION,
    SHARED,
    SPLIT,
    TEMPLATE_OCTETS,
    TOTALS,
    Progress,
    Session,
    Totals,
    connection_key,
    connection_of,
    is_connected,
    session_key,
    split_session_key,
)
from collectors.netflow.templates import FIXED
from rating.ports import Delete, Put, StateView

Int64s = NDArray[np.int64]

_KEY_OCTETS = 24
_MIXER = np.uint64(0x9E37_79B9_7F4A_7C15)
"""An odd number without pattern: 2^64 divided by the golden ratio."""
_CONNECTION_OCTETS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """Who sent: address of 16 octets, source port, protocol version (0: unknown), domain.

    session is the index of the session that it belongs to; connection is as in `Datagram`.
    """

    address: bytes
    source_port: int
    version: int
    domain: int
    session: int
    connection: int = NO_CONNECTION


class Sessions:
    """Working copies of the sessions that one batch touches, and what changed in them."""

    def __init__(self, view: StateView, config: FlowDecodeConfig) -> None:
        """Start with no session; they are read from the view when first asked for."""
        self._view = view
        self._exporters = exporters_of(config.exporters)
        self._default_rate = config.default_sampling_rate
        self._set_rates: tuple[Int64s, Int64s] | None = None
        self._entries: list[ExporterConfig | None] = []
        self._limits = (config.sessions_limit, config.template_octets_limit)
        self.forgotten = 0
        self._split: dict[str, bool] = {}
        self._index: dict[str, int] = {}
        self.keys: list[str] = []
        self.sessions: list[Session] = []
        self.progress: list[Progress] = []
        self._before: list[tuple[Session, Progress]] = []
        self._is_new: list[bool] = []
        self.shared: dict[int, int] = {}
        """Session of a connection -> the session from which its exporter's connections inherit."""

    def origins(self, block: DatagramBlock, headers: Headers) -> tuple[list[Origin], Int64s]:
        """Return the origins of a block's datagrams, and each datagram's index among them."""
        known = headers.is_readable | np.isin(headers.version, FIXED)
        n = len(block)
        width = _KEY_OCTETS + (_CONNECTION_OCTETS if block.connections is not None else 0)
        keys = np.zeros((n, width), np.uint8)
        keys[:, :16] = block.source_address.view(np.uint8).reshape(n, 16)
        keys[:, 16:18] = block.source_port.astype(">u2").view(np.uint8).reshape(n, 2)
        version = np.where(known, headers.version, 0).astype(">u2")
        domain = np.where(known, headers.domain, 0).astype(">u4")
        keys[:, 18:20] = version.view(np.uint8).reshape(n, 2)
        keys[:, 20:24] = domain.view(np.uint8).reshape(n, 4)
        if block.connections is not None:
            keys[:, 24:] = block.connections.astype(">u8").view(np.uint8).reshape(n, 8)
        first, found = _alike(keys)
        return [self._origin(keys[at].tobytes()) for at in first.tolist()], found

    def _origin(self, key: bytes) -> Origin:
        """Return the origin of one packed key, with its session."""
        address = key[:16]
        port, version = int.from_bytes(key[16:18], "big"), int.from_bytes(key[18:20], "big")
        domain, connection = int.from_bytes(key[20:24], "big"), int.from_bytes(key[24:], "big")
        if connection:
            session = self._find_connected(address, version, domain, connection)
        else:
            session = self.find(address, version, domain, port)
        return Origin(address, port, version, domain, session, connection)

    def origin_of(self, index: int, port: int) -> Origin:
        """Return an origin of a session that sends no datagram in this batch."""
        address, version, domain = split_session_key(self.keys[index])
        connection = connection_of(self.keys[index]) or NO_CONNECTION
        return Origin(address, port, version, domain, index, connection)

    def find(self, address: bytes, version: int, domain: int, port: int) -> int:
        """Return the index of the session that such a datagram belongs to."""
        merged = session_key(address, version, domain, None)
        key = merged
        entry = self._exporters.find(address)
        if (entry is not None and entry.has_separate_ports) or self.is_split(merged):
            key = session_key(address, version, domain, port)
        index = self._index.get(key)
        return index if index is not None else self._load(key, merged, port)

    def _find_connected(self, address: bytes, version: int, domain: int, connection: int) -> int:
        """Return the index of a connection's session, and know what it inherits from."""
        key, shared = (connection_key(address, version, domain, c) for c in (connection, None))
        found = self.index_of(key)
        self.shared[found] = self.index_of(shared)
        return found

    def _load(self, key: str, merged: str, port: int) -> int:
        """Read one session; a new port of a split address inherits what that port had sent."""
        session = self._view.get(SESSION, key)
        progress = self._view.get(PROGRESS, key)
        self._is_new.append(progress is None)
        if session is None:
            session = Session()
            shared = self._view.get(SESSION, merged) if key != merged else None
            if shared is not None:
                own = {i: t for i, t in shared.templates.items() if t.source_port == port}
                session = Session(own, dict(shared.samplers), dict(shared.applications))
        progress = progress or Progress()
        self._index[key] = len(self.keys)
        self.keys.append(key)
        self.sessions.append(session)
        self.progress.append(progress)
        self._before.append((session, progress))
        return len(self.keys) - 1

    def is_split(self, merged: str) -> bool:
        """Return whether ports of this session have been told apart."""
        if merged not in self._split:
            self._split[merged] = bool(self._view.get(SPLIT, merged))
        return self._split[merged]

    def split(self, indices: Iterable[int]) -> bool:
        """Tell the ports of these sessions apart from now on; return whether that is news.

        If so, every working copy is dropped, and the batch has to start over.
        """
        merged = [key for index in indices if (key := self.keys[index]).endswith(SHARED)]
        if not merged:
            return False
        for held in (self._index, self.keys, self.sessions, self.progress, self._before):
            held.clear()
        self.shared.clear()
        self._is_new.clear()
        self._set_rates = None
        self._entries = []
        self._split.update(dict.fromkeys(merged, True))
        return True

    def set_rates(self) -> tuple[Int64s, Int64s]:
        """Return what the settings say of each session of this batch, int64 [sessions] each.

        First the rate in place of any other, then the one where no other is known; 0: none.
        """
        if self._set_rates is None or len(self._set_rates[0]) != len(self.keys):
            entries = self.entries()
            forced = [entry.sampling_rate if entry else 0 for entry in entries]
            default = [
                (entry.default_sampling_rate if entry else 0) or self._default_rate
                for entry in entries
            ]
            self._set_rates = np.array(forced, np.int64), np.array(default, np.int64)
        return self._set_rates

    def entries(self) -> list[ExporterConfig | None]:
        """Return the settings' entry of each session of this batch, None where there is none."""
        if len(self._entries) != len(self.keys):
            self._entries = [self._exporters.find(bytes.fromhex(key[:32])) for key in self.keys]
        return self._entries

    def index_of(self, key: str) -> int:
        """Return the index of a session by its key, reading it where it is new to the batch."""
        index = self._index.get(key)
        return index if index is not None else self._load(key, key, 0)

    def begun(self) -> dict[int, int]:
        """Return the sessions of connections that begin in this batch, and what each inherits."""
        return {index: shared for index, shared in self.shared.items() if self._is_new[index]}

    def may_hold(self, index: int) -> bool:
        """Return whether data sets may wait that a template of this session releases.

        What a port sent before it was told apart waits under the shared session.
        """
        return self.progress[index].held_sets > 0 or not self.keys[index].endswith(SHARED)

    def add_held(self, index: int, sets: int, octets: int) -> None:
        """Add to (or, negative, take from) what waits for templates in a session."""
        held = self.progress[index]
        self.progress[index] = dataclasses.replace(
            held,
            held_sets=max(0, held.held_sets + sets),
            held_octets=max(0, held.held_octets + octets),
        )

    def changes(self, over: Mapping[str, Progress | None]) -> list[Put | Delete]:
        """Return the changes of the state, the totals and the forgotten sessions among them.

        over are sessions whose connection ended, with their progress in the state, if any: their
        deletion is another's, here they only count no more.
        """
        out: list[Put | Delete] = []
        totals: Totals = self._view.get(TOTALS, "") or Totals()
        sessions, held, templates = totals.sessions, totals.held_octets, totals.template_octets
        for index, key in enumerate(self.keys):
            before, session, progress = (
                self._before[index],
                self.sessions[index],
                self.progress[index],
            )
            if key in over:
                continue
            is_changed = session is not before[0] or (
                self._is_new[index] and bool(session.templates or session.samplers)
            )
            if is_changed:
                out.append(Put(SESSION, key, session))
            if is_changed or progress.sources is not before[1].sources:
                octets = session.octets + TEMPLATE_OCTETS * len(progress.sources)
                progress = dataclasses.replace(progress, template_octets=octets)
            if progress is not before[1]:
                out.append(Put(PROGRESS, key, progress))
                sessions += self._is_new[index]
            held += progress.held_octets - before[1].held_octets
            templates += progress.template_octets - before[1].template_octets
        for merged, is_split in self._split.items():
            if is_split and not self._view.get(SPLIT, merged):
                out.append(Put(SPLIT, merged, True))
        for known in over.values():
            if known is not None:
                sessions -= 1
                held -= known.held_octets
                templates -= known.template_octets
        gone = self._silent(
            over,
            *(
                size - limit + limit // 10 if size > limit else 0
                for size, limit in zip((sessions, templates), self._limits, strict=True)
            ),
        )
        self.forgotten = len(gone)
        out += self._forget(gone)
        after = Totals(
            max(0, sessions - len(gone)),
            max(0, held - sum(progress.held_octets for progress in gone.values())),
            max(0, templates - sum(progress.template_octets for progress in gone.values())),
        )
        if after != totals:
            out.append(Put(TOTALS, "", after))
        return out

    def _silent(self, over: Container[str], count: int, octets: int) -> dict[str, Progress]:
        """Return sessions silent the longest: `count`, and more up to `octets` of templates.

        Those of this batch, and those that are over, are not among them.
        """
        chosen: dict[str, Progress] = {}
        if count <= 0 and octets <= 0:
            return chosen
        others = [
            item
            for item in self._view.scan(PROGRESS)
            if item[0] not in self._index and item[0] not in over
        ]
        for key, progress in sorted(others, key=lambda item: (item[1].last_seen_at, item[0])):
            if count <= 0 and octets <= 0:
                break
            chosen[key] = progress
            count -= 1
            octets -= progress.template_octets
        return chosen

    def _forget(self, gone: Mapping[str, Progress]) -> list[Put | Delete]:
        """Return the deletion of sessions, of what waits for their templates, of empty splits."""
        if not gone:
            return []
        out: list[Put | Delete] = [
            Delete(collection, key) for key in gone for collection in (SESSION, PROGRESS)
        ]
        if any(progress.held_octets for progress in gone.values()):
            out += [Delete(HELD, k) for k, held in self._view.scan(HELD) if held.session in gone]
        ports = [key for key in gone if not (key.endswith(SHARED) or is_connected(key))]
        split = {merged_key(key) for key in ports}
        if split:
            kept = (key for key, _ in self._view.scan(PROGRESS) if key not in gone)
            split -= {merged_key(key) for key in (*kept, *self.keys)}
            out += [Delete(SPLIT, merged) for merged in sorted(split)]
        return out


def merged_key(key: str) -> str:
    """Return the key of the session that all ports of a session's address would share."""
    return session_key(*split_session_key(key), None)


def note_arrivals(
    sessions: Sessions, origins: list[Origin], origin: Int64s, received_at: Int64s
) -> None:
    """Record in each session's progress when each of its ports was last heard."""
    if not len(origin):
        return
    last = np.zeros(len(origins), np.int64)
    np.maximum.at(last, origin, received_at)
    for number, seen in zip(
        np.unique(origin).tolist(), last[np.unique(origin)].tolist(), strict=True
    ):
        sender = origins[number]
        held = sessions.progress[sender.session]
        ports = dict(held.ports)
        ports[sender.source_port] = max(seen, ports.get(sender.source_port, 0))
        while len(ports) > 8:
            del ports[min(ports, key=lambda port: (ports[port], port))]
        sessions.progress[sender.session] = dataclasses.replace(
            held, ports=ports, last_seen_at=max(held.last_seen_at, seen)
        )


def _alike(keys: NDArray[np.uint8]) -> tuple[Int64s, Int64s]:
    """Return a row of each different key, and for each row which of those it equals.

    Rows are compared by 64 bits mixed from them; should two that differ share those, by octets.
    """
    words = keys.view(np.uint64)
    mixed = words[:, 0].copy()
    for column in range(1, words.shape[1]):
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _MIXER ^ words[:, column]
    _, first, found = np.unique(mixed, return_index=True, return_inverse=True)
    if not (words[first][found] == words).all():
        _, first, found = np.unique(words, axis=0, return_index=True, return_inverse=True)
    return first, found
