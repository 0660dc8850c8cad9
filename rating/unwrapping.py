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
        for counter, raw in enumerate(packet[4:8]):
            track = tracks[counter]
            if raw is None:
                values.append(0)
            elif track is None or raw >= track.raw:
                wrapped = track.wrapped if track else 0
                tracks[counter] = Track(raw, wrapped)
                values.append(raw + wrapped)
            else:
                modulus = _modulus(packet, counter, by_seconds and not has_gigawords, by_seconds)
                fallen = _fallen(track, raw, modulus if rises else 0, _is_certain(packet, counter))
                tracks[counter] = fallen or track
                values.append(raw + fallen.wrapped if fallen else raw)
        totals[i] = _counters(values, seconds)
    last = tuple(track or Track(0, 0) for track in tracks)
    return Unwrapped(totals, last, clock if by_seconds else None)


def _counters(values: Sequence[int], seconds: int) -> Counters:
    up, down, packets_up, packets_down = values
    return Counters(up, down, packets_up, packets_down, seconds)


def _is_certain(packet: Packet, counter: int) -> bool:
    """Return whether the NAS is configured as one whose octets wrap."""
    return counter < 2 and packet.octets_modulus is not None


def _modulus(packet: Packet, counter: int, may_guess_octets: bool, may_guess: bool) -> int:
    """Return the value at which a counter may have begun again, 0 where none is known."""
    if _is_certain(packet, counter):
        return packet.octets_modulus or 0
    return COUNTER_MODULUS if (may_guess_octets if counter < 2 else may_guess) else 0


def _fallen(track: Track, raw: int, modulus: int, certain: bool) -> Track | None:
    """Return where a counter stands that fell to a raw value, None where that is no wrap."""
    if modulus and (certain or (raw - track.raw) % modulus <= modulus // 2):
        return Track(raw, track.wrapped + modulus)
    return None
