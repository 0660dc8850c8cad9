"""Byte-identical datagrams of one exporter, once: by digest, within a window of receive time.

The sequence number is no key (IPFIX template messages do not advance it, RFC 7011 §3.1). State is
one value per batch: the digests, 16 octets each, then the receive times, 8 octets each.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128_digest

from collectors.datagrams import DatagramBlock
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.state import SEEN
from rating.ports import Delete, Put, StateView

_DIGEST_OCTETS = 16
_ENTRY_OCTETS = _DIGEST_OCTETS + 8


def drop_duplicates(
    view: StateView, block: DatagramBlock, *, watermark_at: int, config: FlowDecodeConfig
) -> tuple[NDArray[np.bool_], list[Put | Delete], int]:
    """Return which datagrams are first copies, bool [n], and the changes of the state.

    The last is how many marks the limit of `dedup_digests_limit` made it forget too early.

    Two receive times further apart than the window are no duplicates, whatever the order in which
    the datagrams are processed; marks older than watermark less window can match nothing that comes
    after this batch. What is in it may be as old as they are: it came before the watermark.
    """
    window = config.flow_dedup_window_seconds * 1000
    changes: list[Put | Delete] = []
    chunks: list[tuple[str, bytes]] = []
    known = list(view.scan(SEEN))
    held = 0
    for key, value in known:
        if int(key[:15]) < watermark_at - window:
            changes.append(Delete(SEEN, key))
        else:
            chunks.append((key, value))
            held += len(value) // _ENTRY_OCTETS
    n = len(block)
    if not n or not window:
        return np.ones(n, np.bool_), changes, 0
    digests = _digests(block)
    fresh = _first_copies(digests, block.received_at, known, window)
    kept = np.flatnonzero(fresh)
    if len(kept):
        body = digests[kept].tobytes() + block.received_at[kept].astype("<i8").tobytes()
        key = f"{int(block.received_at[kept].max()):015d}:{digests[kept[0]].tobytes().hex()}"
        changes.append(Put(SEEN, key, body))
    held += len(kept)
    forgotten = 0
    for key, value in chunks:
        if held <= config.dedup_digests_limit:
            break
        changes.append(Delete(SEEN, key))
        forgotten += len(value) // _ENTRY_OCTETS
        held -= len(value) // _ENTRY_OCTETS
    return fresh, changes, forgotten


def _digests(block: DatagramBlock) -> NDArray[np.void]:
    """Return a digest per datagram, void 16 [n]: XXH3 of the payload, XOR the address.

    It need not resist whoever looks for two payloads of one digest: to keep a datagram from being
    counted he would have to know it before it comes, and could as well send in its sender's name.
    """
    payload = block.payload
    starts = block.offsets.tolist()
    ends = (block.offsets + block.lengths).tolist()
    whole = b"".join(
        [xxh3_128_digest(payload[start:end]) for start, end in zip(starts, ends, strict=True)]
    )
    half = np.frombuffer(whole, np.uint64).reshape(-1, 2)
    address = np.frombuffer(block.source_address.tobytes(), np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(half ^ address).view(f"V{_DIGEST_OCTETS}").ravel()


def _first_copies(
    digests: NDArray[np.void],
    received_at: NDArray[np.int64],
    chunks: list[tuple[str, bytes]],
    window: int,
) -> NDArray[np.bool_]:
    """Return which digests neither the chunks nor an earlier entry hold within the window."""
    short = digests.view(np.uint64)[::2]
    fresh = np.ones(len(digests), np.bool_)
    unique, counts = np.unique(short, return_counts=True)
    suspects = set(np.flatnonzero(np.isin(short, unique[counts > 1])).tolist())
    times: dict[bytes, list[int]] = {}
    for value, hits in _matches(short, unique, [value for _, value in chunks]):
        size = len(value) // _ENTRY_OCTETS
        known = np.frombuffer(value, f"V{_DIGEST_OCTETS}", size)
        seen_at = np.frombuffer(value, "<i8", size, _DIGEST_OCTETS * size)
        for hit in hits:
            times.setdefault(known[hit].tobytes(), []).append(int(seen_at[hit]))
            suspects.update(np.flatnonzero(short == known.view(np.uint64)[2 * hit]).tolist())
    for index in sorted(suspects):
        digest, now = digests[index].tobytes(), int(received_at[index])
        earlier = times.setdefault(digest, [])
        if any(abs(now - then) <= window for then in earlier):
            fresh[index] = False
        else:
            earlier.append(now)
    return fresh


def _matches(
    short: NDArray[np.uint64], unique: NDArray[np.uint64], values: list[bytes]
) -> Iterator[tuple[bytes, list[int]]]:
    """Yield the chunks that hold digests of the batch, with their places, by the low 64 bits.

    A table of the batch's lowest 16 bits lets through few of the known digests, so that even
    millions of them cost about a nanosecond each.
    """
    table = np.zeros(1 << 16, np.bool_)
    table[short.astype(np.uint16)] = True
    for value in values:
        size = len(value) // _ENTRY_OCTETS
        halves = np.frombuffer(value, "<u2", 8 * size)[::8]
        possible = np.flatnonzero(table[halves])
        if not len(possible):
            continue
        known = np.frombuffer(value, "<u8", 2 * size)[::2][possible]
        at = np.minimum(np.searchsorted(unique, known), len(unique) - 1)
        hits = possible[unique[at] == known].tolist()
        if hits:
            yield value, hits
