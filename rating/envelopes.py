"""What travels in one Kafka message: a body with its dense number, or marks of progress.

Every producer (a task such as ``rate/3``, a collector such as ``radius@ams1``) numbers its data per
topic partition: 1, 2, 3 … A consumer takes last + 1, drops what is lower and stops at a gap, so a
message may be sent twice, and by two processes at once (DESIGN §3.1). A mark is not numbered: it
says "my data through this number is in this partition, and it covers what was received through T".
Marks may be lost, repeated and sent late; the greatest stands.

What one worker sends to one partition at a time may travel together, as a bundle.

Layout, little endian. Data: u8 1, u8 length and UTF-8 of the producer, i64 number, i64 received_at
(ms), u8 length and octets of the trace (W3C traceparent, mostly absent), then the body. Marks: u8
2, u16 count, then per mark u8 length and UTF-8 of the producer, i64 number, i64 watermark_at (ms),
u8 state. Bundle: u8 3, then per message u32 length and the message, which is no bundle.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Sequence

DATA, MARKS, BUNDLE = 1, 2, 3
LIVE, LEFT, EXPIRED = 0, 1, 2
"""States of a mark: the producer goes on; it has said its last; others have given it up."""

_DATA = struct.Struct("<qq")
_MARK = struct.Struct("<qqB")
_COUNT = struct.Struct("<H")
_SIZE = struct.Struct("<I")

BUNDLED_OCTETS = _SIZE.size
"""What a message has more within a bundle, and a bundle at its beginning, at most."""


@dataclasses.dataclass(frozen=True, slots=True)
class Envelope:
    """A body and where it stands in its producer's sequence; received_at is its cause's, in ms."""

    producer: str
    number: int
    received_at: int
    body: bytes
    trace: bytes = b""


@dataclasses.dataclass(frozen=True, slots=True)
class Mark:
    """What a producer has sent to a partition: data through `number`, complete through a time.

    watermark_at is ms, "received through". state is LIVE; LEFT where a producer ends by itself and
    is waited for no longer; EXPIRED where others gave it up (number 0: nobody knows how far it is).
    """

    producer: str
    number: int
    watermark_at: int
    state: int = LIVE


def encode_envelope(envelope: Envelope) -> bytes:
    """Return a data message. Raises ValueError where producer or trace exceed 255 octets."""
    producer = envelope.producer.encode()
    if max(len(producer), len(envelope.trace)) > 255:
        raise ValueError(f"producer {envelope.producer!r} or its trace exceeds 255 octets")
    return b"".join(
        (
            bytes((DATA, len(producer))),
            producer,
            _DATA.pack(envelope.number, envelope.received_at),
            bytes((len(envelope.trace),)),
            envelope.trace,
            envelope.body,
        )
    )


def encode_marks(marks: Sequence[Mark]) -> bytes:
    """Return a message of marks, at most 65,535."""
    parts = [bytes((MARKS,)), _COUNT.pack(len(marks))]
    for mark in marks:
        producer = mark.producer.encode()
        parts.append(bytes((len(producer),)) + producer)
        parts.append(_MARK.pack(mark.number, mark.watermark_at, mark.state))
    return b"".join(parts)


def bundle(messages: Sequence[bytes]) -> bytes:
    """Return messages of data or marks as one; a single one as it is."""
    if len(messages) == 1:
        return messages[0]
    parts = [bytes((BUNDLE,))]
    for message in messages:
        parts += (_SIZE.pack(len(message)), message)
    return b"".join(parts)


def unbundled(message: bytes) -> Sequence[bytes]:
    """Return the messages of a bundle, or one that is none; ValueError where its end is missing."""
    if message[:1] != bytes((BUNDLE,)):
        return (message,)
    messages, at = [], 1
    while at < len(message):
        begin = at + _SIZE.size
        if begin > len(message):
            raise ValueError(f"bundle of {len(message)} octets ends within a length")
        (size,) = _SIZE.unpack_from(message, at)
        at = begin + size
        if at > len(message):
            raise ValueError(f"bundle of {len(message)} octets ends within a message")
        messages.append(message[begin:at])
    return messages


def is_data(message: bytes) -> bool:
    """Return whether a message carries data and not marks; bundles of stages do."""
    return message[:1] in (bytes((DATA,)), bytes((BUNDLE,)))


def decode_message(message: bytes) -> Envelope | tuple[Mark, ...]:
    """Return the envelope or the marks of an unbundled message; ValueError where it is neither."""
    try:
        if message[0] == DATA:
            return _decode_envelope(message)
        if message[0] == MARKS:
            return _decode_marks(message)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"message of {len(message)} octets: {error}") from error
    raise ValueError(f"message of kind {message[0]}: expected {DATA} or {MARKS}")


def _decode_envelope(message: bytes) -> Envelope:
    at = 2 + message[1]
    number, received_at = _DATA.unpack_from(message, at)
    trace_at = at + _DATA.size + 1
    body_at = trace_at + message[trace_at - 1]
    if body_at > len(message):
        raise ValueError(f"message of {len(message)} octets ends within its trace")
    producer = message[2:at].decode()
    return Envelope(producer, number, received_at, message[body_at:], message[trace_at:body_at])


def _decode_marks(message: bytes) -> tuple[Mark, ...]:
    (count,) = _COUNT.unpack_from(message, 1)
    marks, at = [], 1 + _COUNT.size
    for _ in range(count):
        name_at, at = at + 1, at + 1 + message[at]
        number, watermark_at, state = _MARK.unpack_from(message, at)
        marks.append(Mark(message[name_at:at].decode(), number, watermark_at, state))
        at += _MARK.size
    return tuple(marks)
