"""A template compiled once: where each column lies in a record, as a numpy structured dtype.

A record of fixed length is read in place. A record with fields of variable length is first
*normalised* (`variable`); then both are read alike. An integer of 3, 5, 6 or 7 octets (reduced-size
encoding, RFC 7011 §6.2) is read as two or three pieces and put together. A text is no column of its
own: `texts` numbers the different ones of a batch.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.netflow.elements import (
    ADDRESSES,
    EVENT_COUNTERS,
    FIRST,
    FIXED_FIELDS,
    LAST,
    PAIRED,
    TEXTS,
    TOTALS,
    Element,
)
from collectors.netflow.templates import FIXED, VARIABLE_OCTETS, Field, read_fields

_PIECES: Mapping[int, tuple[int, ...]] = {
    1: (1,), 2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (4, 2, 1), 8: (8,),
}  # fmt: skip
"""Octets of an integer -> octets of the machine words it is read as, most significant first."""

COUNTERS = ("octets", "packets", "octets_reverse", "packets_reverse")
"""Columns that make a data record a flow."""

_ADDRESS_OCTETS: Mapping[str, int] = {
    f"{end}_v{version}": octets for end in ADDRESSES for version, octets in ((4, 4), (6, 16))
}


CACHED_DEFINITION_OCTETS_MAX = 1_024
"""Longest template definition whose layout is remembered: 255 fields, far above any exporter's."""


INTEGER_OCTETS = 8
"""What a variable integer takes in a normalised record."""
TEXT_OCTETS = 8
"""What a variable text takes there: its place in the payload and its length, 4 octets each."""


class FieldKind(enum.Enum):
    """What a stretch of a normalised record holds."""

    OCTETS = enum.auto()
    INTEGER = enum.auto()
    TEXT = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True)
class Stretch:
    """A step of normalising a record: `octets` fixed octets, or one variable-length field.

    at is where it goes in the normalised record, -1 where no column needs the field.
    """

    octets: int
    is_variable: bool
    at: int = -1
    kind: FieldKind = FieldKind.OCTETS


@dataclasses.dataclass(frozen=True, slots=True)
class TextPlace:
    """A text of a record: the dtype field of its octets, or of its place where it is variable."""

    name: str
    octets: int
    is_variable: bool


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Layout:
    """How to read the records of one template.

    record_octets is the length of a record, or the least length where some field is variable
    (`stretches` is then not empty). dtype describes a (normalised) record; pieces names, for each
    column that the template has, the dtype fields that make it up, most significant first, and
    sources the element that it is read from. texts names, for each text that the template has, its
    places in the order of `elements.TEXTS`.
    """

    is_options: bool
    record_octets: int
    dtype: np.dtype[np.void]
    pieces: Mapping[str, tuple[str, ...]]
    stretches: tuple[Stretch, ...]
    sources: Mapping[str, Element]
    texts: Mapping[str, tuple[TextPlace, ...]]

    def has(self, column: str) -> bool:
        """Return whether the template holds an element for the column."""
        return column in self.pieces

    @property
    def is_traffic(self) -> bool:
        """Return whether records are flows: data, and with some counter of octets or packets."""
        return not self.is_options and any(column in self.pieces for column in COUNTERS)

    @property
    def totals(self) -> int:
        """Return which of COUNTERS are totals since the flow's beginning, as bits in order."""
        return self._bits(TOTALS)

    @property
    def event_counters(self) -> int:
        """Return which of COUNTERS mean what the record's event says, as bits in order."""
        return self._bits(EVENT_COUNTERS) if self.has("event") else 0

    def _bits(self, elements: frozenset[Element]) -> int:
        return sum(
            1 << bit for bit, name in enumerate(COUNTERS) if self.sources.get(name) in elements
        )

    @property
    def is_translation(self) -> bool:
        """Return whether records may be events of a NAT: an event, and what it is about."""
        has_event = "nat_event" in self.pieces or "event" in self.pieces
        ends = ("nat_source_v4", "nat_source_v6", "nat_destination_v4", "nat_destination_v6")
        is_about = "nat_event" in self.pieces or any(end in self.pieces for end in ends)
        is_told = (has_event and is_about) or "nat_subscriber" in self.texts
        return not self.is_options and is_told

    def read(self, records: NDArray[np.void], column: str) -> NDArray[Any]:
        """Return a column of the records as unsigned integers: big-endian view or uint64.

        An IPv6 address has two pieces that `read_pieces` returns apart.
        """
        names = self.pieces[column]
        if len(names) == 1:
            return records[names[0]]
        value = records[names[0]].astype(np.uint64)
        for name in names[1:]:
            piece = records[name]
            value = (value << np.uint64(8 * piece.dtype.itemsize)) | piece
        return value

    def read_pieces(self, records: NDArray[np.void], column: str) -> list[NDArray[Any]]:
        """Return the pieces of a column apart: an IPv6 address as its high and low 64 bits."""
        return [records[name] for name in self.pieces[column]]


def compile_layout(version: int, is_options: bool, definition: bytes) -> Layout:
    """Return the layout of a template definition (`templates.TemplateRecord.definition`).

    A cache remembers it, unless the definition is of unusual size: a layout takes several times
    as much memory, and hostile ones must not fill it.
    """
    if len(definition) > CACHED_DEFINITION_OCTETS_MAX:
        return _read_and_compile(version, is_options, definition)
    return _compile_often(version, is_options, definition)


def _read_and_compile(version: int, is_options: bool, definition: bytes) -> Layout:
    return _compile(is_options, read_fields(version, is_options, definition))


_compile_often = functools.lru_cache(maxsize=8192)(_read_and_compile)


@functools.cache
def fixed_layout(version: int, record_octets: int) -> Layout:
    """Return the layout of a flow record of NetFlow v1, v5 or v7."""
    fields = FIXED_FIELDS[version, record_octets]
    return _compile(False, tuple(Field((0, number), octets) for number, octets in fields))


def layout_of(version: int, is_options: bool, definition: bytes) -> Layout:
    """Return the layout of a definition; without templates it is the octets of a record."""
    if version in FIXED:
        return fixed_layout(version, definition[0])
    return compile_layout(version, is_options, definition)


def _compile(is_options: bool, fields: Sequence[Field]) -> Layout:
    """Lay the fields out and pick the one that each column is read from."""
    places: dict[Element, list[tuple[int, int]]] = {}
    variable: list[tuple[int, Field]] = []
    stretches: list[Stretch] = []
    offset = 0
    least = 0
    for field in fields:
        if field.octets == VARIABLE_OCTETS:
            variable.append((len(stretches), field))
            stretches.append(Stretch(0, is_variable=True))
            least += 1
            continue
        if field.octets:
            places.setdefault(field.element, []).append((offset, field.octets))
            if stretches and not stretches[-1].is_variable:
                grown = stretches[-1].octets + field.octets
                stretches[-1] = dataclasses.replace(stretches[-1], octets=grown)
            else:
                stretches.append(Stretch(field.octets, is_variable=False, at=offset))
        offset += field.octets
        least += field.octets
    variable_texts: dict[Element, int] = {}
    for index, field in variable:
        if field.element in places or field.element in variable_texts:
            continue
        if field.element in _INTEGERS:
            stretches[index] = Stretch(0, True, offset, FieldKind.INTEGER)
            places[field.element] = [(offset, INTEGER_OCTETS)]
            offset += INTEGER_OCTETS
        elif field.element in _TEXTS:
            stretches[index] = Stretch(0, True, offset, FieldKind.TEXT)
            variable_texts[field.element] = offset
            offset += TEXT_OCTETS
    sources = _sources(places)
    pieces, formats = _place_columns(places, sources)
    texts = _place_texts(places, variable_texts)
    for place, at in texts.values():
        formats[place.name] = ("(2,)>u4" if place.is_variable else f"V{place.octets}", at)
    names = list(formats)
    dtype = np.dtype(
        {
            "names": names,
            "formats": [formats[name][0] for name in names],
            "offsets": [formats[name][1] for name in names],
            "itemsize": max(offset, 1),
        }
    )
    found = {
        text: tuple(texts[element][0] for element in elements if element in texts)
        for text, elements in TEXTS.items()
    }
    held = {text: chosen for text, chosen in found.items() if chosen}
    return Layout(
        is_options, least, dtype, pieces, tuple(stretches) if variable else (), sources, held
    )


_INTEGERS = frozenset(e for elements in (*FIRST.values(), *LAST.values()) for e in elements)
_TEXTS = frozenset(element for elements in TEXTS.values() for element in elements)


def _place_texts(
    fixed: Mapping[Element, Sequence[tuple[int, int]]], variable: Mapping[Element, int]
) -> dict[Element, tuple[TextPlace, int]]:
    """Return where each text lies, and the offset; of a repeated one the last (RFC 7011 §8)."""
    found: dict[Element, tuple[TextPlace, int]] = {}
    for element in sorted(_TEXTS):
        if element in fixed:
            offset, octets = fixed[element][-1]
            found[element] = TextPlace(f"text_{offset}", octets, False), offset
        elif element in variable:
            found[element] = TextPlace(f"text_{variable[element]}", 0, True), variable[element]
    return found


def _sources(places: Mapping[Element, Sequence[tuple[int, int]]]) -> dict[str, Element]:
    """Return the element that each column is read from, of those that the template holds."""
    sources: dict[str, Element] = {}
    for table in (FIRST, LAST):
        for column, elements in table.items():
            pair = PAIRED.get(column, ())
            if pair and all(element in places for element in pair):
                elements = pair
            element = next((e for e in elements if _fits(column, places.get(e))), None)
            if element is not None:
                sources[column] = element
    return sources


def _place_columns(
    places: Mapping[Element, Sequence[tuple[int, int]]], sources: Mapping[str, Element]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, int]]]:
    """Return each column's pieces, and the format and offset of every piece."""
    pieces: dict[str, tuple[str, ...]] = {}
    formats: dict[str, tuple[str, int]] = {}
    for column, element in sources.items():
        named: list[str] = []
        for offset, width in _words(column, *places[element][-1 if column in LAST else 0]):
            name = f"at_{offset}_{width}"
            formats[name] = (f">u{width}", offset)
            named.append(name)
        pieces[column] = tuple(named)
    return pieces, formats


def _fits(column: str, places: Sequence[tuple[int, int]] | None) -> bool:
    """Return whether an element of these places can be the column: addresses have one length."""
    if not places:
        return False
    octets = _ADDRESS_OCTETS.get(column)
    return octets is None or all(length == octets for _, length in places)


def _words(column: str, offset: int, octets: int) -> list[tuple[int, int]]:
    """Return offset and octets of each machine word to read; above 8 octets the low 8 count."""
    widths: tuple[int, ...]
    if column in _ADDRESS_OCTETS:
        widths = (4,) if octets == 4 else (8, 8)
    elif octets > 8:
        offset, widths = offset + octets - 8, (8,)
    else:
        widths = _PIECES[octets]
    words: list[tuple[int, int]] = []
    for width in widths:
        words.append((offset, width))
        offset += width
    return words
