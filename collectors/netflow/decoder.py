"""NetFlow, IPFIX and sFlow datagrams into columns of flows: the decoder, a pure function.

Read in this order: headers (one matrix), sets (walked side by side), learning (templates, one by
one, they are few), layouts (a numpy dtype per template), gathering (the data sets of one layout
over all datagrams and exporters become one `numpy.frombuffer`), rates, times, flows. The samples of
sFlow are `collectors.sflow.decoder`. Nothing here makes a Python object per flow, and no input
raises: what cannot be read is counted with a reason.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.datagrams import NO_CONNECTION, DatagramBlock
from collectors.drops import Drops, split_reports
from collectors.netflow import held
from collectors.netflow.applications import ApplicationNames
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.connections import begins_at, end_sessions, sessions_of, split_ends
from collectors.netflow.dedup import drop_duplicates
from collectors.netflow.flows import (
    Flows,
    empty_columns,
    fill_columns,
    implausible,
    join_flows,
)
from collectors.netflow.gathering import DataSets, Group, gather, join_released
from collectors.netflow.headers import Headers, Rows, read_headers
from collectors.netflow.learning import Learned, TemplateReader, commit_templates, resolve_layouts
from collectors.netflow.nat_events import NatEvents, nat_events
from collectors.netflow.rates import boot_times, fill_rates, learn_sampling
from collectors.netflow.runs import Runs
from collectors.netflow.sampling import Timeline
from collectors.netflow.sequence import advance_all
from collectors.netflow.sessions import Origin, Sessions, note_arrivals
from collectors.netflow.sets import Sets, walk_sets
from collectors.netflow.skew import goes_on, measure
from collectors.netflow.state import Clock
from collectors.netflow.templates import IPFIX, V1
from collectors.netflow.texts import Applications, user_names
from collectors.netflow.volume import VolumeRules, fill_volume
from collectors.sflow.decoder import COUNTED as COUNTED_SAMPLES
from collectors.sflow.decoder import SampleDecoder
from collectors.sflow.headers import SFLOW5, by_exporter
from rating.ports import Delete, Put, StateView

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

COUNTED = (
    *("datagrams", "templates", "options_templates", "templates_withdrawn", "templates_expired"),
    *("data_records", "option_records", "lost", "clock_corrected"),
    *("nat_exhausted", "nat_limited"),
    *COUNTED_SAMPLES,
)
"""What is counted per origin; every other name that is noted is a reason of refusal."""


@dataclasses.dataclass(slots=True)
class Heard:
    """What came of a session in an hour of receipt: datagrams, and units of its sequence numbers.

    lost is units; negative where late datagrams took back more than was lost. clock_skew_ms is how
    far its clock was ahead, at last.
    """

    datagrams: int = 0
    units: int = 0
    lost: int = 0
    clock_skew_ms: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """What a block held.

    counts: (index in origins, name) -> increment; names are COUNTED (`lost` may be negative: a
    late datagram takes back a gap) and reasons of refusal (`metrics.REFUSALS`). changes are the
    state's; released is how many data sets ended their wait for a template; forgotten counts what
    a limit made the state forget: ``sessions``, and ``digests`` of datagrams seen; ended is how
    many connections ended. heard is by session key and hour of receipt (hours since 1970); drops is
    what the collector itself reports.
    """

    flows: Flows
    origins: Sequence[Origin]
    counts: Mapping[tuple[int, str], int]
    changes: Sequence[Put | Delete]
    released: int = 0
    forgotten: Mapping[str, int] = dataclasses.field(default_factory=dict)
    ended: int = 0
    heard: Mapping[tuple[str, int], Heard] = dataclasses.field(default_factory=dict)
    drops: Sequence[Drops] = ()


def decode(
    view: StateView, block: DatagramBlock, *, watermark_at: int, config: FlowDecodeConfig
) -> Decoded:
    """Decode a block of datagrams in arrival order against the state that the view holds.

    watermark_at (ms, "received through") only lets marks and waiting sets expire. Collections are
    `state.COLLECTIONS`. The caller commits the changes; the same datagrams in other blocks, also
    with the state written and read again between any two, give the same flows.
    """
    decoding = Decoding(view, block, config)
    flows = list(decoding.parts(watermark_at=watermark_at, records_max=sys.maxsize))
    return decoding.result(join_flows(flows))


class Decoding:
    """One block on its way: `decode` in parts, for who wants the flows of a few sets at a time.

    The parts are taken one after the other, and the result after the last of them.
    """

    def __init__(self, view: StateView, block: DatagramBlock, config: FlowDecodeConfig) -> None:
        """Take over what `decode` is given."""
        self.view = view
        told, self.drops = split_reports(block)
        whole, self.ended = split_ends(told)
        self.block = by_exporter(whole)
        self.config = config
        self.sessions = Sessions(view, config)
        self.origins: list[Origin] = []
        self.counts: dict[tuple[int, str], int] = {}
        self.changes: list[Put | Delete] = []
        self.released = 0
        self.digests = 0
        self.nat_events: list[NatEvents] = []
        self.heard: dict[tuple[str, int], Heard] = {}

    def note(self, origin: int, name: str, count: int) -> None:
        """Count something of one origin."""
        key = (origin, name)
        self.counts[key] = self.counts.get(key, 0) + count

    def parts(self, *, watermark_at: int, records_max: int) -> Iterator[Flows]:
        """Yield the flows of the block, those of data sets of about records_max at a time.

        `nat_events` are then the events of NATs in those data sets.

        A record of one octet becomes hundreds of octets of columns: what is in memory at once is
        bounded by the parts, whatever a block and the sets that it releases hold. There is at least
        one part.
        """
        view, block, config, sessions = self.view, self.block, self.config, self.sessions
        payload = np.frombuffer(block.payload, np.uint8)
        fresh, changes, self.digests = drop_duplicates(
            view, block, watermark_at=watermark_at, config=config
        )
        headers = read_headers(block, payload)
        heard = fresh
        if block.connections is not None:
            # What a connection says counts for its session, also where another said it first: its
            # templates, rates and sequence numbers. Its flows do not count again.
            heard = fresh | (block.connections != NO_CONNECTION)
        readable = headers.is_readable & heard
        sets = _find_sets(payload, headers, readable, config.sets_per_datagram_limit)
        rows, learned = self._learn(headers, sets, readable)
        self._count_arrivals(headers, sets, rows, fresh)
        runs = Runs.of(rows.session, rows.received_at, readable)
        self._measure_clocks(rows, runs)
        released, gone = held.release(view, sessions, learned, rows.received_at[sets.row], config)
        gone += held.expire(view, sessions, gone, watermark_at=watermark_at, config=config)
        changes += gone
        resolution = resolve_layouts(
            sessions, learned, rows.session[sets.row], headers.version[sets.row], sets.set_id
        )
        waiting = np.flatnonzero((resolution.layout < 0) & (sets.set_id >= 256) & fresh[sets.row])
        changes += held.hold(
            view, sessions, (sets, waiting), (block, rows, self.origins), config, self.note
        )
        data = join_released(
            DataSets.of(block, sets, resolution, rows), released, self._origin_of, learned
        )
        self.released = len(released)
        released.clear()  # Their bodies are in data.
        options, others = data.by_kind()
        counts = np.zeros(len(data.row), np.int64)
        announced = self._gathered(data, options, counts, records_max)
        # A local name: whoever keeps `self.note` in `self` keeps the batch until Python looks for
        # cycles, and a hundred megabytes of such batches with it.
        names = ApplicationNames(sessions, config, self.note)
        announcing = names.watch((group for groups in announced for group in groups), data.rows)
        begun = begins_at(sessions, rows, sets)
        timelines = learn_sampling(sessions, announcing, data.rows, config, self.note, begun)
        commit_templates(sessions, learned)
        is_repeat = np.zeros(len(data.rows.origin), np.bool_)
        is_repeat[: len(fresh)] = heard & ~fresh
        for groups in self._gathered(data, others, counts, records_max):
            boots = functools.partial(boot_times, rows=data.rows, timelines=timelines)
            told = nat_events(groups, data.rows, boots, config, self.note)
            self.nat_events = [events.take(~is_repeat[events.row]) for events in told]
            yield self._fill(groups, data.rows, (timelines, names), is_repeat)
        self.nat_events = []
        samples = SampleDecoder(payload, headers, data.rows, readable, self.note)
        for flows in samples.parts(sessions, config, records_max):
            yield self._believed(flows)
        self._count_records(data, np.where(is_repeat[data.row], 0, counts))
        self._advance(headers, rows, runs, (sets, resolution.layout, counts[: len(sets)]))
        over = sessions_of(view, sessions.keys, self.ended)
        self.changes = [*changes, *sessions.changes(over), *end_sessions(view, over, changes)]

    def _gathered(
        self, data: DataSets, chosen: Int64s, counts: Int64s, records_max: int
    ) -> Iterator[list[Group]]:
        """Yield the records of the chosen sets in parts, and note how many each set held."""
        for place in data.parts(chosen, records_max):
            groups, counts[place] = gather(data.take(place), self.note)
            yield groups

    def result(self, flows: Flows) -> Decoded:
        """Return what the block held, after its last part was taken, with flows as given."""
        forgotten = {"sessions": self.sessions.forgotten, "digests": self.digests}
        return Decoded(
            flows=flows,
            origins=self.origins,
            counts=self.counts,
            changes=self.changes,
            released=self.released,
            forgotten=forgotten,
            ended=len(self.ended),
            heard=self.heard,
            drops=self.drops,
        )

    def _learn(self, headers: Headers, sets: Sets, readable: Bools) -> tuple[Rows, Learned]:
        """Return the datagrams' columns and what the template sets teach.

        Where two ports of an address contradict each other, they become two sessions and the
        learning starts over: a second time at most, since separate ports cannot contradict.
        """
        while True:
            self.counts.clear()
            self.origins, origin = self.sessions.origins(self.block, headers)
            session_of = np.array([o.session for o in self.origins], np.int64)
            rows = Rows(
                origin=origin,
                session=session_of[origin] if len(origin) else origin,
                received_at=self.block.received_at,
                export_at=headers.export_at,
                uptime=headers.uptime,
                header_rate=headers.header_rate,
                skew=np.zeros(len(origin), np.int64),
            )
            note_arrivals(self.sessions, self.origins, origin[readable], rows.received_at[readable])
            reader = TemplateReader(self.sessions, self.origins, self.config, self.note)
            learned = reader.learn(sets, self.block.payload, origin, rows.received_at)
            if not self.sessions.split(learned.conflicts):
                return rows, learned

    def _origin_of(self, session: str, port: int) -> tuple[int, int]:
        """Return the origin and session index of a set that waited, adding an origin if new."""
        index = self.sessions.index_of(session)
        for number, origin in enumerate(self.origins):
            if origin.session == index and origin.source_port == port:
                return number, index
        self.origins.append(self.sessions.origin_of(index, port))
        return len(self.origins) - 1, index

    def _count_arrivals(self, headers: Headers, sets: Sets, rows: Rows, fresh: Bools) -> None:
        """Count datagrams, duplicates, and what headers and set lengths got wrong."""
        for number, count in enumerate(np.bincount(rows.origin, minlength=0).tolist()):
            self.note(number, "datagrams", count)
        for row in np.flatnonzero(~fresh).tolist():
            self.note(int(rows.origin[row]), "duplicate", 1)
        for row, reason in (*headers.refused, *headers.remarks, *sets.refused):
            if fresh[row]:
                self.note(int(rows.origin[row]), reason, 1)

    def _measure_clocks(self, rows: Rows, runs: Runs) -> None:
        """Move the measure of each exporter's clock on, and write what its datagrams are off."""
        limit_ms = self.config.clock_skew_limit_seconds * 1000
        offsets = (rows.export_at - rows.received_at)[runs.place]
        ends = zip(*(runs.reduce(each, offsets) for each in (np.minimum, np.maximum)), strict=True)
        newest = runs.reduce(np.maximum, rows.received_at[runs.place] // 60_000)
        told = zip(runs.session, runs.hour, ends, newest, strict=True)
        for run, (session, hour, end, minute) in enumerate(told):
            before = self.sessions.progress[session]
            clock = goes_on(before.clock, end, minute, limit_ms)
            if clock is None:
                clock = self._measured(rows, runs.datagrams(run), before.clock, limit_ms)
            if clock is not before.clock:
                self.sessions.progress[session] = dataclasses.replace(before, clock=clock)
            self._heard(session, hour).clock_skew_ms = clock.skew

    def _measured(self, rows: Rows, place: Int64s, clock: Clock, limit_ms: int) -> Clock:
        """Return the clock after some datagrams of its session, and write what they are off."""
        received_at = rows.received_at[place]
        clock, skew = measure(clock, rows.export_at[place] - received_at, received_at, limit_ms)
        rows.skew[place] = skew
        wrong = place[skew != 0]
        for number, count in enumerate(np.bincount(rows.origin[wrong]).tolist()):
            if count:
                self.note(number, "clock_corrected", count)
        return clock

    def _heard(self, session: int, hour: int) -> Heard:
        """Return what is known of a session in an hour, to be added to."""
        return self.heard.setdefault((self.sessions.keys[session], hour), Heard())

    def _count_records(self, data: DataSets, counts: Int64s) -> None:
        """Count data records and option records by origin."""
        origin = data.rows.origin[data.row]
        for index, layout in enumerate(data.layouts):
            name = "option_records" if layout.is_options else "data_records"
            mine = data.layout == index
            found = np.bincount(origin[mine], weights=counts[mine])
            for number in np.flatnonzero(found).tolist():
                self.note(number, name, int(found[number]))

    def _fill(
        self,
        groups: Sequence[Group],
        rows: Rows,
        told: tuple[Mapping[int, Timeline], ApplicationNames],
        is_repeat: Bools,
    ) -> Flows:
        """Return the flows of the traffic groups.

        told is what the exporters said of sampling and of applications. is_repeat tells of each
        datagram whether its flows came before.
        """
        traffic = [group for group in groups if group.layout.is_traffic]
        columns: dict[str, Any] = empty_columns(sum(len(group.records) for group in traffic))
        timelines, announced = told
        names = user_names(self.config)
        rules = VolumeRules(self.sessions)
        applications = Applications(self.config, announced)
        start = 0
        for group in traffic:
            part = slice(start, start + len(group.records))
            start = part.stop
            boot_at = boot_times(group, rows, timelines)
            fill_columns(columns, part, group.layout, group.records, (rows, group.row, boot_at))
            fill_rates(columns, part, group, (rows, timelines, self.sessions), self.config)
            if group.layout.texts:
                columns["user_name"][part] = names.numbers(group, "user_name")
                session = rows.session[group.row]
                columns["application"][part] = applications.numbers(group, session)
            fill_volume(columns, part, group, rows, rules)
        for number in rows.origin[names.refused_rows()].tolist():
            self.note(number, "user_name_too_long", 1)
        for number in rows.origin[applications.refused_rows()].tolist():
            self.note(number, "application_name_too_long", 1)
        tables: dict[str, Any] = {"user_names": names.known, "applications": applications.known}
        flows = Flows(rows=rows, **tables, **columns)
        return self._believed(flows.take(~is_repeat[flows.row]) if is_repeat.any() else flows)

    def _believed(self, flows: Flows) -> Flows:
        """Return the flows without those that cannot be true, which are counted."""
        absurd = implausible(flows, self.config.record_octets_limit)
        if absurd is None:
            return flows
        for number in flows.origin[absurd].tolist():
            self.note(number, "implausible_counter", 1)
        return flows.take(~absurd)

    def _advance(
        self,
        headers: Headers,
        rows: Rows,
        runs: Runs,
        found: tuple[Sets, Int64s, Int64s],
    ) -> None:
        """Move the sequence numbers on; found is the sets, their layouts, their record counts."""
        sets, layout, counts = found
        records = np.zeros(len(rows.origin), np.int64)
        np.add.at(records, sets.row, counts)
        unknown = np.zeros(len(rows.origin), np.bool_)
        unknown[sets.row[(layout < 0) & (sets.set_id >= 256)]] = True
        units = np.where(headers.record_octets > 0, headers.count, 1)
        is_ipfix = headers.version == IPFIX
        units = np.where(is_ipfix, np.where(unknown, -1, records), units)
        for wave in runs.waves():
            self._advance_wave(headers, rows, wave, units)

    def _advance_wave(self, headers: Headers, rows: Rows, runs: Runs, units: Int64s) -> None:
        """Move the numbers of different sessions on."""
        known = self.sessions.progress
        before = [known[session] for session in runs.session]
        theirs = units[runs.place]
        after = advance_all(before, headers.sequence[runs.place], theirs, runs.first, self.config)
        received = runs.reduce(np.add, np.maximum(theirs, 0))
        count = np.diff(runs.first, append=len(runs.place)).tolist()
        oldest = runs.place[runs.first]
        is_numbered = (headers.version[oldest] != V1).tolist()  # V1 has no numbers.
        origin = rows.origin[oldest].tolist()
        for run, (session, hour) in enumerate(zip(runs.session, runs.hour, strict=True)):
            heard = self._heard(session, hour)
            heard.datagrams += count[run]
            if not is_numbered[run]:
                continue
            known[session] = after[run]
            heard.units += received[run]
            if lost := after[run].lost - before[run].lost:
                heard.lost += lost
                self.note(origin[run], "lost", lost)


def _find_sets(
    payload: NDArray[np.uint8], headers: Headers, readable: Bools, sets_limit: int
) -> Sets:
    """Return all sets; a datagram without templates is one set, its id the octets of a record."""
    is_fixed = headers.record_octets > 0
    rows = np.flatnonzero(readable & ~is_fixed & (headers.version != SFLOW5))
    sets = walk_sets(payload, rows, headers.start[rows], headers.end[rows], sets_limit)
    fixed = np.flatnonzero(readable & is_fixed)
    if not len(fixed):
        return sets
    return Sets(
        row=np.concatenate([sets.row, fixed]),
        set_id=np.concatenate([sets.set_id, headers.record_octets[fixed]]),
        start=np.concatenate([sets.start, headers.start[fixed]]),
        length=np.concatenate([sets.length, headers.end[fixed] - headers.start[fixed]]),
        refused=sets.refused,
    )
