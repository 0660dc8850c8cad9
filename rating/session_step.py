"""The sessions stage: accounting packets in; usage, bindings and live sessions out.

Packets are taken one by one in log order, and each sends the difference that it makes, with its own
received_at: so lateness (DESIGN §3.6) does not depend on how the log is cut into batches. Silence
is measured by watermark; a packet that comes after its session fell silent first lets the session
end, also when both lie in one batch.

The directory must know a fact before usage of its time is taken (facts are never valid in the
past, rating.records); its rows of a batch are taken before the packets.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import polars as pl

from rating import accounting, directory
from rating.accounting import AccountingRecord
from rating.addresses import format_address, format_prefix
from rating.bindings import bindings_of, holds_of, retracted
from rating.compaction import compact
from rating.endings import (
    MERGED,
    Ending,
    Marker,
    ending_at,
    first_markers,
    settled_ending,
    silent_at,
)
from rating.knots import MINUTE_MS, Counters, minutes_of
from rating.ports import Delete, Output, Put, StateView, StepResult
from rating.records import UNATTRIBUTED_PREFIX, UNCLASSIFIED, SessionBinding, Usage, schema_of
from rating.rows import LiveSession, UnattributedMinute
from rating.session_config import SessionsConfig
from rating.session_state import RUNNING, Hold, SentBinding, SessionGroup
from rating.sessions import Session, add_record, facts_of, sessions_of

SOURCE = "accounting"
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
_COMPACTION_SLACK_MS = 600_000
"""How much longer than the bound a knot may stay, so that a group is compacted rarely."""


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
    for record in records:
        worker.take(record)
    worker.pass_time(watermark_at)
    return worker.result()


class _Worker:
    """One step in the making: groups as they stand, and what is to be sent."""

    def __init__(self, view: StateView, config: SessionsConfig) -> None:
        self.view = view
        self.config = config
        self.directory = directory.Directory(view, _KINDS)
        self.counters: Counter[str] = Counter()
        self.usage: list[tuple[Any, ...]] = []
        self.bindings: list[tuple[Any, ...]] = []
        self.rows: list[Any] = []
        self.unattributed: dict[tuple[str, int], list[int]] = {}
        self.changes: list[Put | Delete] = []
        self.groups: dict[str, SessionGroup] = {}
        self.derived: dict[str, tuple[Session, ...]] = {}
        self.committed: dict[str, tuple[Session, ...]] = {}
        self.markers: dict[str, tuple[Marker, ...]] = {}
        self.closings: dict[str, list[Marker]] = {}

    # -- state ---------------------------------------------------------------------------------

    def group(self, key: str) -> SessionGroup:
        """Return a group as it stands; an empty one where there is none."""
        if key not in self.groups:
            found = self.view.get("sessions", key)
            nas_id, _, acct_session_id = key.partition(_SEPARATOR)
            self.groups[key] = found or SessionGroup(nas_id, acct_session_id)
            self.derived[key] = sessions_of(self.groups[key], self.config) if found else ()
            self.committed[key] = self.derived[key]
        return self.groups[key]

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
        sessions = self.derived[key]
        markers = self.closings_of(self.groups[key].nas_id)
        followers = [session.started_at for session in sessions[1:]]
        return [
            (session, settled_ending(session, successor_at, markers))
            for session, successor_at in zip(sessions, [*followers, None], strict=True)
        ]

    # -- packets -------------------------------------------------------------------------------

    def take(self, record: AccountingRecord) -> None:
        """Take one packet: send the usage and the bindings that it changes."""
        self.counters["sessions_packets"] += 1
        if record.status in (accounting.ACCOUNTING_ON, accounting.ACCOUNTING_OFF):
            self._take_marker(record)
            return
        if record.status == accounting.OTHER or not record.acct_session_id:
            self.counters["sessions_ignored"] += 1
            return
        key = group_key(record.nas_id, record.acct_session_id)
        group = self.group(key)
        before = self.derived[key]
        if before and silent_at(before[-1], self.config) <= record.received_at:
            self._send_bindings(key, record.received_at, silent_at(before[-1], self.config))
            group = self.groups[key]
        facts = facts_of(record, self.config.identity_order)
        changed = add_record(group, record, facts)
        if changed is group:
            self.counters["sessions_duplicates"] += 1
            return
        self.groups[key] = changed
        self.derived[key] = sessions_of(changed, self.config)
        self._count_uncounted(before, self.derived[key])
        self._send_usage(before, self.derived[key], record.received_at)
        self._send_bindings(key, record.received_at, record.received_at)

    def _count_uncounted(self, before: Sequence[Session], after: Sequence[Session]) -> None:
        for name, kind in (
            ("sessions_after_stop", "after_stop"),
            ("sessions_duplicates", "repeats"),
        ):
            more = sum(len(getattr(session, kind)) for session in after)
            more -= sum(len(getattr(session, kind)) for session in before)
            self.counters[name] += max(0, more)

    def _take_marker(self, record: AccountingRecord) -> None:
        self.counters["sessions_markers"] += 1
        nas_id = record.nas_id
        former = list(self.closings_of(nas_id))
        markers = sorted({*self.markers[nas_id], Marker(record.event_at, record.status)})
        self.markers[nas_id] = tuple(markers[-self.config.markers_per_nas_max :])
        del self.closings[nas_id]
        self.changes.append(Put("markers", nas_id, self.markers[nas_id]))
        if self.closings_of(nas_id) == former:
            return
        low = group_key(nas_id, "")
        held = {key for key, _ in self.view.scan("sessions", low, f"{nas_id}\x20")}
        held |= {key for key in self.groups if key.startswith(low)}
        for key in sorted(held):
            self.group(key)
            self._send_bindings(key, record.received_at, record.received_at)

    # -- what is sent --------------------------------------------------------------------------

    def _send_usage(
        self, before: Sequence[Session], after: Sequence[Session], received_at: int
    ) -> None:
        former = {session.session_id: session for session in before}
        for session in after:
            old = former.pop(session.session_id, None)
            if old is None or old.identities == session.identities:
                curve = old.curve if old else None
                self._send_minutes(session, minutes_of(curve, session.curve), received_at)
            else:
                self._send_minutes(old, minutes_of(old.curve, None), received_at)
                self._send_minutes(session, minutes_of(None, session.curve), received_at)
        for old in former.values():
            self._send_minutes(old, minutes_of(old.curve, None), received_at)

    def _send_minutes(
        self, session: Session, changes: Sequence[tuple[int, Counters]], received_at: int
    ) -> None:
        for minute, change in changes:
            subscriber_id = self.subscriber_at(session, minute * MINUTE_MS)
            if subscriber_id:
                rating_key = self.directory.rating_key_at(subscriber_id, minute)
            else:
                rating_key = UNATTRIBUTED_PREFIX + SOURCE
                detail = session.identities[0] if session.identities else "nobody named"
                total = self.unattributed.setdefault((detail, minute), [0, 0])
                total[0] += change.octets_up
                total[1] += change.octets_down
                self.counters["sessions_unattributed_rows"] += 1
            head = (rating_key, subscriber_id, SOURCE, session.session_id, UNCLASSIFIED, minute)
            self.usage.append((*head, *change, received_at))

    def _send_bindings(self, key: str, now: int, received_at: int) -> None:
        """Send the bindings of a group that differ from what was sent, as of an instant."""
        group = self.groups[key]
        wanted: dict[str, SentBinding] = {}
        for session, settled in self.settled(key):
            ending = ending_at(settled, session, now, self.config)
            holds = holds_of(session, partial(self.subscriber_at, session))
            wanted.update(bindings_of(session.session_id, holds, ending.ended_at))
        if wanted == group.sent:
            return
        revision = group.revision
        sent = dict(group.sent)
        for name in sorted({*wanted, *sent}):
            former = sent.get(name)
            binding = wanted.get(name) or retracted(sent[name])
            if binding == former:
                continue
            revision += 1
            sent[name] = binding
            row = (name, revision, binding.address, binding.length, 0, binding.subscriber_id)
            span = (binding.session_id, binding.from_at, binding.until_at, received_at)
            self.bindings.append((*row, *span))
        self.groups[key] = dataclasses.replace(group, sent=sent, revision=revision)

    # -- time ----------------------------------------------------------------------------------

    def pass_time(self, watermark_at: int) -> None:
        """Fire the timers that are due, then settle every group that was touched."""
        for timer, key in self.view.scan("session_timers", "", _timer_key(watermark_at + 1, "")):
            self.changes.append(Delete("session_timers", timer))
            self.groups[key] = dataclasses.replace(self.group(key), timer_at=0)
        for key in sorted(self.groups):
            if self.groups[key].packets or self.groups[key].checkpoints:
                self._settle(key, watermark_at)

    def _settle(self, key: str, watermark_at: int) -> None:
        for session in self.derived[key][-1:]:
            due_at = silent_at(session, self.config)
            if due_at <= watermark_at:
                self._send_bindings(key, watermark_at, due_at)
        self._send_rows(key, watermark_at)
        self._compact(key, watermark_at)
        self._forget(key, watermark_at)
        group = self.groups[key]
        is_gone = not group.packets and not group.checkpoints
        due_at = 0 if is_gone else self._due_at(key, watermark_at)
        if group.timer_at and (is_gone or due_at < group.timer_at):
            self.changes.append(Delete("session_timers", _timer_key(group.timer_at, key)))
            group = dataclasses.replace(group, timer_at=0)
        if is_gone:
            self.changes.append(Delete("sessions", key))
            return
        if not group.timer_at:
            group = dataclasses.replace(group, timer_at=due_at)
            self.changes.append(Put("session_timers", _timer_key(due_at, key), key))
        self.changes.append(Put("sessions", key, group))

    def _send_rows(self, key: str, watermark_at: int) -> None:
        group = self.groups[key]
        rows = dict(group.rows)
        committed = {session.session_id: session for session in self.committed[key]}
        gone = set(rows)
        for session, settled in self.settled(key):
            ending = ending_at(settled, session, watermark_at, self.config)
            shown = rows.get(session.session_id)
            end = RUNNING if ending.ended_at is None else ending.ended_at
            gone.discard(session.session_id)
            if shown == end and session == committed.get(session.session_id):
                continue
            self._count_row(session, shown, end)
            rows[session.session_id] = end
            self.rows.append(self._live_row(group, session, ending))
        for session_id in sorted(gone):
            former = committed.get(session_id)
            if former is not None:
                merged = Ending(former.started_at, MERGED)
                row = self._live_row(group, former, merged)
                self.rows.append(dataclasses.replace(row, octets_up=0, octets_down=0))
            del rows[session_id]
        self.groups[key] = dataclasses.replace(group, rows=rows)

    def _count_row(self, session: Session, shown: int | None, end: int) -> None:
        if shown is None:
            self.counters["sessions_opened"] += 1
            self.counters["sessions_opened_midway"] += session.opened_midway
        if shown in (None, RUNNING) and end != RUNNING:
            self.counters["sessions_ended"] += 1
        if shown not in (None, RUNNING) and end == RUNNING:
            self.counters["sessions_reopened"] += 1

    def _live_row(self, group: SessionGroup, session: Session, ending: Ending) -> LiveSession:
        holds = holds_of(session, partial(self.subscriber_at, session))
        held = (*holds.closed, *holds.open)
        up_bps, down_bps, interval_start_at = _rates(session)
        counters = session.curve.values[-1]
        nas_address = session.nas_address
        return LiveSession(
            session_id=session.session_id,
            nas_id=group.nas_id,
            nas_address=format_address(nas_address) if nas_address else "",
            acct_session_id=group.acct_session_id,
            subscriber_id=self.subscriber_at(session, session.last_event_at),
            user_name=session.user_name,
            framed_address=_newest(held, (0, 1, 2)),
            delegated_prefix=_newest(held, (3,)),
            started_at=session.started_at,
            last_seen_at=session.last_event_at,
            ended_at=ending.ended_at,
            end_cause=ending.cause,
            octets_up=counters.octets_up,
            octets_down=counters.octets_down,
            rate_up_bps=up_bps,
            rate_down_bps=down_bps,
            interval_start_at=interval_start_at,
        )

    def _compact(self, key: str, watermark_at: int) -> None:
        """Compact what is behind the bound: all of it when the timer fired, else now and then."""
        group = self.groups[key]
        horizon_at = watermark_at - self.config.lateness_bound_seconds * 1000
        limit = self.config.packets_per_session_max
        settled_at = sorted(max(p.event_at, p.received_at) for p in group.packets)
        slack_ms = _COMPACTION_SLACK_MS if group.timer_at else 0
        if len(settled_at) > limit:
            self.counters["sessions_compacted_early"] += 1
            horizon_at = max(horizon_at, settled_at[-limit // 2])
            slack_ms = 0
        if settled_at and settled_at[0] + slack_ms <= horizon_at:
            compacted = compact(group, self.settled(key), horizon_at, self.subscriber_at)
            self.groups[key] = compacted
            self.derived[key] = sessions_of(compacted, self.config)

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
        self.groups[key] = dataclasses.replace(
            group,
            checkpoints=tuple(c for c in group.checkpoints if c.generation not in gone.values()),
            sent={name: b for name, b in group.sent.items() if b.session_id not in gone},
            rows={name: end for name, end in group.rows.items() if name not in gone},
        )
        self.derived[key] = sessions_of(self.groups[key], self.config)

    def _forget_at(self, session: Session, settled: Ending) -> int:
        """Return when (ms) a session may be forgotten; while it has packets, at no known time."""
        if session.packets or session.after_stop or session.repeats:
            return _NEVER_AT
        if settled.ended_at is None:
            return session.last_received_at + self.config.silent_session_retention_seconds * 1000
        return session.last_received_at + self.config.ended_session_retention_seconds * 1000

    def _due_at(self, key: str, watermark_at: int) -> int:
        """Return when (ms) the group needs attention although no packet comes."""
        due = []
        for session, settled in self.settled(key):
            due.append(self._forget_at(session, settled))
            if settled.ended_at is None and silent_at(session, self.config) > watermark_at:
                due.append(silent_at(session, self.config))
        group = self.groups[key]
        if group.packets:
            last_at = max(max(p.event_at, p.received_at) for p in group.packets)
            due.append(last_at + self.config.lateness_bound_seconds * 1000)
        return max(min(due), watermark_at + 1)

    # -- result --------------------------------------------------------------------------------

    def result(self) -> StepResult:
        """Return what the step wants committed."""
        rows = list(self.rows)
        for (detail, minute), (up, down) in sorted(self.unattributed.items()):
            if up or down:
                rows.append(UnattributedMinute(SOURCE, detail, minute, up, down))
        outputs = [
            Output(topic, _frame(record, sent))
            for topic, record, sent in (
                ("session.bindings", SessionBinding, self.bindings),
                ("usage.measured", Usage, self.usage),
            )
            if sent
        ]
        changes = [*self.directory.changes, *self.changes]
        return StepResult(changes, outputs, rows, dict(self.counters))


def _timer_key(due_at: int, key: str) -> str:
    return f"{due_at:015d}{_SEPARATOR}{key}"


def _frame(record: type, rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    schema = schema_of(record)
    return pl.DataFrame(dict(zip(schema, zip(*rows, strict=True), strict=True)), schema=schema)


def _rates(session: Session) -> tuple[int, int, int]:
    """Return bits per second up and down over the last knot interval, and where it starts (ms)."""
    times, values = session.curve.times, session.curve.values
    if len(times) < 2:
        return 0, 0, times[0]
    span_ms = times[-1] - times[-2]
    up = values[-1].octets_up - values[-2].octets_up
    down = values[-1].octets_down - values[-2].octets_down
    return up * 8000 // span_ms, down * 8000 // span_ms, times[-2]


def _newest(held: Sequence[Hold], kinds: tuple[int, ...]) -> str:
    """Return the newest address or prefix of the first kind that the session has, as text."""
    for kind in kinds:
        for hold in reversed(held):
            if hold.kind == kind:
                return format_prefix(hold.address, hold.length)
    return ""
