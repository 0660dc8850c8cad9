"""What the sessions stage sends: usage with its rating key, bindings, live rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from rating.accounting import COUNTS_ALL, COUNTS_OCTETS
from rating.addresses import format_address, format_prefix
from rating.directory import Directory
from rating.endings import Ending
from rating.knots import Counters, minutes_of
from rating.ports import Output
from rating.records import UNATTRIBUTED_PREFIX, UNCLASSIFIED, SessionBinding, Usage, schema_of
from rating.rows import LiveSession, UnattributedMinute
from rating.session_state import Checkpoint, Hold, Holds, SentBinding, SessionGroup
from rating.sessions import Session, session_id

SOURCE = "accounting"
_RUNS = Ending(None, "")


class SessionOutput:
    """Gathers the output of one step; subscribers and rating keys come from the directory."""

    def __init__(self, directory: Directory) -> None:
        """Start with nothing to send."""
        self._directory = directory
        self._usage: list[tuple[Any, ...]] = []
        self._bindings: list[tuple[Any, ...]] = []
        self._unattributed: dict[tuple[str, int], list[int]] = {}
        self.rows: list[LiveSession] = []
        self.unattributed_rows = 0

    def send_usage(
        self,
        group: SessionGroup,
        before: Sequence[Session],
        after: Sequence[Session],
        received_at: int,
    ) -> None:
        """Send the difference between two views of the sessions of one Acct-Session-Id."""
        former = {session.session_id: session for session in before}
        for session in after:
            old = former.pop(session.session_id, None)
            if old is None or old.identities == session.identities:
                changes = minutes_of(old.curve if old else None, session.curve)
                self.send_minutes(group, session, changes, received_at)
            else:
                self.send_minutes(group, old, minutes_of(old.curve, None), received_at)
                self.send_minutes(group, session, minutes_of(None, session.curve), received_at)
        for old in former.values():
            self.send_minutes(group, old, minutes_of(old.curve, None), received_at)

    def send_minutes(
        self,
        group: SessionGroup,
        session: Session | Checkpoint,
        changes: Sequence[tuple[int, Counters]],
        received_at: int,
    ) -> None:
        """Send signed usage per minute of a session of a group, as far as the group counts."""
        changes = _counted(changes, group.counts)
        if not changes:
            return
        name, identities = session_id(group, session.generation), session.identities
        owners = self._directory.owners(identities, [minute for minute, _ in changes])
        for (minute, change), (subscriber_id, rating_key) in zip(changes, owners, strict=True):
            if not subscriber_id:
                rating_key = UNATTRIBUTED_PREFIX + SOURCE
                detail = identities[0] if identities else "nobody named"
                total = self._unattributed.setdefault((detail, minute), [0, 0])
                total[0] += change.octets_up
                total[1] += change.octets_down
                self.unattributed_rows += 1
            head = (rating_key, subscriber_id, SOURCE, name, UNCLASSIFIED, minute)
            self._usage.append((*head, *change, received_at))

    def send_binding(
        self, binding_id: str, revision: int, binding: SentBinding, received_at: int
    ) -> None:
        """Send one revision of a binding."""
        row = (binding_id, revision, binding.address, binding.length, 0, binding.subscriber_id)
        span = (binding.session_id, binding.from_at, binding.until_at, received_at)
        self._bindings.append((*row, *span))

    def send_row(self, group: SessionGroup, session: Session, ending: Ending, holds: Holds) -> None:
        """Send the live row of a session; a service inside a session has none."""
        if group.counts == COUNTS_OCTETS:
            return
        times, values = session.curve.times, session.curve.values
        # A session of one knot has no interval yet: it is one without length.
        since = (times[-2], values[-2]) if len(times) > 1 else (times[0], values[0])
        knots = (*since, times[-1], values[-1])
        self._send_row(group, session.session_id, session, knots, (ending, holds))

    def send_running_row(self, group: SessionGroup, former: Checkpoint) -> None:
        """Send the live row of the newest session, which runs on since a former tail."""
        tail = group.tail
        assert tail is not None
        if group.counts == COUNTS_OCTETS:
            return
        knots = (former.origin_at, former.origin, tail.origin_at, tail.origin)
        self._send_row(group, session_id(group, tail.generation), tail, knots, (_RUNS, tail.holds))

    def _send_row(
        self,
        group: SessionGroup,
        name: str,
        session: Session | Checkpoint,
        knots: tuple[int, Counters, int, Counters],
        shown: tuple[Ending, Holds],
    ) -> None:
        """Send a row; knots are time and counters of the last two, shown is its end and holds."""
        since_at, since, until_at, counters = knots
        ending, holds = shown
        held = (*holds.closed, *holds.open)
        span_ms = until_at - since_at or 1
        nas_address = session.nas_address
        at = session.last_event_at
        row = LiveSession(
            session_id=name,
            nas_id=group.nas_id,
            nas_address=format_address(nas_address) if nas_address else "",
            acct_session_id=group.acct_session_id,
            subscriber_id=self._directory.first_subscriber_at(session.identities, at),
            user_name=session.user_name,
            framed_address=_newest(held, (0, 1, 2)),
            delegated_prefix=_newest(held, (3,)),
            started_at=session.started_at,
            last_seen_at=at,
            ended_at=ending.ended_at,
            end_cause=ending.cause,
            octets_up=counters.octets_up,
            octets_down=counters.octets_down,
            rate_up_bps=(counters.octets_up - since.octets_up) * 8000 // span_ms,
            rate_down_bps=(counters.octets_down - since.octets_down) * 8000 // span_ms,
            interval_start_at=since_at,
        )
        self.rows.append(row)

    def outputs(self) -> list[Output]:
        """Return the topic outputs, empty ones left out."""
        return [
            Output(topic, _frame(record, sent))
            for topic, record, sent in (
                ("session.bindings", SessionBinding, self._bindings),
                ("usage.measured", Usage, self._usage),
            )
            if sent
        ]

    def unattributed(self) -> list[UnattributedMinute]:
        """Return what belonged to nobody the directory knows, per identity and minute."""
        return [
            UnattributedMinute(SOURCE, detail, minute, up, down)
            for (detail, minute), (up, down) in sorted(self._unattributed.items())
            if up or down
        ]


def _counted(
    changes: Sequence[tuple[int, Counters]], counts: str
) -> Sequence[tuple[int, Counters]]:
    """Return usage per minute without what another session or service of the NAS tells."""
    if counts == COUNTS_ALL:
        return changes
    kept = []
    for minute, change in changes:
        is_octets = counts == COUNTS_OCTETS
        left = change._replace(seconds=0) if is_octets else Counters(0, 0, 0, 0, change.seconds)
        if any(left):
            kept.append((minute, left))
    return kept


def _frame(record: type, rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    schema = schema_of(record)
    return pl.DataFrame(dict(zip(schema, zip(*rows, strict=True), strict=True)), schema=schema)


def _newest(held: Sequence[Hold], kinds: tuple[int, ...]) -> str:
    """Return the newest address or prefix of the first kind that the session has, as text."""
    for kind in kinds:
        for hold in reversed(held):
            if hold.kind == kind:
                return format_prefix(hold.address, hold.length)
    return ""
