"""Accounting packets written as a clerk would tell them, and what the sessions stage made of them.

Times are ``HH:MM:SS`` of one day; the packet of a NAS that reports truthfully arrives at once.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import polars as pl

from rating.accounting import (
    ACCOUNTING_OFF,
    ACCOUNTING_ON,
    INTERIM,
    START,
    STOP,
    AccountingRecord,
    Prefix,
)
from rating.addresses import pack_address, parse_prefix
from rating.ports import MemoryState, Put, StepResult
from rating.records import DirectoryEntry, frame_of
from rating.rows import LiveSession, UnattributedMinute
from rating.session_config import SessionsConfig
from rating.session_step import COLLECTIONS, step

DAY_AT = 1_750_000_000_000 // 86_400_000 * 86_400_000
NO_DIRECTORY = frame_of(DirectoryEntry, [])


def at(clock: str) -> int:
    """Return ms of ``HH:MM:SS`` (hours may pass 24, the next day)."""
    hours, minutes, seconds = map(int, clock.split(":"))
    return DAY_AT + ((hours * 60 + minutes) * 60 + seconds) * 1000


def minute(clock: str) -> int:
    """Return the minute number of ``HH:MM``."""
    return at(f"{clock}:00") // 60_000


def packet(
    status: str,
    event: str,
    seconds: int | None = None,
    down: int | None = None,
    up: int | None = None,
    *,
    arrives: str = "",
    **more: Any,
) -> AccountingRecord:
    """Return a packet of session 0001 of alice on NAS bras."""
    more.setdefault("nas_id", "bras")
    more.setdefault("acct_session_id", "0001")
    more.setdefault("user_name", "alice")
    return AccountingRecord(
        status=status,
        event_at=at(event),
        received_at=at(arrives or event),
        session_seconds=seconds,
        octets_up=(0 if down is not None else None) if up is None else up,
        octets_down=down,
        **more,
    )


def start(event: str, **more: Any) -> AccountingRecord:
    """Return a Start."""
    return packet(START, event, **more)


def interim(
    event: str, seconds: int | None, down: int | None, up: int | None = None, **more: Any
) -> AccountingRecord:
    """Return an interim update."""
    return packet(INTERIM, event, seconds, down, up, **more)


def stop(
    event: str, seconds: int | None, down: int | None, up: int | None = None, **more: Any
) -> AccountingRecord:
    """Return a Stop."""
    return packet(STOP, event, seconds, down, up, **more)


def on(event: str, **more: Any) -> AccountingRecord:
    """Return an Accounting-On of NAS bras."""
    return packet(ACCOUNTING_ON, event, acct_session_id="", user_name="", **more)


def off(event: str, **more: Any) -> AccountingRecord:
    """Return an Accounting-Off of NAS bras."""
    return packet(ACCOUNTING_OFF, event, acct_session_id="", user_name="", **more)


def address(text: str) -> bytes:
    """Return 16 octets of an address."""
    return pack_address(text)


def prefix(text: str) -> Prefix:
    """Return a prefix."""
    return parse_prefix(text)


def entry(kind: str, match: str, target: str, **more: Any) -> DirectoryEntry:
    """Return a directory entry, valid always unless told otherwise."""
    more.setdefault("entry_id", f"{kind}:{match}")
    more.setdefault("revision", 1)
    more.setdefault("priority", 0)
    more.setdefault("valid_from_at", 0)
    more.setdefault("valid_until_at", None)
    return DirectoryEntry(kind=kind, match=match, target=target, **more)


PEOPLE = (
    entry("identity", "user_name:alice", "s-alice"),
    entry("identity", "user_name:bob", "s-bob"),
    entry("membership", "s-bob", "pool-family"),
)


class Stage:
    """The sessions stage with its state, which passes through the state codec at every step."""

    def __init__(
        self, config: SessionsConfig | None = None, directory: Iterable[DirectoryEntry] = PEOPLE
    ) -> None:
        """Start with a directory."""
        self.config = config or SessionsConfig()
        self.state = MemoryState()
        self.usage: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * 5)
        self.usage_rows: list[dict[str, Any]] = []
        self.bindings: dict[str, dict[str, Any]] = {}
        self.binding_rows: list[dict[str, Any]] = []
        self.live: dict[str, LiveSession] = {}
        self.unattributed: Counter[tuple[str, int]] = Counter()
        self.counters: Counter[str] = Counter()
        self.watermark_at = 0
        self.feed([], directory=directory)

    def feed(
        self,
        records: Sequence[AccountingRecord],
        *,
        watermark: str | int | None = None,
        directory: Iterable[DirectoryEntry] = (),
    ) -> StepResult:
        """Run one step; without a watermark it stays where it was."""
        if watermark is not None:
            reached = at(watermark) if isinstance(watermark, str) else watermark
            self.watermark_at = max(self.watermark_at, reached)
        result = step(
            self.state,
            records,
            frame_of(DirectoryEntry, list(directory)),
            watermark_at=self.watermark_at,
            config=self.config,
        )
        changes = [
            msgspec.structs.replace(change, value=through_codec(change.collection, change.value))
            if isinstance(change, Put)
            else change
            for change in result.changes
        ]
        self.state.apply(dataclasses.replace(result, changes=changes))
        self._take(result)
        return result

    def _take(self, result: StepResult) -> None:
        for output in result.outputs:
            for row in output.frame.iter_rows(named=True):
                if output.topic == "usage.measured":
                    self._take_usage(row)
                else:
                    self.binding_rows.append(row)
                    former = self.bindings.get(row["binding_id"])
                    assert former is None or former["revision"] < row["revision"]
                    self.bindings[row["binding_id"]] = row
        for row in result.rows:
            if isinstance(row, LiveSession):
                self.live[row.session_id] = row
            elif isinstance(row, UnattributedMinute):
                self.unattributed[row.detail, row.minute] += row.octets_up + row.octets_down
        self.counters.update(result.counters)

    def _take_usage(self, row: dict[str, Any]) -> None:
        self.usage_rows.append(row)
        key = (row["rating_key"], row["subscriber_id"], row["session_id"], row["minute"])
        columns = ("octets_up", "octets_down", "packets_up", "packets_down", "seconds")
        for number, column in enumerate(columns):
            self.usage[key][number] += row[column]

    def minutes(self) -> dict[tuple[Any, ...], tuple[int, ...]]:
        """Return (rating key, subscriber, session, minute) -> counters, where not zero."""
        return {key: tuple(sums) for key, sums in self.usage.items() if any(sums)}

    def down_by_minute(self) -> dict[str, int]:
        """Return ``HH:MM`` -> octets down of everybody."""
        sums: Counter[str] = Counter()
        for key, counters in self.usage.items():
            offset = key[3] - DAY_AT // 60_000
            sums[f"{offset // 60:02}:{offset % 60:02}"] += counters[1]
        return {clock: octets for clock, octets in sorted(sums.items()) if octets}

    def down(self) -> int:
        """Return all octets down."""
        return sum(counters[1] for counters in self.usage.values())

    def octets_by_session(self) -> dict[str, int]:
        """Return session_id -> octets down, where not zero."""
        sums: Counter[str] = Counter()
        for key, counters in self.usage.items():
            sums[key[2]] += counters[1]
        return {session_id: octets for session_id, octets in sums.items() if octets}

    def held(self) -> list[tuple[str, str, int, int | None]]:
        """Return (subscriber, address hex/length, from, until) of every binding that stands."""
        return sorted(
            (
                row["subscriber_id"],
                f"{row['address'].hex()}/{row['prefix_length']}",
                row["valid_from_at"],
                row["valid_until_at"],
            )
            for row in self.bindings.values()
            if row["valid_until_at"] != row["valid_from_at"]
        )

    def sessions(self) -> list[LiveSession]:
        """Return the live rows, those merged into another left out."""
        rows = [row for row in self.live.values() if row.end_cause != "merged"]
        return sorted(rows, key=lambda row: (row.acct_session_id, row.started_at, row.session_id))

    def session(self) -> LiveSession:
        """Return the only session."""
        (only,) = self.sessions()
        return only


def through_codec(collection: str, value: Any) -> Any:
    """Return a state value after encoding and decoding, as every runner stores it."""
    kind: Any = COLLECTIONS[collection]
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind)


def run(records: Sequence[AccountingRecord], watermark: str | None = None, **more: Any) -> Stage:
    """Return a stage that took the packets one batch each, then a watermark."""
    stage = Stage(**more)
    for record in records:
        stage.feed([record])
    if watermark:
        stage.feed([], watermark=watermark)
    return stage


def usage_frame(stage: Stage) -> pl.DataFrame:
    """Return all usage rows as sent."""
    return pl.DataFrame(stage.usage_rows)
