"""Byte-identical datagrams of one exporter, once: by digest, within a window of receive time.

The sequence number is no key (IPFIX template messages do not advance it, RFC 7011 §3.1). State is
one value per batch: digests (16 octets of SHA-256 over address and payload) then receive times.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from collectors.datagrams import DatagramBlock
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.state import SEEN
from rating.ports import Delete, Put, StateView

_DIGEST_OCTETS = 16
_ENTRY_OCTETS = _DIGEST_OCTETS + 8


def drop_duplicates(
    view: StateView, block: DatagramBlock, *, watermark_at: int, config: FlowDecodeConfig
) -> tuple[NDArray[np.bool_], list[Put | Delete]]:
    """Return which datagrams are first copies, bool [n], and the changes of the state.

    Two receive times further apart than the window are no duplicates, whatever the order in which
    the datagrams are processed; marks older than watermark less window can match nothing.
    """
    window = config.flow_dedup_window_seconds * 1000
    changes: list[Put | Delete] = []
    chunks: list[tuple[str, bytes]] = []
    held = 0
    for key, value in view.scan(SEEN):
        if int(key[:15]) < watermark_at - window:
            changes.append(Delete(SEEN, key))
        else:
            chunks.append((key, value))
            held += len(value) // _ENTRY_OCTETS
    n = len(block)
    if not n or not window:
        return np.ones(n, np.bool_), changes
    digests = _digests(block)
    fresh = _first_copies(digests, block.received_at, chunks, window)
    kept = np.flatnonzero(fresh)
    if len(kept):
        body = digests[kept].tobytes() + block.received_at[kept].astype("<i8").tobytes()
        key = f"{int(block.received_at[kept].max()):015d}:{digests[kept[0]].tobytes().hex()}"
        changes.append(Put(SEEN, key, body))
    held += len(kept)
    for key, value in chunks:
        if held <= config.dedup_digests_limit:
            break
        changes.append(Delete(SEEN, key))
        held -= len(value) // _ENTRY_OCTETS
    return fresh, changes


def _digests(block: DatagramBlock) -> NDArray[np.void]:
    """Return a digest of address and payload per datagram, void 16 [n]."""
    sha256 = hashlib.sha256
    payload = block.payload
    addresses = block.source_address.tobytes()
    starts = block.offsets.tolist()
    ends = (block.offsets + block.lengths).tolist()
    out: list[bytes] = []
    for index, (start, end) in enumerate(zip(starts, ends, strict=True)):
        digest = sha256(payload[start:end])
        digest.update(addresses[16 * index : 16 * index + 16])
        out.append(digest.digest()[:_DIGEST_OCTETS])
    return np.frombuffer(b"".join(out), f"V{_DIGEST_OCTETS}")


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
    for _, value in chunks:
        size = len(value) // _ENTRY_OCTETS
        known = np.frombuffer(value, f"V{_DIGEST_OCTETS}", size)
        # The batch is sorted once in `unique`; each chunk is looked up in it.
        at = np.searchsorted(unique, known.view(np.uint64)[::2])
        hits = np.flatnonzero(unique[np.minimum(at, len(unique) - 1)] == known.view(np.uint64)[::2])
        if not len(hits):
            continue
        seen_at = np.frombuffer(value, "<i8", size, _DIGEST_OCTETS * size)
        for hit in hits:
            times.setdefault(known[hit].tobytes(), []).append(int(seen_at[hit]))
            suspects.update(np.flatnonzero(short == unique[at[hit]]).tolist())
    for index in sorted(suspects):
        digest, now = digests[index].tobytes(), int(received_at[index])
        earlier = times.setdefault(digest, [])
        if any(abs(now - then) <= window for then in earlier):
            fresh[index] = False
        else:
            earlier.append(now)
    return fresh
