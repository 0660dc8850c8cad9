"""Counters that begin again at 2**32 become counters that only rise (rule 4 of `rating.sessions`).

RADIUS octet counters have 32 bits (RFC 2866 §5.3); the high half travels in Acct-*-Gigawords
(RFC 2869 §5.1), which some NASes never send, and packet counters have no high half at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rating.knots import ZERO, Counters
from rating.session_state import Checkpoint, Packet, Track

COUNTER_MODULUS = 2**32


class Unwrapped(NamedTuple):
    """Counters since the session's start per packet, and where unwrapping ended.

    tracks and seconds (session time, None if unknown) go into a checkpoint.
    """

    totals: list[Counters]
    tracks: tuple[Track, ...]
    seconds: int | None


def unwrap(
    packets: Sequence[Packet],
    checkpoint: Checkpoint | None,
    started_at: int,
    *,
    has_gigawords: bool,
) -> Unwrapped:
    """Return the packets' counters without wraps, in the order of `packets` (event order).

    Unwrapping goes by session time where every packet has it, so that a jittering event time makes
    no wrap. An absent counter is 0 here: the running maximum of the curve carries it. A packet from
    before the checkpoint tells nothing of wraps and is taken as it is. has_gigawords: some packet
    of the session had a gigawords attribute.
    """
    by_seconds = all(packet.span_seconds is not None for packet in packets)
    indices = list(range(len(packets)))
    settled: int | None = None
    tracks: list[Track | None] = [None] * 4
    if checkpoint:
        tracks = list(checkpoint.tracks)
        settled = checkpoint.seconds if by_seconds else checkpoint.origin_at
    clock = settled
    totals = [ZERO] * len(packets)
    if by_seconds:
        indices.sort(key=lambda i: (packets[i].span_seconds, i))
    for i in indices:
        packet = packets[i]
        seconds = packet.span_seconds
        if seconds is None:
            seconds = max(0, packet.event_at - started_at) // 1000
        now = seconds if by_seconds else packet.event_at
        if settled is not None and now <= settled:
            totals[i] = _counters([packet.raw(counter) or 0 for counter in range(4)], seconds)
            continue
        rises = clock is None or now > clock
        clock = now if rises else clock
        if not packet.has_octets:
            totals[i] = Counters(0, 0, 0, 0, seconds)
            continue
        values = []
        for counter in range(4):
            raw = packet.raw(counter)
            modulus = _modulus(packet, counter, rises, by_seconds, has_gigawords)
            track = _follow(tracks[counter], raw, modulus, _is_certain(packet, counter))
            tracks[counter] = track or tracks[counter]
            values.append(track.raw + track.wrapped if track else raw or 0)
        totals[i] = _counters(values, seconds)
    last = tuple(track or Track(0, 0) for track in tracks)
    return Unwrapped(totals, last, clock if by_seconds else None)


def _counters(values: Sequence[int], seconds: int) -> Counters:
    up, down, packets_up, packets_down = values
    return Counters(up, down, packets_up, packets_down, seconds)


def _is_certain(packet: Packet, counter: int) -> bool:
    """Return whether the NAS is configured as one whose octets wrap."""
    return counter < 2 and packet.octets_modulus is not None


def _modulus(
    packet: Packet, counter: int, rises: bool, by_seconds: bool, has_gigawords: bool
) -> int:
    """Return the value at which a counter may have begun again since the last packet, 0 if none."""
    if not rises:
        return 0
    if _is_certain(packet, counter):
        return packet.octets_modulus or 0
    return COUNTER_MODULUS if by_seconds and (counter >= 2 or not has_gigawords) else 0


def _follow(track: Track | None, raw: int | None, modulus: int, certain: bool) -> Track | None:
    """Return where a counter stands after a raw value, or None where the value tells nothing."""
    if raw is None:
        return None
    if track is None:
        return Track(raw, 0)
    if raw >= track.raw:
        return Track(raw, track.wrapped)
    if modulus and (certain or (raw - track.raw) % modulus <= modulus // 2):
        return Track(raw, track.wrapped + modulus)
    return None
