"""Records one by one, with names and typed values: for people, never for what is billed.

The decoder reads the columns that billing needs of millions of records; this reads everything of a
few, structured data among it (RFC 6313): lists inside records, whose content is never volume.
"""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from collectors.datagrams import Datagram
from collectors.netflow.elements import FIXED_FIELDS, Element
from collectors.netflow.registry import describe
from collectors.netflow.templates import (
    IPFIX,
    V1,
    V5,
    V7,
    V9,
    VARIABLE_OCTETS,
    Field,
    is_template_set,
    read_fields,
    read_template_set,
)

LIST_DEPTH_MAX = 4
"""Lists inside lists deeper than this are shown as octets."""

LIST_VALUES_MAX = 4_096
"""Most values and records of one list that are read."""

FIELDS_MAX = 1_024
"""Most fields of a template that is read."""

SEMANTICS: Mapping[int, str] = {
    0: "noneOf", 1: "exactlyOneOf", 2: "oneOrMoreOf", 3: "allOf", 4: "ordered", 255: "undefined",
}  # fmt: skip
"""What a list says of the record that holds it (RFC 6313 §4.4)."""

_NTP_EPOCH_SECONDS = 2_208_988_800
_V9_HEADER, _IPFIX_HEADER = 20, 16


@dataclasses.dataclass(frozen=True, slots=True)
class NamedField:
    """One field of a record: its element, name and vendor ("" is IANA), and its value.

    The value is a number, a text, True or False, hexadecimal octets, or of a list a dict.
    """

    element: Element
    name: str
    vendor: str
    value: Any


@dataclasses.dataclass(frozen=True, slots=True)
class NamedRecord:
    """One record; template_id is 0 where the version has no templates."""

    version: int
    domain: int
    template_id: int
    is_options: bool
    fields: tuple[NamedField, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Shape:
    """A template in force."""

    is_options: bool
    fields: tuple[Field, ...]


class RecordReader:
    """Reads all records of datagrams, remembering templates of each exporter and domain."""

    def __init__(self) -> None:
        """Start with no template known."""
        self._shapes: dict[tuple[bytes, int, int, int], _Shape] = {}

    def learn(self, datagram: Datagram) -> None:
        """Remember the templates of a datagram."""
        for _ in self._sets(datagram):
            pass

    def records(self, datagram: Datagram) -> Iterator[NamedRecord]:
        """Yield the records of a datagram whose template is known, in order."""
        payload = datagram.payload
        version = int.from_bytes(payload[:2], "big")
        yield from _fixed_records(version, payload)
        for session, set_id, body in self._sets(datagram):
            shape = self._shapes.get((*session, set_id))
            if shape is None:
                continue
            for values in _split(shape.fields, body):
                named = self._named(session, shape.fields, values, 0)
                yield NamedRecord(version, session[2], set_id, shape.is_options, named)

    def _sets(self, datagram: Datagram) -> Iterator[tuple[tuple[bytes, int, int], int, bytes]]:
        """Yield session, id and body of the data sets, learning the templates before them."""
        payload = datagram.payload
        version = int.from_bytes(payload[:2], "big")
        at = {V9: _V9_HEADER, IPFIX: _IPFIX_HEADER}.get(version, len(payload))
        if len(payload) < at:
            return
        session = (datagram.source_address, version, int.from_bytes(payload[at - 4 : at], "big"))
        while at + 4 <= len(payload):
            set_id, length = struct.unpack_from(">HH", payload, at)
            if length < 4:
                return
            body = payload[at + 4 : at + length]
            at += length
            if is_template_set(version, set_id):
                for found in read_template_set(version, set_id, body, FIELDS_MAX).records:
                    fields = read_fields(version, found.is_options, found.definition)
                    shape = _Shape(found.is_options, fields)
                    self._shapes[*session, found.template_id] = shape
            elif set_id >= 256:
                yield session, set_id, body

    def _named(
        self,
        session: tuple[bytes, int, int],
        fields: tuple[Field, ...],
        values: list[bytes],
        depth: int,
    ) -> tuple[NamedField, ...]:
        """Return the fields of a record with names and values."""
        out: list[NamedField] = []
        for field, octets in zip(fields, values, strict=True):
            told = describe(session[1], field.element)
            reader = self._list_reader(told.kind)
            if reader is not None and depth < LIST_DEPTH_MAX:
                value = reader(session, octets, depth + 1)
            else:
                value = value_of(told.kind, octets)
            out.append(NamedField(field.element, told.name, told.vendor, value))
        return tuple(out)

    def _list_reader(
        self, kind: str
    ) -> Callable[[tuple[bytes, int, int], bytes, int], dict[str, Any]] | None:
        return {
            "basicList": self._basic_list,
            "subTemplateList": self._sub_template_list,
            "subTemplateMultiList": self._sub_template_multi_list,
        }.get(kind)

    def _basic_list(
        self, session: tuple[bytes, int, int], octets: bytes, depth: int
    ) -> dict[str, Any]:
        """Return a list of values of one element (RFC 6313 §4.5.1)."""
        if len(octets) < 5:
            return {"octets": octets.hex()}
        number, length = struct.unpack_from(">HH", octets, 1)
        at, enterprise = 5, 0
        if number & 0x8000:
            enterprise, at = int.from_bytes(octets[5:9], "big"), 9
        field = Field((enterprise, number & 0x7FFF), length)
        records = _split((field,), octets[at:])[:LIST_VALUES_MAX]
        named = [self._named(session, (field,), values, depth)[0] for values in records]
        name = describe(session[1], field.element).name
        return {
            "semantic": _semantic(octets),
            "element": name,
            "values": [each.value for each in named],
        }

    def _sub_template_list(
        self, session: tuple[bytes, int, int], octets: bytes, depth: int
    ) -> dict[str, Any]:
        """Return a list of records of one template (RFC 6313 §4.5.2)."""
        if len(octets) < 3:
            return {"octets": octets.hex()}
        template_id = int.from_bytes(octets[1:3], "big")
        inner = self._inner(session, template_id, octets[3:], depth)
        return {"semantic": _semantic(octets), "lists": [inner]}

    def _sub_template_multi_list(
        self, session: tuple[bytes, int, int], octets: bytes, depth: int
    ) -> dict[str, Any]:
        """Return lists of records, each of a template of its own (RFC 6313 §4.5.3)."""
        if not octets:
            return {"octets": ""}
        lists: list[dict[str, Any]] = []
        at = 1
        while at + 4 <= len(octets) and len(lists) < LIST_VALUES_MAX:
            template_id, length = struct.unpack_from(">HH", octets, at)
            if length < 4:
                break
            lists.append(self._inner(session, template_id, octets[at + 4 : at + length], depth))
            at += length
        return {"semantic": _semantic(octets), "lists": lists}

    def _inner(
        self, session: tuple[bytes, int, int], template_id: int, body: bytes, depth: int
    ) -> dict[str, Any]:
        """Return the records of one template inside a list; octets where it is not known."""
        shape = self._shapes.get((*session, template_id))
        if shape is None:
            return {"template": template_id, "octets": body.hex()}
        records = []
        for values in _split(shape.fields, body)[:LIST_VALUES_MAX]:
            named = self._named(session, shape.fields, values, depth)
            records.append({label(field): field.value for field in named})
        return {"template": template_id, "records": records}


def label(field: NamedField) -> str:
    """Return how a field is called: its name, of a vendor's element with the vendor before it."""
    return f"{field.vendor}:{field.name}" if field.vendor not in ("", "reverse") else field.name


def _semantic(octets: bytes) -> str:
    return SEMANTICS.get(octets[0], str(octets[0]))


def _fixed_records(version: int, payload: bytes) -> Iterator[NamedRecord]:
    """Yield the records of a version without templates."""
    header = {V1: 16, V5: 24, V7: 24}.get(version)
    if header is None or len(payload) < header:
        return
    count = int.from_bytes(payload[2:4], "big")
    octets = {V1: 48, V5: 48, V7: 52}[version]
    if version == V1 and len(payload) - header == 52 * count:
        octets = 52
    fields = tuple(Field((0, n), size) for n, size in FIXED_FIELDS[version, octets])
    body = payload[header : header + count * octets]
    for values in _split(fields, body):
        told = [
            (field, describe(version, field.element), value)
            for field, value in zip(fields, values, strict=True)
        ]
        named = tuple(
            NamedField(field.element, each.name, each.vendor, value_of(each.kind, value))
            for field, each, value in told
            if each.name != "paddingOctets"
        )
        yield NamedRecord(version, 0, 0, False, named)


def _split(fields: tuple[Field, ...], body: bytes) -> list[list[bytes]]:
    """Return the values of each whole record in a body."""
    if not any(field.octets for field in fields):
        return []
    records: list[list[bytes]] = []
    at = 0
    while at < len(body):
        values: list[bytes] = []
        for field in fields:
            octets = field.octets
            if octets == VARIABLE_OCTETS:
                if at >= len(body):
                    return records
                octets, at = body[at], at + 1
                if octets == 255:
                    octets, at = int.from_bytes(body[at : at + 2], "big"), at + 2
            values.append(body[at : at + octets])
            at += octets
            if at > len(body):
                return records
        records.append(values)
    return records


def value_of(kind: str, octets: bytes) -> Any:
    """Return a value of an abstract type (RFC 7011 §6.1); hexadecimal where its length is wrong."""
    if kind.startswith("unsigned") and 0 < len(octets) <= 8:
        return int.from_bytes(octets, "big")
    if kind.startswith("signed") and 0 < len(octets) <= 8:
        return int.from_bytes(octets, "big", signed=True)
    if kind.startswith("float") and len(octets) in (4, 8):
        return struct.unpack(">f" if len(octets) == 4 else ">d", octets)[0]
    if kind == "boolean" and octets in (b"\1", b"\2"):
        return octets == b"\1"
    if kind == "string":
        return octets.rstrip(b"\0").decode("utf-8", "replace")
    if kind in ("ipv4Address", "ipv6Address") and len(octets) == (4 if kind[3] == "4" else 16):
        return str(ipaddress.ip_address(octets))
    if kind == "macAddress" and len(octets) == 6:
        return octets.hex(":")
    if kind in _CLOCKS and len(octets) == (4 if kind == "dateTimeSeconds" else 8):
        return _instant(_CLOCKS[kind](int.from_bytes(octets, "big")))
    return octets.hex()


def _from_ntp(value: int) -> int:
    """Return microseconds since 1970 from 32 bits of seconds since 1900 and 32 of fraction."""
    seconds = (value >> 32) - _NTP_EPOCH_SECONDS
    return 0 if value == 0 else seconds * 1_000_000 + ((value & 0xFFFF_FFFF) * 1_000_000 >> 32)


_CLOCKS: Mapping[str, Callable[[int], int]] = {
    "dateTimeSeconds": lambda value: value * 1_000_000,
    "dateTimeMilliseconds": lambda value: value * 1_000,
    "dateTimeMicroseconds": _from_ntp,
    "dateTimeNanoseconds": _from_ntp,
}
"""Abstract type -> microseconds since 1970 (RFC 7011 §6.1.7 to §6.1.10)."""


def _instant(microseconds: int) -> str:
    """Return an instant as ISO 8601 in UTC; a number of microseconds beyond the calendar."""
    begin = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    try:
        at = begin + datetime.timedelta(microseconds=microseconds)
    except OverflowError:
        return str(microseconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
