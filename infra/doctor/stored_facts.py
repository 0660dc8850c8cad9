"""Facts of what Flowrate has stored: read beside running processes, by read-only connections."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from collectors.adapters.relay_sources import RelaySource
from collectors.adapters.segments import SegmentReader
from collectors.netflow import state as flow_state
from collectors.radius.attributes import decode_integer
from collectors.radius.clients import SOURCE_MARK
from collectors.radius.clocks import clock_offset_ms
from collectors.radius.log_codec import AccountingPacket
from collectors.radius.packet import decode_packet
from infra.doctor.machine import LogFact
from infra.doctor.nases import CounterFact, DayFact
from infra.settings import Settings
from infra.wiring.databases import business_database
from infra.wiring.paths import database_path, read_only
from infra.wiring.relaying import relay_sources
from rating.addresses import format_address
from rating.rate_state import COLLECTIONS as RATE_COLLECTIONS
from streams.codec import decode_value

BLOCKS_MAX = 4_096
"""Newest blocks of the accounting log that are looked at."""
PACKETS_MAX = 50_000
"""Accounting packets that are looked at."""
CELLS_MAX = 500_000
"""Cells of subscribers that are compared."""
_READ_BLOCKS = 256
_CELLS_A_DAY = 96
_CELL_KEY = re.compile(r"(.*)\|(\d{9})\|(\d{5})\|(.*)", re.DOTALL)
_STATUS, _SESSION, _SECONDS = 40, 44, 46
_LOW = (42, 43)
_GIGAWORDS = (52, 53)
_WANTED = frozenset((_STATUS, _SESSION, _SECONDS, *_LOW, *_GIGAWORDS))

Rows = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs a query with ``?`` marks on the business database; no rows where a table is not there."""


@contextlib.contextmanager
def open_rows(settings: Settings) -> Iterator[Rows]:
    """Give a reader of the business database. Raises what the database raises."""
    if settings.mode == "embedded":
        yield lambda statement, arguments: read_only(database_path(settings), statement, arguments)
        return
    engine = business_database(settings, "doctor")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("set transaction read only")

            def rows(statement: str, arguments: Sequence[Any]) -> list[tuple[Any, ...]]:
                marked = statement.replace("?", "%s")
                return [tuple(row) for row in connection.exec_driver_sql(marked, tuple(arguments))]

            yield rows
    finally:
        engine.dispose()


def state_values(
    rows: Rows, stage: str, collection: str, limit: int
) -> Iterator[tuple[str, bytes]]:
    """Yield (key, encoded value) of a stage's collection over all its tasks, at most `limit`."""
    found = rows(
        "select s.key, s.value from stage_state s join state_space p on p.space_id = s.space_id"
        " where p.task like ? and p.collection = ? limit ?",
        (f"{stage}/%", collection, limit),
    )
    for key, value in found:
        yield key, bytes(value)


def subscriber_days(rows: Rows) -> list[DayFact]:
    """Return what both accounting and flows say of subscribers' days (UTC).

    Quarter hours of which only one of them says anything are left out: the export began, or ended.
    """
    sums: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0] * 4)
    for key, value in state_values(rows, "rate", "cells", CELLS_MAX):
        parts = _CELL_KEY.fullmatch(key)
        if parts is None:
            continue
        cell = decode_value(value, RATE_COLLECTIONS["cells"])
        octets = [0] * 4
        for layer in cell.layers:
            flows = layer.flows.values()
            octets[0] += layer.octets_up
            octets[1] += layer.octets_down
            octets[2] += sum(up for up, _ in flows)
            octets[3] += sum(down for _, down in flows)
        if octets[0] + octets[1] > 0 and octets[2] + octets[3] > 0:
            total = sums[parts[4], int(parts[2]) // _CELLS_A_DAY]
            for at, more in enumerate(octets):
                total[at] += more
    return [DayFact(*key, *octets) for key, octets in sorted(sums.items())]


def nases_of_subscribers(rows: Rows) -> dict[str, frozenset[str]]:
    """Return subscriber -> the configured NASes that it had sessions at."""
    found: dict[str, set[str]] = defaultdict(set)
    for subscriber_id, nas_id in rows(
        "select distinct subscriber_id, nas_id from live_session where subscriber_id <> ?", ("",)
    ):
        found[subscriber_id].add(nas_id.partition(SOURCE_MARK)[0])
    return {subscriber_id: frozenset(names) for subscriber_id, names in found.items()}


def exporter_offsets_ms(rows: Rows) -> dict[str, int]:
    """Return exporter and domain -> how far its clock is ahead, as the decoder has measured."""
    found = {}
    for key, value in state_values(rows, "decode", flow_state.PROGRESS, CELLS_MAX):
        progress = decode_value(value, flow_state.Progress)
        if progress.clock.samples:
            address, _, domain = flow_state.split_session_key(key)
            found[f"{format_address(address)} domain {domain}"] = progress.clock.skew
    return found


def log_fact(name: str, directory: Path) -> LogFact | None:
    """Return octets and span of a directory of segments, None for an empty one. Raises OSError."""
    octets = sum(path.stat().st_size for path in directory.glob("*.sqlite*"))
    reader = SegmentReader(directory)
    try:
        last = reader.last_number()
        firsts = sorted(int(path.stem) for path in directory.glob("*.sqlite"))
        first_block = reader.read(firsts[0] - 1, 1) if firsts else ()
        last_block = reader.read(last - 1, 1) if last else ()
    finally:
        reader.close()
    if not first_block or not last_block:
        return None
    return LogFact(name, octets, first_block[0].received_at, last_block[0].received_at)


def last_number(directory: Path) -> int:
    """Return the number of the newest block of a directory of segments. Raises OSError."""
    reader = SegmentReader(directory)
    try:
        return reader.last_number()
    finally:
        reader.close()


def received_at(directory: Path, number: int) -> int | None:
    """Return when a block was received (ms), None where it is not there. Raises OSError."""
    reader = SegmentReader(directory)
    try:
        found = reader.read(number - 1, 1) if number else ()
    finally:
        reader.close()
    return found[0].received_at if found and found[0].number == number else None


class NasFacts(NamedTuple):
    """What the newest accounting packets say, by NAS: clocks (ms ahead) and counters."""

    offsets_ms: dict[str, int]
    counters: dict[str, CounterFact]


def nas_facts(settings: Settings) -> NasFacts:
    """Return what the newest packets in the raw log, or in this collector's spool, say."""
    sources = list(relay_sources(settings))
    return facts_of_packets(newest_packets(sources[-1])) if sources else NasFacts({}, {})


def newest_packets(source: RelaySource) -> Iterator[AccountingPacket]:
    """Yield the newest packets of a log, in order, at most PACKETS_MAX. Raises OSError."""
    last = source.last_number()
    after, yielded = max(0, last - BLOCKS_MAX), 0
    try:
        while after < last and yielded < PACKETS_MAX:
            blocks = source.read(after, _READ_BLOCKS)
            if not blocks:
                return
            for block in blocks:
                yield from block.packets
                yielded += len(block.packets)
            after = blocks[-1].number
    finally:
        source.close()


def facts_of_packets(packets: Iterable[AccountingPacket]) -> NasFacts:
    """Return clocks and counters of accounting packets in order of receipt."""
    offsets: dict[str, int] = {}
    counts: dict[str, list[int]] = defaultdict(lambda: [0] * 4)
    last: dict[tuple[str, bytes], tuple[int, int, int]] = {}
    for packet in packets:
        offset = clock_offset_ms(packet)
        if offset is not None:
            offsets[packet.nas_id] = max(offset, offsets.get(packet.nas_id, offset))
        decoded = decode_packet(packet.packet, _WANTED)
        numbers = {kind: decode_integer(value) for kind, value in decoded.attributes}
        if numbers.get(_STATUS) not in (2, 3):
            continue
        up, down = (numbers.get(kind) or 0 for kind in _LOW)
        if not up and not down:
            continue
        count = counts[packet.nas_id.partition(SOURCE_MARK)[0]]
        count[0] += 1
        count[1] += any(kind in numbers for kind in _GIGAWORDS)
        count[3] = max(count[3], up, down)
        seconds = numbers.get(_SECONDS) or 0
        key = (packet.nas_id, decoded.first(_SESSION) or b"")
        former = last.get(key)
        if former is not None and seconds > former[0] and (up < former[1] or down < former[2]):
            count[2] += 1
        last[key] = (seconds, up, down)
    return NasFacts(offsets, {name: CounterFact(*count) for name, count in counts.items()})
