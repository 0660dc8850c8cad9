"""What agents lost before anything was sent: the `drops` of each source of samples.

A flow sample carries how often its source could not take a sample that was due (sFlow v5 §5, drops)
and its own sequence number, both since the agent began. The drops between two samples of a source
are their difference modulo 2^32; a sample that comes late adds nothing, since the later one told
already. Each dropped sample stood for as many packets as one that came.
"""

from __future__ import annotations

import dataclasses
import itertools
import operator
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.headers import Rows
from collectors.netflow.sessions import Sessions
from collectors.sflow.samples import FlowSamples

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]
Note = Callable[[int, str, int], None]

_MODULUS = 1 << 32
_HALF = 1 << 31

Told = tuple[int, int]
"""The sequence number and the drops of a source's newest sample."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Sources:
    """Samples in order of source and arrival: first [m] is where each source's begin."""

    session: Int64s
    source: Int64s
    sequence: Int64s
    drops: Int64s
    first: Int64s


def note_drops(
    samples: FlowSamples, rows: Rows, sessions: Sessions, config: FlowDecodeConfig, note: Note
) -> None:
    """Count the samples that agents dropped, and move each session's sources on.

    Of more sources than `sampled_sources_per_session_limit` the drops are not counted.
    """
    if not len(samples):
        return
    sources, order = _by_source(samples, rows)
    session_of = sources.session[sources.first].tolist()
    names = sources.source[sources.first].tolist()
    told = [
        sessions.progress[session].sources.get(name)
        for session, name in zip(session_of, names, strict=True)
    ]
    dropped, newest = _advance(sources, told, config)
    origin_of = rows.origin[samples.row[order[sources.first]]].tolist()
    of_each = zip(session_of, names, dropped.tolist(), newest, origin_of, strict=True)
    for session, own in itertools.groupby(of_each, key=operator.itemgetter(0)):
        progress = sessions.progress[session]
        known = dict(progress.sources)
        for _, name, lost, last, origin in own:
            if name not in known and len(known) >= config.sampled_sources_per_session_limit:
                note(origin, "sampled_sources_limit", 1)
                continue
            known[name] = last
            if lost:
                note(origin, "samples_dropped", lost)
        sessions.progress[session] = dataclasses.replace(progress, sources=known)


def _by_source(samples: FlowSamples, rows: Rows) -> tuple[_Sources, Int64s]:
    """Return the samples in order of source, and that order."""
    session = rows.session[samples.row]
    order = np.lexsort((samples.source, session))
    session, source = session[order], samples.source[order]
    begins = (np.diff(session) != 0) | (np.diff(source) != 0)
    first = np.concatenate([[0], np.flatnonzero(begins) + 1])
    return _Sources(session, source, samples.sequence[order], samples.drops[order], first), order


def _advance(
    sources: _Sources, told: list[Told | None], config: FlowDecodeConfig
) -> tuple[Int64s, list[Told]]:
    """Return how many drops each source's samples add, and its newest sample."""
    first = sources.first
    last = np.append(first[1:], len(sources.sequence)) - 1
    before = np.concatenate([[0], sources.sequence[:-1]])
    drops_before = np.concatenate([[0], sources.drops[:-1]])
    before[first] = [one[0] if one else 0 for one in told]
    drops_before[first] = [one[1] if one else 0 for one in told]
    is_new = np.zeros(len(before), np.bool_)
    is_new[first] = [one is None for one in told]
    step = _distance(before, sources.sequence)
    added = _distance(drops_before, sources.drops)
    is_next = is_new | ((step > 0) & (step <= config.sequence_gap_limit))
    added[is_new | (added < 0)] = 0
    dropped = np.add.reduceat(added, first)
    newest = list(zip(sources.sequence[last].tolist(), sources.drops[last].tolist(), strict=True))
    for place in np.flatnonzero(~np.logical_and.reduceat(is_next, first)).tolist():
        mine = slice(int(first[place]), int(last[place]) + 1)
        dropped[place], newest[place] = _advance_singly(
            told[place], sources.sequence[mine].tolist(), sources.drops[mine].tolist(), config
        )
    return dropped, newest


def _advance_singly(
    told: Told | None, sequence: list[int], drops: list[int], config: FlowDecodeConfig
) -> tuple[int, Told]:
    """Do the same for one source sample by sample, where some came late or the agent restarted."""
    lost = 0
    for number, count in zip(sequence, drops, strict=True):
        if told is not None:
            step = (number - told[0] + _HALF) % _MODULUS - _HALF
            if -config.sequence_reorder_limit <= step <= 0:
                continue
            added = (count - told[1] + _HALF) % _MODULUS - _HALF
            if 0 < step <= config.sequence_gap_limit:
                lost += max(0, added)
        told = (number, count)
    assert told is not None, "a source has samples"
    return lost, told


def _distance(start: Int64s, end: Int64s) -> Int64s:
    """Return the way from one number modulo 2^32 to another, the shorter one."""
    way: Int64s = (end - start + _HALF) % _MODULUS - _HALF
    return way
