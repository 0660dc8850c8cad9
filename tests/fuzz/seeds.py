"""Inputs that a fuzzer starts from: the corpus where it is there, and what the tests make."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from collectors.adapters.captures import read_file
from collectors.datagrams import Datagram, encode_datagrams
from collectors.radius.log_codec import encode_packets
from collectors.spool_frames import (
    NumberedPart,
    encode_parts,
    encode_positions,
    first_positions,
)
from rating.envelopes import Envelope, Mark, encode_envelope, encode_marks
from tests.benchmarks.bench_radius import interim
from tests.collectors.netflow import exports as x
from tests.collectors.radius.packets import logged, request
from tests.corpus import ROOT
from tests.fuzz.targets import NOW_MS, PARTS_MAX, joined

_SEEDS_MAX = 120
_DATAGRAM_OCTETS_MAX = 1_400


def _exports() -> list[bytes]:
    """Return datagrams of v1, v5, v9 and IPFIX: data, templates, options."""
    record = x.v5_record("10.0.0.1", "10.0.0.2", 1_000)
    template = x.template(256, x.BASIC)
    data = x.data(256, [x.basic("10.0.0.1", "10.0.0.2", 1_000)] * 3)
    rate = x.options_template(257, ((1, 4),), ((34, 4), (35, 1)))
    listed = x.template(258, ((291, 0xFFFF), (1, 8)), version=10)
    return [
        x.v5([record, record], sequence=1, count=2),
        x.v9([template, data]),
        x.v9([rate, x.data(257, [bytes(9)])]),
        x.ipfix([x.template(256, x.BASIC, version=10), data]),
        x.ipfix([listed, x.data(258, [b"\x05\x00\x00\x01\x00\x04" + bytes(8)])]),
    ]


def _recorded() -> Iterator[list[bytes]]:
    """Yield the first datagrams of each file of the corpus; nothing where it is absent."""
    for path in sorted((ROOT / "netflow").rglob("*")):
        if path.suffix not in (".dat", ".pcap", ".bin", ".ipfix"):
            continue
        datagrams = itertools.islice(read_file(path).datagrams, PARTS_MAX)
        payloads = [d.payload for d in datagrams if len(d.payload) <= _DATAGRAM_OCTETS_MAX]
        if payloads:
            yield payloads


def seeds(target: str) -> list[bytes]:
    """Return the inputs that a target starts from."""
    exports = _exports()
    datagrams = [Datagram(NOW_MS, x.mapped("192.0.2.1"), 2055, 2055, part) for part in exports]
    packets = [interim(number) for number in range(3)] + [request(status=7), request(status=2)]
    accounting = encode_packets([logged(packet) for packet in packets])
    body = encode_datagrams(datagrams)
    made = {
        "flows": [joined([each]) for each in exports] + [joined(exports)],
        "records": [joined([each]) for each in exports] + [joined(exports)],
        "datagram_block": [body],
        "radius_packet": [joined(packets)],
        "radius_attributes": [joined([packet[20:] for packet in packets])],
        "accounting_block": [accounting],
        "spool_row": [
            encode_parts([NumberedPart(0, 1, body[:64]), NumberedPart(3, 9, b"")]),
            encode_positions(first_positions(4)),
        ],
        "kafka_message": [
            encode_envelope(Envelope("flows@a", 1, NOW_MS, body[:64])),
            encode_marks([Mark("flows@a", 1, NOW_MS)]),
        ],
        "capture": [b"\xd4\xc3\xb2\xa1" + bytes(20), b"\x0a\x0d\x0d\x0a" + bytes(24), *exports],
        "connection": [exports[3] + exports[4], packets[0] + packets[3]],
    }[target]
    if target in ("flows", "records"):
        made += [joined(payloads) for payloads in _recorded()]
    if target == "capture":
        files = sorted((ROOT / "netflow").rglob("*.pcap"))
        made += [Path(path).read_bytes()[:4_000] for path in files[:10]]
    return made[:_SEEDS_MAX]
