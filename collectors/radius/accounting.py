"""From a verified Accounting-Request to the `AccountingRecord` that rating understands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from collectors.radius.log_codec import AccountingPacket, decode_packets
from collectors.radius.packet import ACCOUNTING_REQUEST, Attribute, decode_packet
from rating import accounting
from rating.accounting import AccountingRecord, Prefix

ACCT_STATUS_TYPE = 40
ACCT_SESSION_ID = 44

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
    decoded = decode_packet(packet.packet)
    if decoded.fault:
        return decoded.fault
    if decoded.code != ACCOUNTING_REQUEST:
        return "unexpected_code"
    fault = record_fault(decoded.attributes)
    if fault:
        return fault
    found, faults = _fields(decoded.attributes)
    return _record(packet, found, faults, nas, config)


def _record(
    packet: AccountingPacket,
    found: dict[str, Any],
    faults: list[str],
    nas: NasConfig,
    config: RadiusConfig,
) -> AccountingRecord:
    get = found.get
    up, down = ("output", "input") if nas.swap_input_output else ("input", "output")
    delay_seconds = get("delay_seconds", 0)
    if delay_seconds > config.delay_limit_seconds:
        faults.append("Acct-Delay-Time")
        delay_seconds = 0
    stamped_at = found["event_timestamp"] * 1000 if "event_timestamp" in found else None
    event_at, source = _event_time(packet.received_at, delay_seconds, stamped_at, config)
    octets_up, octets_down = _octets(found, up, nas, faults), _octets(found, down, nas, faults)
    return AccountingRecord(
        status=STATUSES.get(found["status_type"], accounting.OTHER),
        nas_id=packet.nas_id,
        acct_session_id=get("acct_session_id", ""),
        received_at=packet.received_at,
        event_at=event_at,
        event_at_source=source,
        event_timestamp_at=stamped_at,
        delay_seconds=delay_seconds,
        user_name=get("user_name", ""),
        acct_multi_session_id=get("acct_multi_session_id", ""),
        classes=tuple(get("classes", ())),
        nas_address=get("nas_address6") or get("nas_address4") or packet.source_address,
        nas_identifier=get("nas_identifier", ""),
        nas_port=get("nas_port"),
        nas_port_id=get("nas_port_id", ""),
        calling_station_id=get("calling_station_id", ""),
        called_station_id=get("called_station_id", ""),
        framed_address=get("framed_address", b""),
        framed_ipv6_addresses=tuple(get("framed_ipv6_addresses", ())),
        framed_ipv6_prefixes=tuple(get("framed_ipv6_prefixes", ())),
        interface_id=get("interface_id", b""),
        delegated_prefixes=tuple(get("delegated_prefixes", ())),
        octets_up=octets_up,
        octets_down=octets_down,
        packets_up=get(f"{up}_packets"),
        packets_down=get(f"{down}_packets"),
        has_gigawords="input_gigawords" in found or "output_gigawords" in found,
        octets_modulus=None if nas.has_gigawords else (nas.unit_octets << 32),
        session_seconds=get("session_seconds"),
        terminate_cause=get("terminate_cause", 0),
        faults=tuple(faults),
    )


def _octets(found: dict[str, Any], side: str, nas: NasConfig, faults: list[str]) -> int | None:
    # Gigawords count how often the 32-bit counter wrapped (RFC 2869 §5.1, §5.2).
    counted: int | None = found.get(f"{side}_octets")
    if counted is None:
        return None
    if nas.has_gigawords:
        counted += found.get(f"{side}_gigawords", 0) << 32
    counted *= nas.unit_octets
    if counted >= _COUNTER_LIMIT:
        faults.append(f"Acct-{side.capitalize()}-Gigawords")
        return None
    return counted


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
