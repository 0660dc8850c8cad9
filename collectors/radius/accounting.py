"""From a verified Accounting-Request to the `AccountingRecord` that rating understands."""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Sequence
from hashlib import md5
from typing import Any

from collectors.config import NasConfig, RadiusConfig
from collectors.radius.attributes import (
    attribute_name,
    decode_address,
    decode_integer,
    decode_prefix6,
    decode_text,
)
from collectors.radius.clients import ClientTable
from collectors.radius.layouts import Layouts
from collectors.radius.log_codec import AccountingPacket, decode_packets
from collectors.radius.packet import (
    ACCOUNTING_REQUEST,
    EAP_MESSAGE,
    MESSAGE_AUTHENTICATOR,
    Attribute,
    Packet,
    decode_packet,
)
from collectors.radius.services import counts_of, is_service
from rating import accounting
from rating.accounting import AccountingRecord, Prefix

ACCT_STATUS_TYPE = 40
ACCT_SESSION_ID = 44
NAS_IDENTIFIER = 32
PROXY_STATE = 33

_JUDGED = frozenset(
    (
        NAS_IDENTIFIER,
        PROXY_STATE,
        ACCT_STATUS_TYPE,
        ACCT_SESSION_ID,
        EAP_MESSAGE,
        MESSAGE_AUTHENTICATOR,
    )
)
_JUDGED_PACKETS = 4_096

STATUSES = {
    1: accounting.START,
    2: accounting.STOP,
    3: accounting.INTERIM,
    7: accounting.ACCOUNTING_ON,
    8: accounting.ACCOUNTING_OFF,
}
"""Acct-Status-Type -> status (RFC 2866 §5.1); every other number is `accounting.OTHER`."""

_COUNTER_LIMIT = 1 << 63
"""Volumes are 64-bit signed in every later stage; a counter beyond that is a broken NAS."""

_UNASSIGNED = frozenset((bytes(4), b"\xff\xff\xff\xff", b"\xff\xff\xff\xfe"))
"""Framed-IP-Address values that say "the user's" or "the NAS's choice" (RFC 2865 §5.8)."""


def _identity(value: bytes) -> bytes:
    return value


def _framed_address(value: bytes) -> bytes | None:
    if len(value) != 4:
        return None
    return b"" if value in _UNASSIGNED else decode_address(value)


def _address4(value: bytes) -> bytes | None:
    return decode_address(value) if len(value) == 4 else None


def _address6(value: bytes) -> bytes | None:
    return value if len(value) == 16 and any(value) else None


def _interface(value: bytes) -> bytes | None:
    return value if len(value) == 8 else None


def _prefix(value: bytes) -> Prefix | None:
    # ::/0 would give every address of the network to one subscriber.
    decoded = decode_prefix6(value)
    return Prefix(*decoded) if decoded and decoded[1] else None


_ONCE: dict[int, tuple[str, Callable[[bytes], Any]]] = {
    1: ("user_name", decode_text),
    4: ("nas_address4", _address4),
    5: ("nas_port", decode_integer),
    8: ("framed_address", _framed_address),
    30: ("called_station_id", decode_text),
    31: ("calling_station_id", decode_text),
    32: ("nas_identifier", decode_text),
    40: ("status_type", decode_integer),
    41: ("delay_seconds", decode_integer),
    42: ("input_octets", decode_integer),
    43: ("output_octets", decode_integer),
    44: ("acct_session_id", decode_text),
    46: ("session_seconds", decode_integer),
    47: ("input_packets", decode_integer),
    48: ("output_packets", decode_integer),
    49: ("terminate_cause", decode_integer),
    50: ("acct_multi_session_id", decode_text),
    52: ("input_gigawords", decode_integer),
    53: ("output_gigawords", decode_integer),
    55: ("event_timestamp", decode_integer),
    87: ("nas_port_id", decode_text),
    95: ("nas_address6", _address6),
    96: ("interface_id", _interface),
}
"""Attributes that count once, the first time: type -> field and decoder (None: impossible)."""

_MANY: dict[int, tuple[str, Callable[[bytes], Any]]] = {
    25: ("classes", _identity),
    97: ("framed_ipv6_prefixes", _prefix),
    123: ("delegated_prefixes", _prefix),
    168: ("framed_ipv6_addresses", _address6),
}
"""Attributes that may repeat: type -> field and decoder."""

_LISTS = frozenset(name for name, _ in _MANY.values())
_ADDRESSES = frozenset(
    ("framed_address", "framed_ipv6_addresses", "framed_ipv6_prefixes", "delegated_prefixes")
)


def _in_list(decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def decode_one(value: bytes) -> list[Any] | None:
        decoded = decode(value)
        return None if decoded is None else [decoded]

    return decode_one


_LAYOUTS = Layouts(
    _ONCE | {kind: (name, _in_list(decode)) for kind, (name, decode) in _MANY.items()},
    decode_integer,
    frozenset({"status_type", "acct_session_id"}),
)


def _fields(attributes: Sequence[Attribute]) -> tuple[dict[str, Any], list[str]]:
    found: dict[str, Any] = {}
    faults: list[str] = []
    for attribute_type, value in attributes:
        known = _ONCE.get(attribute_type)
        if known is not None:
            name, decode = known
            if name not in found:
                decoded = decode(value)
                if decoded is None:
                    faults.append(attribute_name(attribute_type))
                else:
                    found[name] = decoded
        elif attribute_type in _MANY:
            name, decode = _MANY[attribute_type]
            decoded = decode(value)
            if decoded is None:
                faults.append(attribute_name(attribute_type))
            else:
                found.setdefault(name, []).append(decoded)
    return found, faults


def unique_session_id(packet: Packet) -> str:
    """Return the Acct-Unique-Session-Id that FreeRADIUS 3.2 gives a packet's session.

    MD5 over User-Name, Acct-Session-Id, NAS-IPv6-Address or else NAS-IP-Address, NAS-Identifier,
    NAS-Port-Id and NAS-Port as text, with commas between. It finds a session in another server's
    accounting; nothing of ours is keyed on it, as it is the same for a session id that is used
    again.
    """
    address = _address6(packet.first(95) or b"") or packet.first(4) or b""
    port = decode_integer(packet.first(5) or b"")
    texts = [packet.first(kind) or b"" for kind in (1, ACCT_SESSION_ID)]
    is_address = len(address) in (4, 16)
    texts.append(str(ipaddress.ip_address(address)).encode() if is_address else b"")
    texts += [packet.first(kind) or b"" for kind in (NAS_IDENTIFIER, 87)]
    texts.append(b"" if port is None else str(port).encode())
    return md5(b",".join(texts), usedforsecurity=False).hexdigest()


@functools.lru_cache(maxsize=_JUDGED_PACKETS)
def decode_judged(octets: bytes) -> Packet:
    """Return a packet with the attributes alone on which it depends what becomes of it.

    It is remembered for a while: a collector judges a packet when it comes, and asks again when it
    chooses the partition.
    """
    return decode_packet(octets, _JUDGED)


def record_fault(attributes: Sequence[Attribute]) -> str:
    """Return why a well-formed Accounting-Request cannot be accounted, "" where it can.

    ``status_type_missing``: no usable Acct-Status-Type; ``session_id_missing``: a Start, Interim or
    Stop without Acct-Session-Id, which every such packet must carry (RFC 2866 §5.5).
    """
    status = None
    has_session_id = False
    for attribute_type, value in attributes:
        if attribute_type == ACCT_STATUS_TYPE and status is None:
            status = decode_integer(value)
        elif attribute_type == ACCT_SESSION_ID:
            has_session_id = has_session_id or bool(value.rstrip(b"\0"))
    if status is None:
        return "status_type_missing"
    return "session_id_missing" if status in (1, 2, 3) and not has_session_id else ""


def decode_record(
    packet: AccountingPacket, nas: NasConfig, config: RadiusConfig
) -> AccountingRecord | str:
    """Return what a logged packet says, corrected as its NAS's settings say.

    config gives the trusted window of Event-Timestamp. A packet that says nothing usable gives its
    fault instead: a key of `collectors.radius.packet.FAULTS`, ``unexpected_code``, or a reason of
    `record_fault`. Attributes of impossible length are left out and named in `faults`.
    """
    known = _LAYOUTS.read(packet.packet)
    if known is not None and known["acct_session_id"]:
        return _record(packet, known, [], nas, config)
    decoded = decode_packet(packet.packet)
    if decoded.fault:
        return decoded.fault
    if decoded.code != ACCOUNTING_REQUEST:
        return "unexpected_code"
    fault = record_fault(decoded.attributes)
    if fault:
        return fault
    found, faults = _fields(decoded.attributes)
    if not faults and decoded.length == len(packet.packet):
        _LAYOUTS.learn(packet.packet, decoded.attributes)
    return _record(packet, found, faults, nas, config)


def _record(
    packet: AccountingPacket,
    found: dict[str, Any],
    faults: list[str],
    nas: NasConfig,
    config: RadiusConfig,
) -> AccountingRecord:
    pop = found.pop
    delay_seconds = found.get("delay_seconds", 0)
    if delay_seconds > config.delay_limit_seconds:
        faults.append("Acct-Delay-Time")
        delay_seconds = found["delay_seconds"] = 0
    up, down = ("output", "input") if nas.swap_input_output else ("input", "output")
    octets_up, packets_up, gigawords_up = _side(found, up, nas, faults)
    octets_down, packets_down, gigawords_down = _side(found, down, nas, faults)
    timestamp = pop("event_timestamp", None)
    stamped_at = None if timestamp is None else timestamp * 1000
    event_at, source = _event_time(packet.received_at, delay_seconds, stamped_at, config)
    address4, address6 = pop("nas_address4", b""), pop("nas_address6", b"")
    acct_session_id = pop("acct_session_id", "")
    is_of_service = is_service(packet.packet, acct_session_id, nas)
    if is_of_service:
        # The addresses are the session's, which holds them as long as it runs.
        for name in _ADDRESSES & found.keys():
            del found[name]
    for name in found.keys() & _LISTS:
        found[name] = tuple(found[name])
    return AccountingRecord(
        status=STATUSES.get(pop("status_type"), accounting.OTHER),
        nas_id=packet.nas_id,
        acct_session_id=acct_session_id,
        received_at=packet.received_at,
        event_at=event_at,
        event_at_source=source,
        event_timestamp_at=stamped_at,
        nas_address=address6 or address4 or packet.source_address,
        octets_up=octets_up,
        octets_down=octets_down,
        packets_up=packets_up,
        packets_down=packets_down,
        has_gigawords=gigawords_up is not None or gigawords_down is not None,
        octets_modulus=None if nas.has_gigawords else _in_octets(1 << 32, nas),
        counts=counts_of(is_of_service, nas),
        faults=tuple(faults),
        **found,
    )


def _side(
    found: dict[str, Any], side: str, nas: NasConfig, faults: list[str]
) -> tuple[int | None, int | None, int | None]:
    """Return octets, packets and gigawords of one direction, taken out of the fields found."""
    counted: int | None = found.pop(f"{side}_octets", None)
    packets: int | None = found.pop(f"{side}_packets", None)
    gigawords: int | None = found.pop(f"{side}_gigawords", None)
    if counted is None:
        return None, packets, gigawords
    # Gigawords count how often the 32-bit counter wrapped (RFC 2869 §5.1, §5.2).
    if nas.has_gigawords and gigawords:
        counted += gigawords << 32
    counted = _in_octets(counted, nas)
    if counted >= _COUNTER_LIMIT:
        faults.append(f"Acct-{side.capitalize()}-Gigawords")
        return None, packets, gigawords
    return counted, packets, gigawords


def _in_octets(counted: int, nas: NasConfig) -> int:
    octets = counted * nas.unit_octets
    return octets >> 3 if nas.counts_bits else octets


def _event_time(
    received_at: int, delay_seconds: int, stamped_at: int | None, config: RadiusConfig
) -> tuple[int, str]:
    """Return when it happened (ms) and how we know."""
    if stamped_at is not None:
        behind, ahead = config.event_time_behind_seconds, config.event_time_ahead_seconds
        if received_at - behind * 1000 < stamped_at < received_at + ahead * 1000:
            return stamped_at, accounting.FROM_EVENT_TIMESTAMP
    return received_at - delay_seconds * 1000, accounting.FROM_DELAY


def decode_block(
    body: bytes, clients: ClientTable, config: RadiusConfig
) -> tuple[list[AccountingRecord], dict[str, int]]:
    """Return the records of one `radius.accounting` data block, and faults -> count.

    Raises ValueError for a body that is no such block.
    """
    records: list[AccountingRecord] = []
    faults: dict[str, int] = {}
    for packet in decode_packets(body):
        record = decode_record(packet, clients.config_of(packet.nas_id), config)
        if isinstance(record, str):
            faults[record] = faults.get(record, 0) + 1
        else:
            records.append(record)
            for fault in record.faults:
                faults[fault] = faults.get(fault, 0) + 1
    return records, faults
