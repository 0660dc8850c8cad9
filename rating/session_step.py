"""The sessions stage: accounting packets in; usage, bindings and live sessions out.

Packets are taken one by one in log order, and each sends the difference that it makes, with its own
received_at: so lateness (DESIGN §3.6) does not depend on how the log is cut into batches. Silence
is measured by watermark; a packet that comes after its session fell silent first lets the session
end, also when both lie in one batch.

Most packets simply go on where their session stood (`rating.going_on`): they look at its
tail only. Every other packet looks at all packets kept of its Acct-Session-Id. Both give the same.

The directory must know a fact before usage of its time is taken (facts are never valid in the
past, rating.records); its rows of a batch are taken before the packets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import polars as pl
from msgspec.structs import replace

from rating import accounting, directory
from rating.accounting import AccountingRecord
from rating.bindings import binding_id, bindings_of, holds_of, retracted
from rating.compaction import compact, compact_straight, tail_of
from rating.endings import (
    MERGED,
    Ending,
    Marker,
    ending_at,
    first_markers,
    settled_ending,
    silence_ms,
)
from rating.going_on import extended
from rating.knots import NO_USAGE, minutes_between
from rating.ports import Delete, Put, StateView, StepResult
from rating.session_config import SessionsConfig
from rating.session_output import SessionOutput
from rating.session_state import (
    RUNNING,
    Checkpoint,
    Facts,
    Holds,
    Packet,
    SentBinding,
    SessionGroup,
)
from rating.sessions import (
    Session,
    add_packet,
    facts_of,
    is_straight,
    packet_of,
    session_id,
    sessions_of,
)

COLLECTIONS: dict[str, Any] = {
    "sessions": SessionGroup,
    "markers": tuple[Marker, ...],
    "session_timers": str,
    **directory.COLLECTIONS,
}
"""sessions: NAS and Acct-Session-Id -> group. markers: nas_id -> On and Off. session_timers: due
time and group -> group."""
_KINDS = frozenset({directory.IDENTITY, directory.MEMBERSHIP})
_SEPARATOR = "\x1f"
_NEVER_AT = 10**14


def group_key(nas_id: str, acct_session_id: str) -> str:
    """Return the key of a session group; the groups of one NAS lie side by side."""
    return f"{nas_id}{_SEPARATOR}{acct_session_id}"


def step(
    view: StateView,
    records: Sequence[AccountingRecord],
    directory_rows: pl.DataFrame,
    *,
    watermark_at: int,
    config: SessionsConfig,
) -> StepResult:
    """Return what a batch of accounting packets changes; see the module's docstring.

    directory_rows has the columns of DirectoryEntry; watermark_at is ms, "received through".
    """
    worker = _Worker(view, config)
    worker.directory.take(directory_rows)
    for record, facts in zip(records, worker.read(records), strict=True):
        worker.take(record, facts)
    worker.pass_time(watermark_at)
    return worker.result()


class _Worker:
    """One step in the making: groups as they stand, and what is to be sent.

    held: groups that were read ahead. newest: groups that packets extended, with their tail before
    the last of them. looked_at: groups of which all packets were looked at, so that all of their
    sessions may have changed.
    """

    def __init__(self, view: StateView, config: SessionsConfig) -> None:
        self.view = view
        self.config = config
        self.directory = directory.Directory(view, _KINDS)
        self.output = SessionOutput(self.directory)
        self.counters: Counter[str] = Counter()
        self.changes: list[Put | Delete] = []
        self.held: dict[str, SessionGroup] = {}
        self.loaded: dict[str, SessionGroup] = {}
        self.groups: dict[str, SessionGroup] = {}
        self.derived: dict[str, tuple[Session, ...]] = {}
        self.newest: dict[str, Checkpoint] = {}
        self.looked_at: set[str] = set()
        self.markers: dict[str, tuple[Marker, ...]] = {}
        self.closings: dict[str, list[Marker]] = {}

    # -- state ---------------------------------------------------------------------------------

    def read(self, records: Sequence[AccountingRecord]) -> list[Facts]:
        """Return each packet's facts; reads at once what the packets will ask the view for."""
        all_facts = [facts_of(record, self.config.identity_order) for record in records]
        self._read_groups({group_key(r.nas_id, r.acct_session_id) for r in records})
        self.directory.read_identities({i for facts in all_facts for i in facts.identities})
        return all_facts

    def _read_groups(self, keys: set[str]) -> None:
        self.held.update(self.view.get_many("sessions", keys - self.groups.keys()))

    def group(self, key: str) -> SessionGroup:
        """Return a group as it stands; an empty one where there is none."""
        if key not in self.groups:
            nas_id, _, acct_session_id = key.partition(_SEPARATOR)
            held = self.held.get(key) or self.view.get("sessions", key)
            found = held or SessionGroup(nas_id, acct_session_id)
            self.loaded[key] = self.groups[key] = found
        return self.groups[key]

    def sessions(self, key: str) -> tuple[Session, ...]:
        """Return a group's sessions from all of its packets."""
        if key not in self.derived:
            self.derived[key] = sessions_of(self.group(key), self.config)
        return self.derived[key]

    def closings_of(self, nas_id: str) -> list[Marker]:
        """Return the markers of a NAS, repetitions left out."""
        if nas_id not in self.closings:
            self.markers.setdefault(nas_id, self.view.get("markers", nas_id) or ())
            window_seconds = self.config.marker_window_seconds
            self.closings[nas_id] = first_markers(self.markers[nas_id], window_seconds)
        return self.closings[nas_id]

    def subscriber_at(self, session: Session, at_ms: int) -> str:
        """Return the session's subscriber_id at an instant, "" where the directory has none."""
        return self.directory.first_subscriber_at(session.identities, at_ms)

    def settled(self, key: str) -> list[tuple[Session, Ending]]:
        """Return a group's sessions, each with its ending from packets alone."""
        sessions = self.sessions(key)
        markers = self.closings_of(self.groups[key].nas_id)
        followers = [session.started_at for session in sessions[1:]]
        return [
            (session, settled_ending(session, successor_at, markers))
            for session, successor_at in zip(sessions, [*followers, None], strict=True)
        ]

    # -- packets -------------------------------------------------------------------------------

    def take(self, record: AccountingRecord, facts: Facts) -> None:
        """Take one packet: send the usage and the bindings that it changes."""
        self.counters["sessions_packets"] += 1
        if record.status in (accounting.ACCOUNTING_ON, accounting.ACCOUNTING_OFF):
            self._take_marker(record)
            return
        if record.status == accounting.OTHER or not record.acct_session_id:
            self.counters["sessions_ignored"] += 1
            return
        if record.counts == accounting.COUNTS_NOTHING:
            self.counters["sessions_services_left_out"] += 1
            return
        key = group_key(record.nas_id, record.acct_session_id)
        group = self.group(key)
        if not group.packets and not group.checkpoints:
            group = self.groups[key] = replace(group, counts=record.counts)
        silent_at = self._silent_at(key)
        if silent_at is not None and silent_at <= record.received_at:
            self._look_at(key, record.received_at, silent_at)
            group = self.groups[key]
        packet = packet_of(record, facts, group)
        tail = group.tail
        if tail is not None and self._is_shown_open(key, group, tail):
            subscriber_at = self.directory.first_subscriber_at
            grown = extended(group, packet, facts, subscriber_at, self.config)
            if grown is not None and grown.tail is not None:
                self._extend(key, packet.received_at, tail, grown.tail)
                self.groups[key] = grown
                return
        self._insert(key, packet, facts)

    def _silent_at(self, key: str) -> int | None:
        """Return when (ms) the newest session will have been silent for too long."""
        group = self.group(key)
        if group.tail is not None:
            return group.tail.last_received_at + silence_ms(self.config)
        if not group.packets and not group.checkpoints:
            return None
        newest = self.sessions(key)[-1]
        is_open = newest.stop_at is None
        return newest.last_received_at + silence_ms(self.config) if is_open else None

    def _is_silent(self, key: str, watermark_at: int) -> bool:
        silent_at = self._silent_at(key)
        return silent_at is None or silent_at <= watermark_at

    def _is_shown_open(self, key: str, group: SessionGroup, tail: Checkpoint) -> bool:
        """Return whether all that was sent of the newest session says that it runs."""
        name = session_id(group, tail.generation)
        if key not in self.looked_at:
            return group.rows.get(name) == RUNNING
        # Its row is still to be sent; its bindings were sent as of the last look.
        sent = [group.sent.get(binding_id(name, hold)) for hold in tail.holds.open]
        return all(binding is not None and binding.until_at is None for binding in sent)

    def _extend(self, key: str, received_at: int, former: Checkpoint, tail: Checkpoint) -> None:
        """Send what a packet adds that moves the tail of its session."""
        self.derived.pop(key, None)
        self.newest[key] = former
        self.output.send_minutes(
            self.groups[key],
            tail,
            minutes_between(former.origin_at, former.origin, tail.origin_at, tail.origin),
            received_at,
        )

    def _insert(self, key: str, packet: Packet, facts: Facts) -> None:
        """Take a packet that may change anything said of its Acct-Session-Id before."""
        before = self.sessions(key)
        changed = add_packet(self.groups[key], packet, facts)
        if changed is self.groups[key]:
            self.counters["sessions_duplicates"] += 1
            return
        self.groups[key] = changed
        del self.derived[key]
        after = self.sessions(key)
        for name, kind in (
            ("sessions_after_stop", "after_stop"),
            ("sessions_duplicates", "repeats"),
        ):
            more = sum(len(getattr(session, kind)) for session in after)
            more -= sum(len(getattr(session, kind)) for session in before)
            self.counters[name] += max(0, more)
        self.output.send_usage(self.groups[key], before, after, packet.received_at)
        self._look_at(key, packet.received_at, packet.received_at)
        self._renew_tail(key)

    def _renew_tail(self, key: str) -> None:
        sessions = self.sessions(key)
        tail, straight = None, False
        if sessions:
            newest = sessions[-1]
            tail = tail_of(newest, holds_of(newest, partial(self.subscriber_at, newest)))
            straight = tail is not None and is_straight(self.groups[key], newest)
        self.groups[key] = replace(self.groups[key], tail=tail, is_straight=straight)

    def _take_marker(self, record: AccountingRecord) -> None:
        self.counters["sessions_markers"] += 1
        nas_id = record.nas_id
        former = list(self.closings_of(nas_id))
        markers = sorted({*self.markers[nas_id], Marker(record.event_at, record.status)})
        self.markers[nas_id] = tuple(markers[-self.config.markers_per_nas_max :])
        if len(markers) > len(self.markers[nas_id]):
            self.counters["sessions_markers_forgotten"] += 1
        del self.closings[nas_id]
        self.changes.append(Put("markers", nas_id, self.markers[nas_id]))
        if self.closings_of(nas_id) == former:
            return
        low = group_key(nas_id, "")
        held = {key for key, _ in self.view.scan("sessions", low, f"{nas_id}\x20")}
        held |= {key for key in self.groups if key.startswith(low)}
        for key in sorted(held):
            self._look_at(key, record.received_at, record.received_at)

    # -- bindings ------------------------------------------------------------------------------

    def _look_at(self, key: str, now: int, received_at: int) -> None:
        """Send the bindings of all sessions of a group as of an instant (ms)."""
        self.looked_at.add(key)
        wanted: dict[str, SentBinding] = {}
        for session, settled in self.settled(key):
            ending = ending_at(settled, session, now, self.config)
            holds = holds_of(session, partial(self.subscriber_at, session))
            wanted.update(bindings_of(session.session_id, holds, ending.ended_at))
        self._send_bindings(key, wanted, self.groups[key].sent, received_at)

    def _send_bindings(
        self,
        key: str,
        wanted: dict[str, SentBinding],
        sent: dict[str, SentBinding],
        received_at: int,
    ) -> None:
        """Send what of the wanted bindings differs from the sent ones; take others back."""
        if wanted == sent:
            return
        group = self.groups[key]
        revision = group.revision
        standing = dict(group.sent)
        for name in sorted({*wanted, *sent}):
            binding = wanted.get(name) or retracted(sent[name])
            if binding == sent.get(name):
                continue
            revision += 1
            standing[name] = binding
            self.output.send_binding(name, revision, binding, received_at)
        self.groups[key] = replace(group, sent=standing, revision=revision)

    # -- time ----------------------------------------------------------------------------------

    def pass_time(self, watermark_at: int) -> None:
        """Fire the timers that are due, then settle every group that was touched."""
        due = list(self.view.scan("session_timers", "", _timer_key(watermark_at + 1, "")))
        self._read_groups({key for _, key in due})
        groups = (self.held.get(key) for _, key in due)
        self.directory.read_identities(
            {i for group in groups if group for facts in group.facts for i in facts.identities}
        )
        for timer, key in due:
            self.changes.append(Delete("session_timers", timer))
            self.groups[key] = replace(self.group(key), timer_at=0)
        for key in sorted(self.groups):
            group = self.groups[key]
            if not group.packets and not group.checkpoints:
                continue
            silent_at = self._silent_at(key)
            if silent_at is not None and silent_at <= watermark_at:
                self._look_at(key, watermark_at, silent_at)
            if key in self.looked_at:
                self._send_rows(key, watermark_at)
            elif key in self.newest:
                self.output.send_running_row(self.groups[key], self.newest[key])
            if self.groups[key] is not self.loaded[key]:
                self._compact(key, watermark_at)
                self._arm(key, watermark_at)

    def _send_rows(self, key: str, watermark_at: int) -> None:
        """Send the live row of every session that changed; sessions that merged are closed."""
        committed = {s.session_id: s for s in sessions_of(self.loaded[key], self.config)}
        gone = set(self.groups[key].rows)
        for session, settled in self.settled(key):
            ending = ending_at(settled, session, watermark_at, self.config)
            shown = self.groups[key].rows.get(session.session_id)
            gone.discard(session.session_id)
            end = RUNNING if ending.ended_at is None else ending.ended_at
            if shown != end or session != committed.get(session.session_id):
                holds = holds_of(session, partial(self.subscriber_at, session))
                self._send_row(key, session, ending, holds)
        rows = {name: end for name, end in self.groups[key].rows.items() if name not in gone}
        for name in sorted(gone & set(committed)):
            merged = replace(committed[name], curve=NO_USAGE)
            holds = holds_of(merged, partial(self.subscriber_at, merged))
            self._send_row(key, merged, Ending(merged.started_at, MERGED), holds)
        self.groups[key] = replace(self.groups[key], rows=rows)

    def _send_row(self, key: str, session: Session, ending: Ending, holds: Holds) -> None:
        group = self.groups[key]
        shown = group.rows.get(session.session_id)
        end = RUNNING if ending.ended_at is None else ending.ended_at
        if shown is None:
            self.counters["sessions_opened"] += 1
            self.counters["sessions_opened_midway"] += session.opened_midway
        if shown in (None, RUNNING) and end != RUNNING:
            self.counters["sessions_ended"] += 1
        if shown not in (None, RUNNING) and end == RUNNING:
            self.counters["sessions_reopened"] += 1
        self.output.send_row(group, session, ending, holds)
        if shown != end:
            rows = {**group.rows, session.session_id: end}
            self.groups[key] = replace(group, rows=rows)

    # -- forgetting ----------------------------------------------------------------------------

    def _compact(self, key: str, watermark_at: int) -> None:
        """Compact what is behind the bound: all of it in a silent group, else now and then."""
        group = self.groups[key]
        limit = self.config.packets_per_session_max
        bound_ms = self.config.lateness_bound_seconds * 1000
        slack_ms = 0 if self._is_silent(key, watermark_at) else bound_ms // 4
        horizon_at = watermark_at - bound_ms
        if len(group.packets) > limit:
            self.counters["sessions_compacted_early"] += 1
            settled_at = sorted(packet.settled_at for packet in group.packets)
            horizon_at, slack_ms = max(horizon_at, settled_at[-limit // 2]), 0
        # In a straight group the oldest is the first, whatever came late.
        candidates = group.packets[: 1 if group.is_straight else None]
        oldest_at = min([packet.settled_at for packet in candidates], default=_NEVER_AT)
        if oldest_at + slack_ms <= horizon_at:
            self._compact_before(key, horizon_at)
        if not self.groups[key].packets or key in self.looked_at:
            self._forget(key, watermark_at)

    def _compact_before(self, key: str, horizon_at: int) -> None:
        group = self.groups[key]
        compacted = None
        if group.tail is not None and group.is_straight:
            compacted = compact_straight(
                group, group.tail, horizon_at, self.subscriber_at, self.config
            )
        if compacted is not None:
            self.groups[key] = compacted
            self.derived.pop(key, None)
            return
        self.groups[key] = compact(group, self.settled(key), horizon_at, self.subscriber_at)
        self.derived.pop(key, None)
        self._renew_tail(key)

    def _forget(self, key: str, watermark_at: int) -> None:
        """Drop the checkpoints of sessions whose retention is over."""
        gone = {
            session.session_id: session.generation
            for session, settled in self.settled(key)
            if self._forget_at(session, settled) <= watermark_at
        }
        if not gone:
            return
        group = self.groups[key]
        self.groups[key] = replace(
            group,
            checkpoints=tuple(c for c in group.checkpoints if c.generation not in gone.values()),
            sent={name: b for name, b in group.sent.items() if b.session_id not in gone},
            rows={name: end for name, end in group.rows.items() if name not in gone},
        )
        self.derived.pop(key)
        self._renew_tail(key)

    def _forget_at(self, session: Session, settled: Ending) -> int:
        """Return when (ms) a session may be forgotten; while it has packets, at no known time."""
        if session.packets or session.after_stop or session.repeats:
            return _NEVER_AT
        if settled.ended_at is None:
            return session.last_received_at + self.config.silent_session_retention_seconds * 1000
        return session.last_received_at + self.config.ended_session_retention_seconds * 1000

    # -- timers --------------------------------------------------------------------------------

    def _arm(self, key: str, watermark_at: int) -> None:
        """Commit the group, with a timer for when it needs attention although no packet comes."""
        group = self.groups[key]
        if not group.packets and not group.checkpoints:
            if group.timer_at:
                self.changes.append(Delete("session_timers", _timer_key(group.timer_at, key)))
            self.changes.append(Delete("sessions", key))
            return
        if group.timer_at and key not in self.looked_at:
            # What only went on needs attention later, if at all.
            due_at = group.timer_at
        else:
            due_at = min(group.timer_at or _NEVER_AT, self._due_at(key, watermark_at))
        if due_at != group.timer_at:
            if group.timer_at:
                self.changes.append(Delete("session_timers", _timer_key(group.timer_at, key)))
            group = replace(group, timer_at=due_at)
            self.changes.append(Put("session_timers", _timer_key(due_at, key), key))
        self.changes.append(Put("sessions", key, group))

    def _due_at(self, key: str, watermark_at: int) -> int:
        group = self.groups[key]
        silent_at = self._silent_at(key)
        due = [silent_at] if silent_at is not None and silent_at > watermark_at else []
        if group.packets:
            last_at = max([packet.settled_at for packet in group.packets])
            due.append(last_at + self.config.lateness_bound_seconds * 1000)
        else:
            due += [self._forget_at(session, settled) for session, settled in self.settled(key)]
        return max(min(due), watermark_at + 1)

    # -- result --------------------------------------------------------------------------------

    def result(self) -> StepResult:
        """Return what the step wants committed."""
        self.counters["sessions_unattributed_rows"] += self.output.unattributed_rows
        return StepResult(
            changes=[*self.directory.changes, *self.changes],
            outputs=self.output.outputs(),
            rows=[*self.output.rows, *self.output.unattributed()],
            counters={name: count for name, count in self.counters.items() if count},
        )


def _timer_key(due_at: int, key: str) -> str:
    return f"{due_at:015d}{_SEPARATOR}{key}"
