"""Reads a capture or a raw file from disk; everything else is `collectors.captures`."""

from __future__ import annotations

from pathlib import Path

from collectors.captures import (
    SFLOW_BEGINNING,
    Capture,
    is_capture,
    raw_datagrams,
    read_capture,
)
from collectors.netflow.templates import VERSIONS

_BEGINNINGS = [version.to_bytes(2, "big") for version in VERSIONS]


def read_file(path: Path, *, port: int | None = None) -> Capture:
    """Return the datagrams of a file: pcap, pcapng, one raw datagram or a stream of messages.

    With `port`, only datagrams to that UDP port are kept; without it, of a capture those that
    begin with the version of a flow protocol (NetFlow 1, 5, 7, 9, IPFIX 10, sFlow 5). Raises
    OSError where the file cannot be read.
    """
    data = path.read_bytes()
    if not is_capture(data):
        return Capture(raw_datagrams(data, port or 0), {})
    found = read_capture(data)
    kept = [
        datagram
        for datagram in found.datagrams
        if (datagram.local_port == port if port is not None else _is_flow(datagram.payload))
    ]
    skipped = dict(found.skipped)
    others = len(found.datagrams) - len(kept)
    if others:
        skipped["other_udp"] = others
    return Capture(kept, skipped)


def _is_flow(payload: bytes) -> bool:
    """Return whether a payload begins like NetFlow v1, v5, v7, v9, IPFIX or sFlow v5."""
    return payload[:2] in _BEGINNINGS or payload[:4] == SFLOW_BEGINNING
