"""Where messages end in the octets of a connection: by the length that each says at its start.

Pure. A stream that has lost its place cannot find it again, so what cannot be a message ends the
connection, with a reason (FAULTS).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

IPFIX_HEADER_OCTETS = 16
RADIUS_HEADER_OCTETS = 20
RADIUS_OCTETS_MAX = 4_096

FAULTS: Mapping[str, str] = {
    "version_not_ipfix": "a message over TCP that is not IPFIX: no other version has a length",
    "message_too_short": "a length field below that of a header (RFC 7011 §3.1, RFC 2865 §3)",
    "message_too_long": "a RADIUS length field above 4096 (RFC 2865 §3)",
}
"""Why octets cannot be a message: reason -> meaning."""

MessageOctets = Callable[[bytearray, int], int | str]
"""Takes octets received and where a message begins; see `ipfix_octets`."""


def ipfix_octets(received: bytearray, at: int) -> int | str:
    """Return how long the IPFIX message at a place is, 0 where too little came to tell.

    The version is 10 and the length 16 or more (RFC 7011 §3.1, §10.4.2); else a key of FAULTS.
    """
    if len(received) < at + 2:
        return 0
    if received[at] or received[at + 1] != 10:
        return "version_not_ipfix"
    if len(received) < at + 4:
        return 0
    octets = received[at + 2] << 8 | received[at + 3]
    return octets if octets >= IPFIX_HEADER_OCTETS else "message_too_short"


def radius_octets(received: bytearray, at: int) -> int | str:
    """Return how long the RADIUS packet at a place is, 0 where too little came to tell.

    Over TCP a packet has no padding, and its length is 20 to 4096 (RFC 6613 §2.6.4); else a key of
    FAULTS.
    """
    if len(received) < at + 4:
        return 0
    octets = received[at + 2] << 8 | received[at + 3]
    if octets < RADIUS_HEADER_OCTETS:
        return "message_too_short"
    return octets if octets <= RADIUS_OCTETS_MAX else "message_too_long"


def take_messages(received: bytearray, octets_of: MessageOctets) -> tuple[list[bytes], str]:
    """Take the whole messages out of what was received; a begun one stays.

    Returns them in order, and a key of FAULTS where what follows them is none ("" else).
    """
    messages: list[bytes] = []
    at = 0
    while True:
        octets = octets_of(received, at)
        if isinstance(octets, str) or not octets or at + octets > len(received):
            break
        messages.append(bytes(received[at : at + octets]))
        at += octets
    del received[:at]
    return messages, octets if isinstance(octets, str) else ""
