"""What template sets of a batch teach: which layout holds for a data set at its place in time.

A template holds from its set on, until another of the same id replaces it. A data set that comes
before the first is decoded with the first: it waited (in this batch or in the state). A template
that came over a connection may be withdrawn (RFC 7011 §8.1): data behind that waits for the next.
One that came over UDP and is not repeated for long expires likewise (RFC 7011 §8.4).
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.layouts import Layout, layout_of
from collectors.netflow.sessions import Origin, Sessions
from collectors.netflow.sets import Sets
from collectors.netflow.state import Template
from collectors.netflow.templates import (
    EVERY_TEMPLATE,
    FIXED,
    TemplateRecord,
    is_template_set,
    read_template_set,
)

Int64s = NDArray[np.int64]
Note = Callable[[int, str, int], None]

Versions = tuple[list[int], list[Template | None]]
"""From which set on (-1: from before the batch) which template holds; None: none any more."""

_REFRESHES_NOTED = 64
"""In how many parts of its expiry a template's last refresh is known: each costs a write."""


@dataclasses.dataclass(frozen=True, slots=True)
class Learned:
    """Templates that a batch (re)defined.

    versions: (session, template id) -> the sets that defined it, ascending, and its templates;
    an order of -1 is what the state held, and None is a template's end, never the first.
    conflicts: sessions whose ports must be told apart.
    """

    versions: dict[tuple[int, int], Versions]
    conflicts: set[int]


class TemplateReader:
    """Walks the template sets of a batch in order."""

    def __init__(
        self, sessions: Sessions, origins: list[Origin], config: FlowDecodeConfig, note: Note
    ) -> None:
        """Start with nothing learned; note(origin, name, count) takes what is to be counted."""
        self._sessions = sessions
        self._origins = origins
        self._config = config
        self._note = note
        self._expiry = config.template_expiry_seconds * 1000
        self._arrivals = _Arrivals(np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._versions: dict[tuple[int, int], Versions] = {}
        self._conflicts: set[int] = set()
        self._counts: dict[int, int] = {}

    def learn(
        self, sets: Sets, payload: memoryview, origin: Int64s, received_at: Int64s
    ) -> Learned:
        """Return what the sets teach; origin and received_at are columns of the datagrams."""
        sessions = np.array([sender.session for sender in self._origins], np.int64)
        self._arrivals = _Arrivals(sessions[origin[sets.row]], received_at[sets.row])
        versions = np.array([sender.version for sender in self._origins], np.int64)
        # A datagram without templates is one set, whose id says something else.
        is_fixed = np.isin(versions, FIXED)[origin[sets.row]]
        for order in np.flatnonzero((sets.set_id < 256) & ~is_fixed).tolist():
            row = int(sets.row[order])
            number = int(origin[row])
            version = int(versions[number])
            set_id = int(sets.set_id[order])
            if not is_template_set(version, set_id):
                self._note(number, "set_id_reserved", 1)
                continue
            start = int(sets.start[order])
            body = bytes(payload[start : start + int(sets.length[order])])
            held = read_template_set(version, set_id, body, self._config.template_fields_limit)
            for reason in held.refused:
                self._note(number, reason, 1)
            for record in held.records:
                if record.is_withdrawal:
                    self._withdraw(order, number, record)
                    continue
                self._note(number, "options_templates" if record.is_options else "templates", 1)
                self._define(order, number, record, int(received_at[row]))
        self._expire()
        return Learned(self._versions, self._conflicts)

    def _define(self, order: int, number: int, record: TemplateRecord, now: int) -> None:
        """Put one template into force from the set `order` on."""
        sender = self._origins[number]
        key = (sender.session, record.template_id)
        held = self._sessions.sessions[sender.session].templates
        current = self._current(key)
        if current is not None and self._is_over(current, sender.session, order):
            self._end(key, number, current)
            current = None
        refreshed_at = 0 if sender.connection or not self._expiry else now
        fresh = Template(record.is_options, record.definition, sender.source_port, refreshed_at)
        if current is not None and current == dataclasses.replace(
            fresh, refreshed_at=current.refreshed_at
        ):
            if refreshed_at >= current.refreshed_at + self._expiry // _REFRESHES_NOTED + 1:
                self._versions.setdefault(key, self._versions_of(key))[1][-1] = fresh
            return
        if current is None:
            count = self._counts.get(sender.session, len(held))
            if count >= self._config.templates_per_session_limit:
                self._note(number, "templates_per_session_limit", 1)
                return
            self._counts[sender.session] = count + 1
        elif current.source_port != fresh.source_port and not _is_same(current, fresh):
            last = self._sessions.progress[sender.session].ports.get(current.source_port)
            if last is not None and now - last <= self._config.port_conflict_seconds * 1000:
                self._conflicts.add(sender.session)
        self._begin(key, order, fresh)

    def _withdraw(self, order: int, number: int, record: TemplateRecord) -> None:
        """Take one template, or all of a kind, out of force from the set `order` on.

        Over UDP it is ignored: it must not come there (RFC 7011 §8.4), and a forged one would stop
        the billing.
        """
        sender = self._origins[number]
        if not sender.connection:
            self._note(number, "template_withdrawal_ignored", 1)
            return
        held = self._sessions.sessions[sender.session].templates
        learned = [which for session, which in self._versions if session == sender.session]
        is_every = record.template_id == EVERY_TEMPLATE
        withdrawn = 0
        for template_id in {*held, *learned} if is_every else (record.template_id,):
            key = (sender.session, template_id)
            current = self._current(key)
            if current is None or (is_every and current.is_options != record.is_options):
                continue
            self._begin(key, order, None)
            self._counts[sender.session] = self._counts.get(sender.session, len(held)) - 1
            withdrawn += 1
        if withdrawn:
            self._note(number, "templates_withdrawn", withdrawn)
        elif not is_every:
            self._note(number, "template_withdrawal_unknown", 1)

    def _is_over(self, template: Template, session: int, order: int) -> bool:
        """Return whether a template was not repeated for too long at a session's set `order`."""
        if not template.refreshed_at or not self._expiry:
            return False
        ends_at = template.refreshed_at + self._expiry
        if self._arrivals.newest <= ends_at:
            return False
        return 0 <= self._arrivals.first_behind(session, ends_at) <= order

    def _end(self, key: tuple[int, int], number: int, template: Template) -> None:
        """Take a template out of force from its session's first set behind its expiry on."""
        held = self._sessions.sessions[key[0]].templates
        order = self._arrivals.first_behind(key[0], template.refreshed_at + self._expiry)
        self._begin(key, order, None)
        self._counts[key[0]] = self._counts.get(key[0], len(held)) - 1
        self._note(number, "templates_expired", 1)

    def _expire(self) -> None:
        """End the templates of the batch's sessions that no set of it repeated in time."""
        if not self._expiry:
            return
        last, oldest = len(self._arrivals), self._arrivals.newest - self._expiry
        known: dict[int, set[int]] = {}
        for session, template_id in self._versions:
            known.setdefault(session, set()).add(template_id)
        first = {sender.session: n for n, sender in reversed(list(enumerate(self._origins)))}
        for session, number in first.items():
            held = self._sessions.sessions[session].templates
            for template_id in sorted(held.keys() | known.get(session, set())):
                current = self._current((session, template_id))
                if current is None or not 0 < current.refreshed_at < oldest:
                    continue
                if self._is_over(current, session, last):
                    self._end((session, template_id), number, current)

    def _current(self, key: tuple[int, int]) -> Template | None:
        """Return the template in force after what was read so far."""
        templates = self._versions_of(key)[1]
        return templates[-1] if templates else None

    def _versions_of(self, key: tuple[int, int]) -> Versions:
        """Return what is known of a template so far."""
        versions = self._versions.get(key)
        if versions is None:
            known = self._sessions.sessions[key[0]].templates.get(key[1])
            versions = ([-1], [known]) if known else ([], [])
        return versions

    def _begin(self, key: tuple[int, int], order: int, template: Template | None) -> None:
        """Put a template into force, or (None) out of it; of one set the last word stands."""
        orders, templates = self._versions.setdefault(key, self._versions_of(key))
        orders.append(order)
        templates.append(template)


class _Arrivals:
    """When the sets of a batch came: columns of the sets, session and received_at (ms)."""

    def __init__(self, session: Int64s, received_at: Int64s) -> None:
        self._session = session
        self._received_at = received_at
        self._of: dict[int, tuple[Int64s, Int64s]] = {}
        self.newest = int(received_at.max(initial=0))

    def __len__(self) -> int:
        return len(self._session)

    def first_behind(self, session: int, at: int) -> int:
        """Return a session's first set when `at` had passed, -1 where there is none.

        What came over several sockets may be a little out of order: time does not go back.
        """
        if session not in self._of:
            mine = np.flatnonzero(self._session == session)
            self._of[session] = mine, np.maximum.accumulate(self._received_at[mine])
        mine, reached = self._of[session]
        first = int(np.searchsorted(reached, at, side="right"))
        return int(mine[first]) if first < len(mine) else -1


def _is_same(one: Template, other: Template) -> bool:
    """Return whether two templates describe records alike."""
    return one.is_options == other.is_options and one.definition == other.definition


def commit_templates(sessions: Sessions, learned: Learned) -> None:
    """Put the last version of each learned template into the working sessions."""
    newest: dict[int, dict[int, Template | None]] = {}
    for (session, template_id), (_, templates) in learned.versions.items():
        newest.setdefault(session, {})[template_id] = templates[-1]
    for session, templates_of in newest.items():
        held = sessions.sessions[session]
        after = {**held.templates, **templates_of}
        sessions.sessions[session] = dataclasses.replace(
            held, templates={number: template for number, template in after.items() if template}
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Resolution:
    """Which layout reads each set: index into layouts (-1: none yet), and the order it counts at.

    layout, order: int64 [m]. A set that waited counts at its template's definition.
    """

    layouts: list[Layout]
    layout: Int64s
    order: Int64s


def resolve_layouts(
    sessions: Sessions, learned: Learned, session: Int64s, version: Int64s, set_id: Int64s
) -> Resolution:
    """Return the layouts of data sets in arrival order; -1 where no template is known.

    session, version and set_id are columns of the sets; sets that are no data get -1 too.
    """
    m = len(set_id)
    layouts: list[Layout] = []
    index_of: dict[Layout, int] = {}
    layout = np.full(m, -1, np.int64)
    order = np.arange(m, dtype=np.int64)
    is_data = (set_id >= 256) | np.isin(version, FIXED)
    data = np.flatnonzero(is_data)
    keys, inverse = np.unique(session[data] << 17 | set_id[data], return_inverse=True)
    places = np.split(
        data[np.argsort(inverse, kind="stable")], np.cumsum(np.bincount(inverse))[:-1]
    )
    for key, place in zip(keys.tolist(), places if len(keys) else [], strict=True):
        number, template_id = key >> 17, key & 0x1FFFF
        family = int(version[place[0]])
        starts, templates = _versions_of(sessions, learned, number, template_id, family)
        for at, template in enumerate(templates):
            chosen = place
            if len(templates) > 1 or starts[0] >= 0:
                chosen = place[_first_place(place, starts, templates, at) :]
            if template is None:
                layout[chosen] = -1
                continue
            compiled = layout_of(family, template.is_options, template.definition)
            found = index_of.setdefault(compiled, len(layouts))
            if found == len(layouts):
                layouts.append(compiled)
            order[chosen[chosen < starts[at]]] = starts[at]
            layout[chosen] = found
    return Resolution(layouts, layout, order)


def _first_place(
    place: Int64s, starts: list[int], templates: list[Template | None], at: int
) -> int:
    """Return from which of a template id's sets on its version `at` counts.

    The first counts for what came before it, and so does one that follows a withdrawal.
    """
    if not at:
        return 0
    has_waited = templates[at] is not None and templates[at - 1] is None
    return bisect.bisect_left(place, starts[at - 1] if has_waited else starts[at])


def _versions_of(
    sessions: Sessions, learned: Learned, session: int, template_id: int, version: int
) -> Versions:
    """Return the templates of one id over the batch and the sets from which they hold."""
    if version in FIXED:
        return [-1], [Template(False, bytes([template_id]), 0)]
    found = learned.versions.get((session, template_id))
    if found is not None:
        return found
    known = sessions.sessions[session].templates.get(template_id)
    return ([-1], [known]) if known else ([], [])
