"""The parsers that a fuzzer feeds: each takes octets and must refuse them in order, or read them.

A target raises where the parser does what it must not: any exception but the ValueError that it
documents, a reason that is not in its table, counts that do not add up. Octets of several datagrams
are parts, each with its length in front (u16, big endian), so that a template can meet its data.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping

from collectors.captures import CaptureError, read_capture, split_messages
from collectors.config import NasConfig, RadiusConfig
from collectors.datagrams import Datagram, decode_datagrams, encode_datagrams
from collectors.framing import FAULTS, ipfix_octets, radius_octets, take_messages
from collectors.netflow import decoder as flow_decoder
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.metrics import REFUSALS as FLOW_REFUSALS
from collectors.netflow.records import RecordReader, label
from collectors.radius.accounting import decode_judged, decode_record
from collectors.radius.log_codec import AccountingPacket, decode_packets, encode_packets
from collectors.radius.packet import ACCOUNTING_REQUEST, sign_request
from collectors.radius.server import REFUSALS, Accepted, AccountingServer, Refused
from collectors.spool_frames import decode_parts, decode_positions
from rating.envelopes import decode_message
from rating.ports import MemoryState

PARTS_MAX = 6
NOW_MS = 1_700_000_000_000
_SOURCE = bytes(10) + b"\xff\xff\xc0\x00\x02\x01"
_NAS = NasConfig("bng1", "192.0.2.1", "testing123")
_RADIUS = RadiusConfig(clients=(_NAS,))
_FLOWS = FlowDecodeConfig(
    templates_per_session_limit=8, sets_per_datagram_limit=64, held_octets_limit=65_536
)
_LENGTH = struct.Struct(">H")


def parts_of(octets: bytes) -> Iterator[bytes]:
    """Yield the parts of an input; the last one may be shorter than it says."""
    at = 0
    for _ in range(PARTS_MAX):
        if at + _LENGTH.size > len(octets):
            return
        (length,) = _LENGTH.unpack_from(octets, at)
        at += _LENGTH.size
        yield octets[at : at + length]
        at += length


def joined(parts: list[bytes]) -> bytes:
    """Return an input of parts."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts[:PARTS_MAX])


def flows(octets: bytes) -> None:
    """NetFlow, IPFIX and sFlow: a block of datagrams of one exporter through the decoder."""
    datagrams = [Datagram(NOW_MS, _SOURCE, 2055, 2055, part) for part in parts_of(octets)]
    block = decode_datagrams(encode_datagrams(datagrams))
    decoded = flow_decoder.decode(MemoryState(), block, watermark_at=NOW_MS, config=_FLOWS)
    counted = sum(count for (_, name), count in decoded.counts.items() if name == "datagrams")
    assert counted == len(datagrams), "a datagram is not counted"
    for _, name in decoded.counts:
        assert name in flow_decoder.COUNTED or name in FLOW_REFUSALS, f"{name} has no meaning"
    assert (decoded.flows.octets >= 0).all(), "negative octets"
    assert (decoded.flows.packets >= 0).all(), "negative packets"
    assert (decoded.flows.end_at >= decoded.flows.start_at).all(), "a flow ends before it starts"


def records(octets: bytes) -> None:
    """The same datagrams record by record, lists inside records too, as `inspect` shows them."""
    reader = RecordReader()
    for part in parts_of(octets):
        datagram = Datagram(NOW_MS, _SOURCE, 2055, 2055, part)
        reader.learn(datagram)
        for record in reader.records(datagram):
            for field in record.fields:
                label(field)


def datagram_block(octets: bytes) -> None:
    """The body of a block of flow.datagrams."""
    try:
        block = decode_datagrams(octets)
    except ValueError:
        return
    datagrams = [block.datagram(number) for number in range(len(block))]
    again = encode_datagrams(datagrams)
    # One that tells connections, but of no datagram, is written without them.
    if block.connections is None or block.connections.any():
        assert again == octets, "a block that was read is not written as it was"
    read_again = decode_datagrams(again)
    assert [read_again.datagram(n) for n in range(len(read_again))] == datagrams


def radius_packet(octets: bytes) -> None:
    """A RADIUS datagram as the socket gives it: unsigned, so refused, unless the secret leaked."""
    server = AccountingServer(_RADIUS)
    for part in parts_of(octets):
        decode_judged(part)
        judged = server.handle(part, _SOURCE, 40_000, NOW_MS)
        assert not isinstance(judged, Refused) or judged.reason in REFUSALS


def radius_attributes(octets: bytes) -> None:
    """Accounting-Requests that carry the secret: any attributes, all the way to the record."""
    server = AccountingServer(_RADIUS)
    for number, part in enumerate(parts_of(octets)):
        attributes, at = [], 0
        while at + 2 <= len(part):
            length = part[at + 1] % 254
            attributes.append((max(part[at], 1), part[at + 2 : at + 2 + length]))
            at += 2 + length
        if sum(2 + len(value) for _, value in attributes) > 4_000:
            continue
        packet = sign_request(ACCOUNTING_REQUEST, number, attributes, _NAS.secret.encode())
        judged = server.handle(packet, _SOURCE, 40_000, NOW_MS + number)
        assert not isinstance(judged, Refused) or judged.reason in REFUSALS
        if isinstance(judged, Accepted) and judged.packet is not None:
            server.release(judged)
            (logged,) = decode_packets(encode_packets([judged.packet]))
            assert logged == judged.packet, "the log does not give back what it was given"
            decode_record(logged, _NAS, _RADIUS)


def accounting_block(octets: bytes) -> None:
    """The body of a block of radius.accounting, and the records in it."""
    try:
        packets = decode_packets(octets)
    except ValueError:
        return
    for packet in packets[:16]:
        decode_record(AccountingPacket(*packet), _NAS, _RADIUS)


def spool_row(octets: bytes) -> None:
    """A row of a collector's spool: parts, or positions."""
    for decode in (decode_parts, decode_positions):
        try:
            decode(octets)
        except ValueError:
            continue


def kafka_message(octets: bytes) -> None:
    """A message of a raw topic: an envelope, or marks."""
    try:
        decode_message(octets)
    except ValueError:
        return


def capture(octets: bytes) -> None:
    """A capture file, and a file of messages without one."""
    split_messages(octets)
    try:
        read_capture(octets)
    except CaptureError:
        return


def connection(octets: bytes) -> None:
    """Messages in the octets of a connection, in whatever pieces they come."""
    for octets_of in (ipfix_octets, radius_octets):
        whole = bytearray(octets)
        at_once, fault = take_messages(whole, octets_of)
        assert not fault or fault in FAULTS
        received, piecemeal = bytearray(), []
        for first in range(0, len(octets), 7):
            received += octets[first : first + 7]
            messages, late_fault = take_messages(received, octets_of)
            piecemeal += messages
            if late_fault:
                break
        assert piecemeal == at_once, "pieces give other messages than the whole"


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "flows": flows,
    "records": records,
    "datagram_block": datagram_block,
    "radius_packet": radius_packet,
    "radius_attributes": radius_attributes,
    "accounting_block": accounting_block,
    "spool_row": spool_row,
    "kafka_message": kafka_message,
    "capture": capture,
    "connection": connection,
}
"""Every parser of what comes from outside, or from a disk."""

SHARES: Mapping[str, int] = {"flows": 1, "radius_attributes": 2, "radius_packet": 4}
"""Parts of all inputs that a target gets, 5 where nothing is said: a block of flows takes a
thousand times as long as a spool row."""
