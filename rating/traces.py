"""The way of one usage record from datagram to charge: what each step knows of its trace.

A collector starts a trace for one block in N. Its octets travel in the envelope
(`rating.envelopes`): a W3C traceparent, a semicolon, and a tracestate that tells when the traced
datagrams were received::

    00-<32 hex>-<16 hex>-01;flowrate=1764460800000-1764460800199

A step finds the rows that the trace is about by their `received_at`, which derived rows inherit
from their newest cause; so a trace also passes a join that holds rows back for half a minute. Rows
of flows know it to the second (its last millisecond), so that is how exact a trace is.
Where a step's rows come from several traces, one span stands for all of them from there on: a child
of the first, linked to the others. Along parents and links every charge leads back to its datagram.
What a worker knows of traces is in memory only: after its death a trace ends, and nothing else.
"""

from __future__ import annotations

import bisect
import contextlib
import contextvars
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Attributes = Mapping[str, str | int | float | bool]

_TRACE = re.compile(
    rb"00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-01"
    rb";flowrate=(?P<from>\d{1,15})-(?P<until>\d{1,15})"
)
TRACE_HEX = slice(3, 35)
"""Where the trace's id stands in its octets."""

TRACES_MAX = 128
"""Most traces that a task carries, so that a span's links stay within OpenTelemetry's 128."""

_MASK = (1 << 64) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class TraceContext:
    """A span to be the parent of others, and when its datagrams were received (ms, inclusive)."""

    trace_id: int
    span_id: int
    received_from_at: int
    received_until_at: int


def encode_trace(context: TraceContext) -> bytes:
    """Return the octets that travel in an envelope, at most 102."""
    return (
        f"00-{context.trace_id:032x}-{context.span_id:016x}-01;"
        f"flowrate={context.received_from_at}-{context.received_until_at}"
    ).encode()


def decode_trace(octets: bytes) -> TraceContext | None:
    """Return the context; None where the octets are none, or not ours, which is no error."""
    found = _TRACE.fullmatch(octets)
    if not found:
        return None
    trace_id, span_id = int(found["trace"], 16), int(found["span"], 16)
    if not trace_id or not span_id:
        return None
    return TraceContext(trace_id, span_id, int(found["from"]), int(found["until"]))


def chance_of(number: int) -> float:
    """Return a chance in [0, 1) from a block's number: evenly spread, the same each time.

    It is the finalizer of splitmix64, so that which blocks are traced follows no rhythm of theirs.
    """
    mixed = (number + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return float((mixed ^ (mixed >> 31)) >> 11) / float(1 << 53)


class Spans(Protocol):
    """Where finished spans go. No call waits for anything, and none raises for what it is told."""

    def start_trace(self, now_ns: int, chance: float, received_at: tuple[int, int]) -> bytes:
        """Begin a trace with the span `receive`, where chance in [0, 1) says so; else b"".

        received_at is when the block's first and last datagram came (ms); now_ns when it was
        handed on.
        """
        ...

    def child(
        self,
        parents: bytes | Sequence[bytes],
        name: str,
        start_ns: int,
        end_ns: int,
        attributes: Attributes,
    ) -> bytes:
        """Record a span under its parents and return its own octets; b"" where there is none.

        It belongs to the first parent's trace; the other parents are linked. The octets stand for
        all of them: their time reaches from the first datagram of any parent to the last of any.
        """
        ...


class NoSpans:
    """Traces switched off."""

    def start_trace(self, now_ns: int, chance: float, received_at: tuple[int, int]) -> bytes:
        """Return b"": nothing is traced."""
        return b""

    def child(
        self,
        parents: bytes | Sequence[bytes],
        name: str,
        start_ns: int,
        end_ns: int,
        attributes: Attributes,
    ) -> bytes:
        """Return b"": nothing is traced."""
        return b""


class Carrier:
    """The traces that came into one task and may still come out of it.

    At most traces_max are carried; each is forgotten forget_after_ms behind its datagrams' receive
    time. Full, it drops one that has come out already; where none has, it does not take the new
    one. To drop the oldest instead would, in a task that holds rows back, always drop what is about
    to come out, and under load no trace would reach a charge.
    """

    def __init__(self, traces_max: int = TRACES_MAX, forget_after_ms: int = 600_000) -> None:
        """Start with none."""
        self.traces_max = traces_max
        self.forget_after_ms = forget_after_ms
        self._carried: dict[bytes, TraceContext] = {}
        self._came_out: dict[bytes, None] = {}

    def take(self, trace: bytes) -> None:
        """Remember the trace of an envelope that was taken; b"" and foreign octets are ignored."""
        context = decode_trace(trace) if trace else None
        if context is None:
            return
        if trace not in self._carried and len(self._carried) >= self.traces_max:
            if not self._came_out:
                return
            self._drop(next(iter(self._came_out)))
        self._carried[trace] = context

    def of_rows(self, received_at: NDArray[np.int64]) -> list[bytes]:
        """Return the traces that some of these rows (ms each) are about, by when they began."""
        if not self._carried or not len(received_at):
            return []
        instants: list[int] = np.unique(received_at).tolist()
        found = [trace for trace, context in self._carried.items() if _is_about(context, instants)]
        self._came_out.update(dict.fromkeys(found))
        return sorted(found, key=lambda trace: self._carried[trace].received_from_at)

    def forget(self, watermark_at: int) -> None:
        """Forget what was received long before the watermark (ms)."""
        before = watermark_at - self.forget_after_ms
        stale = [
            trace for trace, context in self._carried.items() if context.received_until_at < before
        ]
        for trace in stale:
            self._drop(trace)

    def _drop(self, trace: bytes) -> None:
        del self._carried[trace]
        self._came_out.pop(trace, None)

    def __len__(self) -> int:
        """Return how many traces are carried."""
        return len(self._carried)


def _is_about(context: TraceContext, instants: Sequence[int]) -> bool:
    """Whether some of these instants (ms, ascending) lie within a trace's time."""
    at = bisect.bisect_left(instants, context.received_from_at)
    return at < len(instants) and instants[at] <= _second_end(context.received_until_at)


def _second_end(at: int) -> int:
    return at // 1000 * 1000 + 999


_ACTIVE: contextvars.ContextVar[bytes] = contextvars.ContextVar("flowrate_trace", default=b"")


@contextlib.contextmanager
def active(trace: bytes) -> Iterator[None]:
    """Make a trace the one that log lines name while the block runs, in this thread or task."""
    token = _ACTIVE.set(trace)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def active_trace_id() -> str:
    """Return the active trace's id as 32 hex digits; "" where none is active."""
    return _ACTIVE.get()[TRACE_HEX].decode("ascii", "replace")
