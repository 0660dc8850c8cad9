"""An accounting packet on its way to a second server, as a proxy sends it (RFC 2866 §2.3).

What the NAS said stays as it is, but: Proxy-State is added behind others, Acct-Delay-Time grows by
the time the packet was held here (RFC 2866 §5.2), Identifier and Authenticator are our own, and
Message-Authenticator is made anew with the second server's secret.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from collectors.radius.accounting import ACCT_SESSION_ID, NAS_IDENTIFIER, PROXY_STATE
from collectors.radius.log_codec import AccountingPacket
from collectors.radius.packet import (
    ACCOUNTING_REQUEST,
    MESSAGE_AUTHENTICATOR,
    Attribute,
    decode_packet,
    sign_request,
)

NAS_IP_ADDRESS, ACCT_DELAY_TIME, NAS_IPV6_ADDRESS = 4, 41, 95
TAG_OCTETS = 8
_MAPPED = bytes(10) + b"\xff\xff"
_PLACE = struct.Struct("!QH")
_DELAY = struct.Struct("!I")
_DELAY_MAX = 0xFFFFFFFF

Place = tuple[int, int]
"""Where a packet stands in the log: block number and index in the block, from 0."""


class RelaySetting(NamedTuple):
    """What all relayed packets have in common: secret, our tag (8 octets, in Proxy-State), and
    whether Message-Authenticator is sent also where the NAS sent none."""

    secret: bytes
    tag: bytes
    sends_message_authenticator: bool


def session_of(packet: AccountingPacket) -> tuple[str, bytes]:
    """Return what orders packets: NAS and Acct-Session-Id, b"" for Accounting-On and -Off."""
    decoded = decode_packet(packet.packet, frozenset((ACCT_SESSION_ID,)))
    return packet.nas_id, decoded.first(ACCT_SESSION_ID) or b""


def is_looping(packet: AccountingPacket, tag: bytes) -> bool:
    """Return whether a packet has been relayed from here before: its Proxy-State has our tag."""
    if tag not in packet.packet:
        return False
    states = decode_packet(packet.packet).all(PROXY_STATE)
    return any(state.startswith(tag) for state in states)


def relay_request(
    packet: AccountingPacket, place: Place, identifier: int, now_at: int, setting: RelaySetting
) -> bytes:
    """Return the request to send at an instant (ms).

    A NAS that names itself in no attribute is named by the address its packet came from, which the
    second server would otherwise not know. Additions for which a packet of nearly 4096 octets has
    no room are left out.
    """
    attributes = decode_packet(packet.packet).attributes
    kept = [each for each in attributes if each[0] != MESSAGE_AUTHENTICATOR]
    is_signed = len(kept) < len(attributes) or setting.sends_message_authenticator
    delayed = _delayed(kept, max(0, now_at - packet.received_at) // 1000)
    named = [*delayed, *_name(delayed, packet.source_address)]
    state = (PROXY_STATE, setting.tag + _PLACE.pack(*place))
    for chosen, signs in (([*named, state], is_signed), (named, is_signed), (delayed, False)):
        try:
            return sign_request(
                ACCOUNTING_REQUEST,
                identifier,
                chosen,
                setting.secret,
                with_message_authenticator=signs,
            )
        except ValueError:
            continue
    return sign_request(ACCOUNTING_REQUEST, identifier, kept, setting.secret)


def _delayed(attributes: list[Attribute], held_seconds: int) -> list[Attribute]:
    """Return the attributes with the time held added to Acct-Delay-Time."""
    listed = list(attributes)
    for at, (kind, value) in enumerate(listed):
        if kind == ACCT_DELAY_TIME and len(value) == _DELAY.size:
            seconds = min(_DELAY.unpack(value)[0] + held_seconds, _DELAY_MAX)
            listed[at] = (kind, _DELAY.pack(seconds))
            return listed
    if held_seconds:
        listed.append((ACCT_DELAY_TIME, _DELAY.pack(min(held_seconds, _DELAY_MAX))))
    return listed


def _name(attributes: list[Attribute], source_address: bytes) -> list[Attribute]:
    known = {kind for kind, _ in attributes}
    if known & {NAS_IP_ADDRESS, NAS_IPV6_ADDRESS, NAS_IDENTIFIER}:
        return []
    if source_address.startswith(_MAPPED):
        return [(NAS_IP_ADDRESS, source_address[12:])]
    return [(NAS_IPV6_ADDRESS, source_address)]
