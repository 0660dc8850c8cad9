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
_UNSEEN = Track(0, 0)


class Unwrapped(NamedTuple):
    """Counters since the session's start per packet, and where unwrapping ended.

    tracks, seconds (session time) and has_gigawords go into a checkpoint.
    """

    totals: list[Counters]
    tracks: tuple[Track, ...]
    seconds: int
    has_gigawords: bool


def unwrap(packets: Sequence[Packet], checkpoint: Checkpoint | None, started_at: int) -> Unwrapped:
    """Return the packets' counters without wraps, in the order of `packets` (event order).

    Unwrapping goes by session time, so that a jittering event time makes no wrap; where a packet
    has none, it is the time since the start. An absent counter is 0 here: the running maximum of
    the curve carries it. A packet from before the checkpoint tells nothing of wraps and is taken as
    it is.
    """
    clocks = [_clock(packet, started_at) for packet in packets]
    settled = checkpoint.seconds if checkpoint else -1
    tracks: list[Track | None] = list(checkpoint.tracks) if checkpoint else [None] * 4
    has_gigawords = checkpoint is not None and checkpoint.has_gigawords
    clock = settled
    totals = [ZERO] * len(packets)
    for i in sorted(range(len(packets)), key=clocks.__getitem__):
        packet, seconds = packets[i], clocks[i]
        if seconds <= settled:
            totals[i] = _counters([raw or 0 for raw in packet[4:8]], seconds)
            continue
        rises = seconds > clock
        clock = seconds
        has_gigawords = has_gigawords or packet.has_gigawords
        if not packet.has_octets:
            totals[i] = Counters(0, 0, 0, 0, seconds)
            continue
        totals[i] = _follow(tracks, packet, seconds, rises, has_gigawords)
    last = tuple(track or _UNSEEN for track in tracks)
    return Unwrapped(totals, last, max(clock, 0), has_gigawords)


def unwrap_next(
    packet: Packet, checkpoint: Checkpoint, seconds: int
) -> tuple[Counters, tuple[Track, ...]]:
    """Return what `unwrap` says of the one packet that comes after a checkpoint: totals, tracks."""
    if not packet.has_octets:
        return Counters(0, 0, 0, 0, seconds), checkpoint.tracks
    tracks: list[Track | None] = list(checkpoint.tracks)
    has_gigawords = checkpoint.has_gigawords or packet.has_gigawords
    totals = _follow(tracks, packet, seconds, True, has_gigawords)
    return totals, tuple([track or _UNSEEN for track in tracks])


def _follow(
    tracks: list[Track | None], packet: Packet, seconds: int, rises: bool, has_gigawords: bool
) -> Counters:
    """Return a packet's counters without wraps; move the tracks on to it."""
    values = [0, 0, 0, 0]
    for counter, raw in enumerate(packet[4:8]):
        if raw is None:
            continue
        track = tracks[counter]
        if track is None or raw >= track.raw:
            wrapped = track.wrapped if track else 0
            tracks[counter] = Track(raw, wrapped)
            values[counter] = raw + wrapped
        else:
            fallen = _fallen(track, raw, packet, counter, has_gigawords) if rises else None
            tracks[counter] = fallen or track
            values[counter] = raw + fallen.wrapped if fallen else raw
    return _counters(values, seconds)


def _clock(packet: Packet, started_at: int) -> int:
    seconds = packet.span_seconds
    return max(0, packet.event_at - started_at) // 1000 if seconds is None else seconds


def _counters(values: Sequence[int], seconds: int) -> Counters:
    up, down, packets_up, packets_down = values
    return Counters(up, down, packets_up, packets_down, seconds)


def _fallen(
    track: Track, raw: int, packet: Packet, counter: int, has_gigawords: bool
) -> Track | None:
    """Return where a counter stands that fell to a raw value, None where that is no wrap."""
    is_octets = counter < 2
    if is_octets and packet.octets_modulus:
        return Track(raw, track.wrapped + packet.octets_modulus)
    may_guess = packet.span_seconds is not None and not (is_octets and has_gigawords)
    if may_guess and (raw - track.raw) % COUNTER_MODULUS <= COUNTER_MODULUS // 2:
        return Track(raw, track.wrapped + COUNTER_MODULUS)
    return None
