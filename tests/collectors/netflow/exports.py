"""Writes export datagrams for tests: templates, options and data of any shape.

Independent of the decoder: it shares no code with `collectors.netflow`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from collectors.datagrams import Datagram, DatagramBlock, decode_datagrams, encode_datagrams

EXPORTED_AT = 1_700_000_000
"""Export time of the datagrams made here, seconds."""
UPTIME = 3_600_000
"""Milliseconds since boot in the headers made here."""

Field = tuple[int, int] | tuple[int, int, int]
"""(element, octets) or (element, octets, enterprise)."""

BASIC: tuple[Field, ...] = (
    (8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 8), (2, 8), (22, 4), (21, 4),
)  # fmt: skip
"""A plain flow template: addresses, ports, protocol, octets, packets, first and last uptime."""


def v4(text: str) -> int:
    """Return a dotted quad as a number."""
    return int.from_bytes(bytes(int(part) for part in text.split(".")), "big")


def mapped(text: str) -> bytes:
    """Return a dotted quad as 16 octets."""
    return b"\0" * 10 + b"\xff\xff" + v4(text).to_bytes(4, "big")


def v9(sets: Iterable[bytes], *, sequence: int = 0, domain: int = 0, uptime: int = UPTIME) -> bytes:
    """Return a NetFlow v9 datagram."""
    parts = list(sets)
    return struct.pack(">HHIIII", 9, len(parts), uptime, EXPORTED_AT, sequence, domain) + b"".join(
        parts
    )


def ipfix(sets: Iterable[bytes], *, sequence: int = 0, domain: int = 0) -> bytes:
    """Return an IPFIX message."""
    body = b"".join(sets)
    return struct.pack(">HHIII", 10, 16 + len(body), EXPORTED_AT, sequence, domain) + body


def v5(records: Sequence[bytes], *, sequence: int = 0, sampling: int = 0, count: int = -1) -> bytes:
    """Return a NetFlow v5 datagram; count lies where it is given."""
    number = len(records) if count < 0 else count
    return struct.pack(
        ">HHIIIIBBH", 5, number, UPTIME, EXPORTED_AT, 0, sequence, 0, 0, sampling
    ) + b"".join(records)


def v1(records: Sequence[bytes], *, count: int = -1) -> bytes:
    """Return a NetFlow v1 datagram; count lies where it is given."""
    number = len(records) if count < 0 else count
    return struct.pack(">HHIII", 1, number, UPTIME, EXPORTED_AT, 0) + b"".join(records)


def v1_record(source: str, destination: str, octets: int, packets: int = 1) -> bytes:
    """Return one v1 flow record of 48 octets that lasted the ten seconds before export."""
    return struct.pack(
        ">IIIHHIIIIHHHBBB7x",
        v4(source), v4(destination), 0, 1, 2, packets, octets, UPTIME - 10_000, UPTIME,
        40_000, 443, 0, 6, 0xB8, 0,
    )  # fmt: skip


def v7(records: Sequence[bytes], *, sequence: int = 0) -> bytes:
    """Return a NetFlow v7 datagram: v5's records, each with the router that was gone round."""
    head = struct.pack(">HHIIIII", 7, len(records), UPTIME, EXPORTED_AT, 0, sequence, 0)
    return head + b"".join(record + v4("10.9.9.9").to_bytes(4, "big") for record in records)


def v5_record(source: str, destination: str, octets: int, packets: int = 1) -> bytes:
    """Return one v5 flow record that lasted the ten seconds before export."""
    return struct.pack(
        ">IIIHHIIIIHHBBBBHHBBH",
        v4(source), v4(destination), 0, 1, 2, packets, octets, UPTIME - 10_000, UPTIME,
        40_000, 443, 0, 0, 6, 0, 64_500, 64_501, 24, 24, 0,
    )  # fmt: skip


def one_set(set_id: int, body: bytes, *, length: int = -1) -> bytes:
    """Return a set; length lies where it is given."""
    return struct.pack(">HH", set_id, 4 + len(body) if length < 0 else length) + body


def fields_octets(fields: Iterable[Field]) -> bytes:
    """Return field specifiers; an enterprise sets the top bit and follows as 4 octets."""
    out = b""
    for element, octets, *enterprise in fields:
        if enterprise:
            out += struct.pack(">HHI", element | 0x8000, octets, enterprise[0])
        else:
            out += struct.pack(">HH", element, octets)
    return out


def template(template_id: int, fields: Sequence[Field], *, version: int = 9) -> bytes:
    """Return a template set with one template."""
    body = struct.pack(">HH", template_id, len(fields)) + fields_octets(fields)
    return one_set(0 if version == 9 else 2, body)


def options_template(
    template_id: int, scopes: Sequence[Field], fields: Sequence[Field], *, version: int = 9
) -> bytes:
    """Return an options template set with one template."""
    both = fields_octets([*scopes, *fields])
    if version == 9:
        head = struct.pack(">HHH", template_id, 4 * len(scopes), 4 * len(fields))
        return one_set(1, head + both)
    head = struct.pack(">HHH", template_id, len(scopes) + len(fields), len(scopes))
    return one_set(3, head + both)


def data(template_id: int, records: Iterable[bytes]) -> bytes:
    """Return a data set."""
    return one_set(template_id, b"".join(records))


def record(fields: Sequence[Field], values: Sequence[int | bytes]) -> bytes:
    """Return one record: numbers big-endian in the field's octets, octets as they are.

    A field of 65535 octets takes octets and gets the length in front (RFC 7011 §7).
    """
    out = b""
    for (_, octets, *_enterprise), value in zip(fields, values, strict=True):
        if octets == 0xFFFF:
            assert isinstance(value, bytes)
            long = b"\xff" + len(value).to_bytes(2, "big")
            out += (bytes([len(value)]) if len(value) < 255 else long) + value
        else:
            out += value if isinstance(value, bytes) else value.to_bytes(octets, "big")
    return out


def basic(source: str, destination: str, octets: int, packets: int = 1) -> bytes:
    """Return a record of the BASIC template that lasted the ten seconds before export."""
    return record(
        BASIC,
        (v4(source), v4(destination), 40_000, 443, 6, octets, packets, UPTIME - 10_000, UPTIME),
    )


def block(
    payloads: Iterable[bytes],
    *,
    source: str = "192.0.2.1",
    source_port: int = 50_000,
    received_at: int = EXPORTED_AT * 1000,
) -> DatagramBlock:
    """Return a block of payloads from one exporter."""
    return block_of(
        Datagram(received_at, mapped(source), source_port, 2055, payload) for payload in payloads
    )


def block_of(datagrams: Iterable[Datagram]) -> DatagramBlock:
    """Return a block of datagrams."""
    return decode_datagrams(encode_datagrams(list(datagrams)))
