"""Names of applications, as option records tell them (RFC 6759 §6.5), over the sets of a batch.

A name holds from its set on. Exporters number applications as they like, so each has names of its
own; they stay in the session, and what was told again changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.gathering import Group
from collectors.netflow.headers import Rows
from collectors.netflow.sessions import Sessions
from collectors.netflow.texts import (
    APPLICATION_ID_OCTETS_MAX,
    Texts,
    read_application_id,
    read_name,
)

Int64s = NDArray[np.int64]
Note = Callable[[int, str, int], None]


class _Event(NamedTuple):
    """What one option record says: the name of an application from a set on."""

    order: int
    session: int
    origin: int
    told: str
    name: str


class ApplicationNames:
    """What a batch's options tell, and what the sessions knew before it."""

    def __init__(self, sessions: Sessions, config: FlowDecodeConfig, note: Note) -> None:
        """Start with what the sessions know; note(origin, name, count) takes what is counted."""
        self._sessions = sessions
        self._config = config
        self._note = note
        self._events: list[_Event] = []
        self._told: dict[tuple[int, str], tuple[list[int], list[str]]] = {}

    def watch(self, groups: Iterable[Group], rows: Rows) -> Iterator[Group]:
        """Yield the groups as they are, and take the names that they tell."""
        for group in groups:
            texts = group.layout.texts
            if group.layout.is_options and "application" in texts and "application_name" in texts:
                self._take(group, rows)
            yield group
        self._define()

    def _take(self, group: Group, rows: Rows) -> None:
        ids = Texts(read_application_id, APPLICATION_ID_OCTETS_MAX, is_padded=False)
        names = Texts(read_name, self._config.application_name_octets_limit)
        each_id, each_name = (
            ids.numbers(group, "application"),
            names.numbers(group, "application_name"),
        )
        for row in names.refused_rows().tolist():
            self._note(int(rows.origin[row]), "application_name_too_long", 1)
        both = np.flatnonzero((each_id > 0) & (each_name > 0))
        row = group.row[both]
        columns = (group.order[both], rows.session[row], rows.origin[row])
        known_ids, known_names = ids.known, names.known
        told = [known_ids[number] for number in each_id[both].tolist()]
        called = [known_names[number] for number in each_name[both].tolist()]
        numbers = (column.tolist() for column in columns)
        self._events += map(_Event, *numbers, told, called)

    def _define(self) -> None:
        """Put the names into force in the order in which they were told."""
        after: dict[int, dict[str, str]] = {}
        limit = self._config.applications_per_session_limit
        for event in sorted(self._events, key=lambda event: event.order):
            names = after.get(event.session)
            if names is None:
                known = self._sessions.sessions[event.session].applications
                names = after[event.session] = dict(known)
            former = names.get(event.told)
            if former == event.name:
                continue
            if former is None and len(names) >= limit:
                self._note(event.origin, "applications_per_session_limit", 1)
                continue
            start = ([-1], [former or ""])
            orders, changed = self._told.setdefault((event.session, event.told), start)
            orders.append(event.order)
            changed.append(event.name)
            names[event.told] = event.name
        for session in {session for session, _ in self._told}:
            held = self._sessions.sessions[session]
            renewed = dataclasses.replace(held, applications=after[session])
            self._sessions.sessions[session] = renewed
        self._events.clear()

    def names_of(self, session: int, told: str, order: Int64s) -> Iterable[tuple[str, Int64s]]:
        """Yield (name, indices into order) of an id in a session, as `texts.Named`."""
        everywhere = np.arange(len(order))
        changed = self._told.get((session, told))
        if changed is None:
            yield self._sessions.sessions[session].applications.get(told, ""), everywhere
            return
        orders, names = changed
        which = np.searchsorted(np.array(orders, np.int64), order, side="right") - 1
        for number in np.unique(which).tolist():
            yield names[number], everywhere[which == number]
