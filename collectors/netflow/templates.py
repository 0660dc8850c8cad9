"""Template sets into definitions: what an exporter says its records look like.

A definition is the octets of one template record after its id, as sent; it is small, canonical
and goes into the state as it is. Malformed input gives reasons, never an exception.
"""

from __future__ import annotations

import dataclasses
import functools
import struct

from collectors.netflow.elements import SCOPE_V9, Element

V1, V5, V7, V9, IPFIX = 1, 5, 7, 9, 10
"""Version numbers in the first two octets of a datagram."""

FIXED = (V1, V5, V7)
"""Versions without templates: their records are as `elements.FIXED_FIELDS` says."""

VERSIONS = (*FIXED, V9, IPFIX)

VARIABLE_OCTETS = 0xFFFF
"""A field of variable length (RFC 7011 §7)."""

_PAIR = struct.Struct(">HH")
_ENTERPRISE = struct.Struct(">I")


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field of a template: its element, its octets (VARIABLE_OCTETS: in the record)."""

    element: Element
    octets: int
    is_scope: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class TemplateRecord:
    """One template as sent: its id (>= 256), its kind and its definition.

    An empty definition withdraws it (RFC 7011 §8.1); the id is then EVERY_TEMPLATE for all of the
    kind.
    """

    template_id: int
    is_options: bool
    definition: bytes

    @property
    def is_withdrawal(self) -> bool:
        """Return whether it takes a template back."""
        return not self.definition


EVERY_TEMPLATE = -1
"""Template id of a withdrawal of all templates, or of all options templates."""

CACHED_SET_OCTETS_MAX = 2_048
"""Longest body of a template set that is remembered; a datagram has room for little more."""


@dataclasses.dataclass(frozen=True, slots=True)
class TemplateSet:
    """What one template set held: templates in order, and a reason for each part refused."""

    records: tuple[TemplateRecord, ...]
    refused: tuple[str, ...]


def is_template_set(version: int, set_id: int) -> bool:
    """Return whether a set holds templates (v9: 0 and 1, RFC 3954 §5; IPFIX: 2 and 3)."""
    return set_id in ((0, 1) if version == V9 else (2, 3))


def read_template_set(version: int, set_id: int, body: bytes, fields_limit: int) -> TemplateSet:
    """Return the templates in the body of a template set (RFC 3954 §5.2, §6.1; RFC 7011 §3.4).

    fields_limit is the most fields that a template may have. A cache makes a refresh cheap; sets
    of unusual size pass it by, so that hostile ones cannot fill memory through it.
    """
    read = _read_often if len(body) <= CACHED_SET_OCTETS_MAX else _read_template_set
    return read(version, set_id, body, fields_limit)


def _read_template_set(version: int, set_id: int, body: bytes, fields_limit: int) -> TemplateSet:
    is_options = set_id in (1, 3)
    records: list[TemplateRecord] = []
    refused: list[str] = []
    position = 0
    while position + 4 <= len(body):
        template_id, count = _PAIR.unpack_from(body, position)
        if template_id == 0:
            break  # padding
        if count == 0 and version == IPFIX and (template_id >= 256 or template_id == set_id):
            # All of a kind are withdrawn under the id of its set, 2 or 3 (RFC 7011 §8.1).
            which = template_id if template_id >= 256 else EVERY_TEMPLATE
            records.append(TemplateRecord(which, is_options, b""))
            position += 4
            continue
        if template_id < 256:
            refused.append("template_id_reserved")
            break
        end = _end_of_record(version, is_options, body, position + 2)
        if end is None:
            refused.append("template_truncated")
            break
        definition = body[position + 2 : end]
        position = end
        if _field_count(version, is_options, definition) > fields_limit:
            refused.append("template_fields_limit")
            continue
        records.append(TemplateRecord(template_id, is_options, definition))
    return TemplateSet(tuple(records), tuple(refused))


_read_often = functools.lru_cache(maxsize=4096)(_read_template_set)


def _field_count(version: int, is_options: bool, definition: bytes) -> int:
    """Return the number of fields that a definition announces."""
    if is_options and version == V9:
        scope_octets, option_octets = _PAIR.unpack_from(definition)
        return int(scope_octets // 4 + option_octets // 4)
    return int.from_bytes(definition[:2], "big")


def _end_of_record(version: int, is_options: bool, body: bytes, start: int) -> int | None:
    """Return where the template record ends whose definition starts at `start`, None: cut off."""
    head = 4 if is_options else 2
    if start + head > len(body):
        return None
    fields = _field_count(version, is_options, body[start : start + 4])
    position = start + head
    if position + 4 * fields > len(body):
        return None  # also a template of 65,535 fields that are not there: no walk
    if version == V9:
        return position + 4 * fields
    for _ in range(fields):
        if position + 4 > len(body):
            return None
        position += 8 if body[position] & 0x80 else 4
    return position if position <= len(body) else None


def read_fields(version: int, is_options: bool, definition: bytes) -> tuple[Field, ...]:
    """Return the fields of a definition that `read_template_set` accepted, in record order."""
    count = _field_count(version, is_options, definition)
    scopes = 0
    position = 2
    if is_options:
        scopes = int.from_bytes(definition[:2] if version == V9 else definition[2:4], "big")
        scopes = scopes // 4 if version == V9 else scopes
        position = 4
    fields: list[Field] = []
    for index in range(count):
        number, octets = _PAIR.unpack_from(definition, position)
        position += 4
        enterprise = 0
        if version == IPFIX and number & 0x8000:
            (enterprise,) = _ENTERPRISE.unpack_from(definition, position)
            number &= 0x7FFF
            position += 4
        if version == V9 and index < scopes:
            enterprise = SCOPE_V9
        fields.append(Field((enterprise, number), octets, index < scopes))
    return tuple(fields)
