"""The log of datagrams as rows of raw flows, message by message: what the optional table is fed by.

A decoder of its own, with a state of its own: what stage decode knows stands elsewhere and at other
positions. A message is decoded by itself, whatever was read with it, and nothing but messages moves
the state, so a replay from any saved state gives the same rows (docs/decisions/0513).
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from collectors.datagrams import decode_datagrams
from collectors.netflow import state
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.decoder import Decoding
from collectors.netflow.flows import Flows
from collectors.netflow.sessions import Origin
from rating.addresses import format_address
from rating.envelopes import Envelope, Mark, decode_message
from rating.ports import MemoryState, Put, StepResult
from rating.raw_flows import RawEntry
from streams.codec import decode_value, encode_value
from streams.decode import PART_RECORDS_MAX
from streams.progress import SequenceGapError, Standing

LOG_TOPIC = "flow.datagrams"

_REACHED = "reached"
ADDRESSES = ("source", "destination", "nat_source", "nat_destination")
_COPIED = (
    *("source_port", "destination_port", "protocol", "direction", "source_as", "destination_as"),
    *("rate_numerator", "rate_denominator", "rate_known"),
)
_SCALED = ("octets", "packets", "octets_reverse", "packets_reverse")


class Reached(msgspec.Struct, array_like=True):
    """How far a partition's collectors were read; known are those whose next number is certain.

    They are sorted: equal states are equal octets.
    """

    standing: Standing = msgspec.field(default_factory=Standing)
    known: list[str] = []


class RawFlowDecoder:
    """Decodes one partition's messages in order; a `warehouse.raw_flow_sink.LogDecoder`."""

    def __init__(
        self, saved: Mapping[str, bytes], config: FlowDecodeConfig, entry_rows: int
    ) -> None:
        """Go on from a saved state; an empty one is the beginning."""
        self._config = config
        self._entry_rows = entry_rows
        self._state = MemoryState()
        self._reached = Reached()
        for name, value in saved.items():
            collection, _, key = name.partition("/")
            if collection == _REACHED:
                self._reached = decode_value(value, Reached)
            else:
                held = self._state.collections.setdefault(collection, {})
                held[key] = decode_value(value, state.COLLECTIONS[collection])

    def pass_over(self) -> None:
        """Expect that messages are missing now, of any collector."""
        self._reached.known.clear()

    def take(self, message: bytes) -> RawEntry:
        """Return the rows of a message and what it changes in the state.

        ValueError: it is none, or it shows that one before it is missing.
        """
        decoded = decode_message(message)
        try:
            is_new = (
                self._take_data(decoded)
                if isinstance(decoded, Envelope)
                else self._take_marks(decoded)
            )
        except SequenceGapError as error:
            raise ValueError(str(error)) from error
        changes: dict[str, bytes | None] = {f"{_REACHED}/": encode_value(self._reached)}
        if not isinstance(decoded, Envelope) or not is_new:
            return RawEntry(_NOTHING, changes, is_repeat=not is_new)
        try:
            block = decode_datagrams(decoded.body)
        except ValueError:
            return RawEntry(_NOTHING, changes, is_refused=True)
        decoding = Decoding(self._state, block, self._config)
        watermark_at = self._reached.standing.collectors_watermark(LOG_TOPIC)
        frames: list[pl.DataFrame] = []
        flows, room, dropped = None, self._entry_rows, 0
        for flows in decoding.parts(watermark_at=watermark_at, records_max=PART_RECORDS_MAX):
            frame = raw_rows(flows, decoding.origins)
            frames.append(frame.head(room))
            dropped += max(0, frame.height - room)
            room -= frames[-1].height
        assert flows is not None, "there is always a part"
        result = StepResult(changes=decoding.result(flows).changes)
        self._state.apply(result)
        for change in result.changes:
            value = encode_value(change.value) if isinstance(change, Put) else None
            changes[f"{change.collection}/{change.key}"] = value
        return RawEntry(pl.concat(frames), changes, dropped=dropped)

    def _take_data(self, envelope: Envelope) -> bool:
        standing, producer = self._reached.standing, envelope.producer
        if producer not in self._reached.known:
            # The log may begin in the midst of a collector's numbers.
            seen = standing.seen_of(LOG_TOPIC, producer)
            if envelope.number > seen.number:
                seen.number = envelope.number - 1
                bisect.insort(self._reached.known, producer)
        return standing.take(LOG_TOPIC, envelope)

    def _take_marks(self, marks: Sequence[Mark]) -> bool:
        standing = self._reached.standing
        for mark in marks:
            if mark.producer not in self._reached.known:
                seen = standing.seen_of(LOG_TOPIC, mark.producer)
                if mark.number > seen.number:
                    seen.number = mark.number
                    bisect.insort(self._reached.known, mark.producer)
            standing.mark(LOG_TOPIC, mark)
        return True


def raw_rows(flows: Flows, origins: Sequence[Origin]) -> pl.DataFrame:
    """Return one row per flow, in order, with the columns of `rating.raw_flows.RawFlow`."""
    origin = flows.origin
    names = pl.Series([format_address(o.address) for o in origins], dtype=pl.String)
    domains = np.array([o.domain for o in origins], np.uint32)
    start_at, end_at = flows.times()
    return pl.DataFrame(
        {
            "exporter": names.gather(origin),
            "domain": domains[origin],
            **{name: _address(flows, name) for name in ADDRESSES},
            **{name: getattr(flows, name) for name in _COPIED},
            "start_at": start_at,
            "end_at": end_at,
            **{name: flows.scaled(getattr(flows, name)) for name in _SCALED},
            "dscp": flows.tos >> 2,
            "octets_exported": flows.octets,
            "packets_exported": flows.packets,
            "received_at": flows.received_at,
        }
    )


def _address(flows: Flows, end: str) -> pl.Series:
    """Return one end's addresses as 16 octets each."""
    high: NDArray[Any] = getattr(flows, f"{end}_high")
    low: NDArray[Any] = getattr(flows, f"{end}_low")
    octets = np.stack([high, low], axis=1).astype(">u8")
    packed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(16), len(flows), [None, pa.py_buffer(octets.tobytes())]
    )
    return pl.Series(pa.chunked_array([packed.cast(pa.large_binary())]))


def _no_rows() -> pl.DataFrame:
    """Return a frame without rows, its columns as `raw_rows` gives them."""
    decoding = Decoding(MemoryState(), decode_datagrams(_EMPTY_BLOCK), FlowDecodeConfig())
    (flows,) = decoding.parts(watermark_at=0, records_max=1)
    return raw_rows(flows, decoding.origins)


_EMPTY_BLOCK = b"FRD1\0\0\0\0"
_NOTHING = _no_rows()
