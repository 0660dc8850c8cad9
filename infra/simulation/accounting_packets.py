"""Accounting events as RADIUS packets, and the NAS's answer to CoA, built with pyrad.

pyrad rather than our own codec: the simulator must not share a mistake with what it tests.
"""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable

from pyrad import packet as radius
from pyrad.dictionary import Dictionary

from infra.simulation.network import AccountingEvent

_DICTIONARY = """
ATTRIBUTE User-Name 1 string
ATTRIBUTE NAS-IP-Address 4 ipaddr
ATTRIBUTE Framed-IP-Address 8 ipaddr
ATTRIBUTE Vendor-Specific 26 octets
ATTRIBUTE NAS-Identifier 32 string
ATTRIBUTE Acct-Status-Type 40 integer
ATTRIBUTE Acct-Delay-Time 41 integer
ATTRIBUTE Acct-Input-Octets 42 integer
ATTRIBUTE Acct-Output-Octets 43 integer
ATTRIBUTE Acct-Session-Id 44 string
ATTRIBUTE Acct-Session-Time 46 integer
ATTRIBUTE Acct-Input-Packets 47 integer
ATTRIBUTE Acct-Output-Packets 48 integer
ATTRIBUTE Acct-Terminate-Cause 49 integer
ATTRIBUTE Acct-Input-Gigawords 52 integer
ATTRIBUTE Acct-Output-Gigawords 53 integer
ATTRIBUTE Event-Timestamp 55 integer
ATTRIBUTE Message-Authenticator 80 octets
ATTRIBUTE Error-Cause 101 integer
ATTRIBUTE Delegated-IPv6-Prefix 123 ipv6prefix
VENDOR Mikrotik 14988
BEGIN-VENDOR Mikrotik
ATTRIBUTE Mikrotik-Rate-Limit 8 string
ATTRIBUTE Mikrotik-Address-List 19 string
END-VENDOR Mikrotik
"""
DICTIONARY = Dictionary(io.StringIO(_DICTIONARY))

STATUS_TYPES = {"start": 1, "stop": 2, "interim": 3, "on": 7, "off": 8}
_SESSION_CONTEXT_NOT_FOUND = 503
_UNITS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


@dataclasses.dataclass(frozen=True, slots=True)
class NasIdentity:
    """Who the NAS says it is, and the secret it shares."""

    address: str
    identifier: str
    secret: bytes


def encode_accounting(
    event: AccountingEvent, nas: NasIdentity, identifier: int, *, delay_seconds: int = 0
) -> bytes:
    """Return the Accounting-Request (RFC 2866) of an event."""
    request = radius.AcctPacket(id=identifier % 256, secret=nas.secret, dict=DICTIONARY)
    request["Acct-Status-Type"] = STATUS_TYPES[event.status]
    request["NAS-IP-Address"] = nas.address
    request["NAS-Identifier"] = nas.identifier
    request["Acct-Session-Id"] = event.acct_session_id
    request["Event-Timestamp"] = event.event_seconds
    if delay_seconds:
        request["Acct-Delay-Time"] = delay_seconds
    if event.status not in ("on", "off"):
        request["User-Name"] = event.user_name
        request["Framed-IP-Address"] = event.framed_address
        request["Delegated-IPv6-Prefix"] = event.delegated_prefix
    if event.status in ("interim", "stop"):
        request["Acct-Session-Time"] = event.session_seconds
        request["Acct-Input-Octets"] = event.octets_up % 2**32
        request["Acct-Input-Gigawords"] = event.octets_up >> 32
        request["Acct-Output-Octets"] = event.octets_down % 2**32
        request["Acct-Output-Gigawords"] = event.octets_down >> 32
        request["Acct-Input-Packets"] = event.packets_up % 2**32
        request["Acct-Output-Packets"] = event.packets_down % 2**32
    if event.status == "stop":
        request["Acct-Terminate-Cause"] = 1
    return bytes(request.RequestPacket())


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceChange:
    """What a CoA or Disconnect asks for; a rate of None means: no limit named."""

    is_disconnect: bool
    user_name: str
    acct_session_id: str
    rate_up_bps: int | None
    rate_down_bps: int | None
    address_list: str | None


def answer_change(
    datagram: bytes, nas: NasIdentity, apply: Callable[[ServiceChange], bool]
) -> bytes | None:
    """Return the ACK or NAK (RFC 5176) for a request; None where it does not verify.

    apply makes the change and says whether the session exists (else NAK 503).
    """
    try:
        request = radius.CoAPacket(packet=datagram, secret=nas.secret, dict=DICTIONARY)
        if request.code not in (radius.CoARequest, radius.DisconnectRequest):
            return None
        if not request.VerifyCoARequest():
            return None
    except Exception:
        return None
    is_disconnect = request.code == radius.DisconnectRequest
    found = apply(_change_of(request, is_disconnect))
    reply = request.CreateReply()
    if is_disconnect:
        reply.code = radius.DisconnectACK if found else radius.DisconnectNAK
    else:
        reply.code = radius.CoAACK if found else radius.CoANAK
    if not found:
        reply["Error-Cause"] = _SESSION_CONTEXT_NOT_FOUND
    return bytes(reply.ReplyPacket())


def _change_of(request: radius.CoAPacket, is_disconnect: bool) -> ServiceChange:
    rate_up_bps, rate_down_bps = parse_rate_limit(_text(request, "Mikrotik-Rate-Limit"))
    return ServiceChange(
        is_disconnect=is_disconnect,
        user_name=_text(request, "User-Name"),
        acct_session_id=_text(request, "Acct-Session-Id"),
        rate_up_bps=rate_up_bps,
        rate_down_bps=rate_down_bps,
        address_list=_text(request, "Mikrotik-Address-List") or None,
    )


def _text(request: radius.CoAPacket, name: str) -> str:
    return str(request[name][0]) if name in request else ""


def parse_rate_limit(text: str) -> tuple[int | None, int | None]:
    """Return (up, down) in bit/s of a Mikrotik-Rate-Limit "rx/tx" such as ``2M/10M``."""
    match = re.match(r"(\d+)([kMG]?)/(\d+)([kMG]?)", text)
    if match is None:
        return None, None
    rx, rx_unit, tx, tx_unit = match.groups()
    return int(rx) * _UNITS[rx_unit], int(tx) * _UNITS[tx_unit]
