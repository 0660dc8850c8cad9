"""How far each NAS's clock is off, as its own Event-Timestamps tell.

A packet says when its event was (Event-Timestamp, RFC 2869 §5.3) and for how long it has been sent
(Acct-Delay-Time, RFC 2866 §5.2). Where nothing was held back, the first is the receive time less
the second, within a second and the way. What is held back without a word makes a clock look slow,
never fast: of several packets the one that is ahead of the others tells best.
"""

from __future__ import annotations

import dataclasses

from collectors.radius.attributes import decode_integer
from collectors.radius.log_codec import AccountingPacket
from collectors.radius.packet import decode_packet

_ACCT_DELAY_TIME, _EVENT_TIMESTAMP = 41, 55
_WANTED = frozenset((_ACCT_DELAY_TIME, _EVENT_TIMESTAMP))

SAMPLE_MS = 1_000
"""One packet of a NAS is looked at in this time."""
WINDOW_MS = 600_000
"""An offset stands for this long behind the window in which it was seen."""
NASES_MAX = 4_096
"""NASes that are watched; further ones are not."""


def clock_offset_ms(packet: AccountingPacket) -> int | None:
    """Return how far (ms) a packet's Event-Timestamp is ahead of when it must have been made.

    None where the packet has none.
    """
    decoded = decode_packet(packet.packet, _WANTED)
    stamped = decode_integer(decoded.first(_EVENT_TIMESTAMP) or b"")
    if stamped is None:
        return None
    delay_seconds = decode_integer(decoded.first(_ACCT_DELAY_TIME) or b"") or 0
    return stamped * 1000 - (packet.received_at - delay_seconds * 1000)


@dataclasses.dataclass(slots=True)
class _Seen:
    """What was seen of one NAS: the last sample, and the greatest offset of two windows."""

    sampled_at: int
    window: int
    current_ms: int | None = None
    former_ms: int | None = None


class ClockWatch:
    """Looks at a packet of each NAS now and then; all times are ms."""

    def __init__(self) -> None:
        """Start with no NAS seen."""
        self._seen: dict[str, _Seen] = {}

    def note(self, packet: AccountingPacket) -> None:
        """Take a packet; most are passed over."""
        now = packet.received_at
        seen = self._seen.get(packet.nas_id)
        if seen is None:
            if len(self._seen) >= NASES_MAX:
                return
            seen = self._seen[packet.nas_id] = _Seen(now - SAMPLE_MS, now // WINDOW_MS)
        if now < seen.sampled_at + SAMPLE_MS:
            return
        seen.sampled_at = now
        offset_ms = clock_offset_ms(packet)
        _turn(seen, now // WINDOW_MS)
        if offset_ms is not None:
            held = seen.current_ms
            seen.current_ms = offset_ms if held is None else max(held, offset_ms)

    def offsets_ms(self, now: int) -> dict[str, int]:
        """Return nas_id -> how far its clock is ahead (negative: behind), of this and the last
        window; a NAS that sent no Event-Timestamp in either is absent."""
        found = {}
        for nas_id, seen in self._seen.items():
            _turn(seen, now // WINDOW_MS)
            known = [each for each in (seen.current_ms, seen.former_ms) if each is not None]
            if known:
                found[nas_id] = max(known)
        return found


def _turn(seen: _Seen, window: int) -> None:
    if window > seen.window:
        seen.former_ms = seen.current_ms if window == seen.window + 1 else None
        seen.current_ms = None
        seen.window = window
