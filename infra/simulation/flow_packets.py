"""Flow records as NetFlow v9 (RFC 3954) and IPFIX (RFC 7011) datagrams."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator, Sequence

from infra.simulation.network import FlowRecord

_RECORDS_PER_DATAGRAM = 24
_TEMPLATE_ID = 256
_OPTIONS_TEMPLATE_ID = 257
_V9_FIELDS = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 4), (2, 4), (22, 4), (21, 4))
_IPFIX_FIELDS = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 8), (2, 8), (152, 8), (153, 8))


class NetflowV9Exporter:
    """Builds v9 datagrams; sequence counts datagrams, uptime starts with the exporter."""

    def __init__(self, *, source_id: int, booted_at: int) -> None:
        """Remember identity and boot time (ms)."""
        self._source_id = source_id
        self._booted_at = booted_at
        self._sequence = 0

    def _datagram(self, sets: bytes, count: int, now_ms: int) -> bytes:
        uptime = (now_ms - self._booted_at) % 2**32
        header = struct.pack(
            ">HHIIII", 9, count, uptime, now_ms // 1000, self._sequence, self._source_id
        )
        self._sequence = (self._sequence + 1) % 2**32
        return header + sets

    def templates(self, now_ms: int) -> bytes:
        """Return the datagram that announces the data template."""
        fields = b"".join(struct.pack(">HH", *field) for field in _V9_FIELDS)
        record = struct.pack(">HH", _TEMPLATE_ID, len(_V9_FIELDS)) + fields
        return self._datagram(_set(0, record), 1, now_ms)

    def data(self, flows: Sequence[FlowRecord], now_ms: int) -> Iterator[bytes]:
        """Yield datagrams of at most 24 records."""
        for part in _chunks(flows):
            records = b"".join(self._record(flow) for flow in part)
            yield self._datagram(_set(_TEMPLATE_ID, records), len(part), now_ms)

    def _record(self, flow: FlowRecord) -> bytes:
        return struct.pack(
            ">4s4sHHBIIII",
            ipaddress.IPv4Address(flow.source).packed,
            ipaddress.IPv4Address(flow.destination).packed,
            flow.source_port,
            flow.destination_port,
            flow.protocol,
            flow.octets,
            flow.packets,
            (flow.start_at - self._booted_at) % 2**32,
            (flow.end_at - self._booted_at) % 2**32,
        )


class IpfixExporter:
    """Builds IPFIX messages; sequence counts data records; announces its sampling rate."""

    def __init__(self, *, domain: int, sampling_rate: int) -> None:
        """Remember the observation domain and the 1:n packet sampling rate."""
        self._domain = domain
        self._sampling_rate = sampling_rate
        self._sequence = 0

    def _message(self, sets: bytes, records: int, now_ms: int) -> bytes:
        header = struct.pack(
            ">HHIII", 10, 16 + len(sets), now_ms // 1000, self._sequence, self._domain
        )
        self._sequence = (self._sequence + records) % 2**32
        return header + sets

    def templates(self, now_ms: int) -> bytes:
        """Return the message with the data template, the options template and its record."""
        fields = b"".join(struct.pack(">HH", *field) for field in _IPFIX_FIELDS)
        template = struct.pack(">HH", _TEMPLATE_ID, len(_IPFIX_FIELDS)) + fields
        # Scope: observationDomainId (149); then samplingPacketInterval (305) and -Space (306).
        options = struct.pack(">HHHHHHHHH", _OPTIONS_TEMPLATE_ID, 3, 1, 149, 4, 305, 4, 306, 4)
        record = struct.pack(">III", self._domain, 1, self._sampling_rate - 1)
        sets = _set(2, template) + _set(3, options) + _set(_OPTIONS_TEMPLATE_ID, record)
        return self._message(sets, 1, now_ms)

    def data(self, flows: Sequence[FlowRecord], now_ms: int) -> Iterator[bytes]:
        """Yield messages of at most 24 records."""
        for part in _chunks(flows):
            records = b"".join(self._record(flow) for flow in part)
            yield self._message(_set(_TEMPLATE_ID, records), len(part), now_ms)

    def _record(self, flow: FlowRecord) -> bytes:
        return struct.pack(
            ">4s4sHHBQQQQ",
            ipaddress.IPv4Address(flow.source).packed,
            ipaddress.IPv4Address(flow.destination).packed,
            flow.source_port,
            flow.destination_port,
            flow.protocol,
            flow.octets // self._sampling_rate,
            -(-flow.packets // self._sampling_rate),
            flow.start_at,
            flow.end_at,
        )


def _set(set_id: int, body: bytes) -> bytes:
    padding = -len(body) % 4
    return struct.pack(">HH", set_id, 4 + len(body) + padding) + body + bytes(padding)


def _chunks(flows: Sequence[FlowRecord]) -> Iterator[Sequence[FlowRecord]]:
    for start in range(0, len(flows), _RECORDS_PER_DATAGRAM):
        yield flows[start : start + _RECORDS_PER_DATAGRAM]
