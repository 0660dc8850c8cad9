"""Texts of flows: the different ones of a batch once, and each record's number among them.

Nothing here makes a Python object per record: equal octets are found in Arrow, and only what is
different is decoded.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.gathering import Group
from collectors.netflow.layouts import TextPlace
from collectors.radius.attributes import decode_text
from rating.classes import Application

APPLICATION_ID_OCTETS_MAX = 32
"""Longest application id that is read; RFC 6759 knows 4, and 8 with an enterprise number."""
_PANA_L7_PEN = 20

UInt32s = NDArray[np.uint32]
Int64s = NDArray[np.int64]


class Named(Protocol):
    """What option records told of applications."""

    def names_of(self, session: int, told: str, order: Int64s) -> Iterable[tuple[str, Int64s]]:
        """Yield (name, indices into order) of an id in a session; order is where records stand."""
        ...


class Texts:
    """One kind of text over a batch. Number 0 is the empty text: the record has none."""

    def __init__(
        self, read: Callable[[bytes], str], octets_limit: int, *, is_padded: bool = True
    ) -> None:
        """Start with nothing; read gives the text of octets, octets_limit is the longest read.

        is_padded: NUL octets fill up what is shorter than a field of fixed length.
        """
        self._read = read
        self._is_padded = is_padded
        self._octets_limit = octets_limit
        self._numbers: dict[str, int] = {"": 0}
        self._refused: list[Int64s] = []

    @property
    def known(self) -> tuple[str, ...]:
        """Return the texts by number."""
        return tuple(self._numbers)

    def refused_rows(self) -> Int64s:
        """Return the row (datagram) of each record whose text was beyond the limit, int64."""
        return np.concatenate([np.zeros(0, np.int64), *self._refused])

    def numbers(self, group: Group, text: str) -> UInt32s:
        """Return each record's number of the text, uint32 [n]: of the first place not empty."""
        found = np.zeros(len(group.records), np.uint32)
        for place in group.layout.texts.get(text, ()):
            index, different = self._different(group, place)
            numbers = np.array([self._number(octets) for octets in different], np.uint32)
            mine = numbers[index] if len(numbers) else found
            found = np.where(found == 0, mine, found)
        return found

    def _number(self, octets: bytes) -> int:
        return self._numbers.setdefault(self._read(octets), len(self._numbers))

    def _refuse(self, group: Group, beyond: NDArray[np.bool_]) -> None:
        if beyond.any():
            self._refused.append(group.row[beyond])

    def _different(self, group: Group, place: TextPlace) -> tuple[Int64s, list[bytes]]:
        """Return the different octets of a field, and each record's index among them."""
        column = group.records[place.name]
        if place.is_variable:
            begin, length = column[:, 0].astype(np.int64), column[:, 1].astype(np.int64)
            is_long = length > self._octets_limit
            self._refuse(group, is_long)
            length[is_long] = 0
            values = _variable_array(np.frombuffer(group.payload, np.uint8), begin, length)
        else:
            octets = np.ascontiguousarray(column).tobytes()
            kind = pa.binary(place.octets)
            values = pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(octets)])
        encoded = values.dictionary_encode()
        index = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        different = encoded.dictionary.to_pylist()
        if place.is_variable:
            return index, different
        if self._is_padded:
            different = [octets.rstrip(b"\0") for octets in different]
        beyond = np.array([len(octets) > self._octets_limit for octets in different], np.bool_)
        if beyond.any():
            self._refuse(group, beyond[index])
            different = [
                b"" if is_long else o for o, is_long in zip(different, beyond, strict=True)
            ]
        return index, different


def _variable_array(payload: NDArray[np.uint8], begin: Int64s, length: Int64s) -> pa.Array:
    """Return the octets [begin, begin + length) of a payload as an Arrow array of binary."""
    ends = np.cumsum(length)
    offsets = np.concatenate([np.zeros(1, np.int64), ends])
    source = np.repeat(begin - offsets[:-1], length) + np.arange(int(offsets[-1]))
    octets = pa.py_buffer(payload[source].tobytes())
    places = pa.py_buffer(offsets.tobytes())
    return pa.Array.from_buffers(pa.large_binary(), len(length), [None, places, octets])


class Applications:
    """The applications of a batch: what is told of each by id and by name, once."""

    def __init__(self, config: FlowDecodeConfig, named: Named) -> None:
        """Start with nothing but the application that is not told; named is what options told."""
        self._ids = Texts(read_application_id, APPLICATION_ID_OCTETS_MAX, is_padded=False)
        self._names = Texts(read_name, config.application_name_octets_limit)
        self._named = named
        self._numbers: dict[Application, int] = {Application(): 0}

    @property
    def known(self) -> tuple[Application, ...]:
        """Return the applications by number."""
        return tuple(self._numbers)

    def refused_rows(self) -> Int64s:
        """Return the row of each record whose name was beyond the limit, as `Texts` does."""
        return self._names.refused_rows()

    def numbers(self, group: Group, session: Int64s) -> UInt32s:
        """Return each record's number of its application, uint32 [n].

        session is each record's. A record's own name goes before the one that options told.
        """
        ids = self._ids.numbers(group, "application").astype(np.int64)
        names = self._names.numbers(group, "application_name").astype(np.int64)
        if not ids.any() and not names.any():
            return np.zeros(len(ids), np.uint32)
        known_ids, known_names = self._ids.known, self._names.known
        # One key for what is equal: session, id and name, each far below 2^21 in a batch's part.
        keys, index = np.unique(session << 42 | ids << 21 | names, return_inverse=True)
        numbers = np.empty(len(ids), np.uint32)
        places = np.split(np.argsort(index, kind="stable"), np.cumsum(np.bincount(index))[:-1])
        for key, place in zip(keys.tolist(), places, strict=True):
            told = known_ids[key >> 21 & 0x1F_FFFF]
            name = known_names[key & 0x1F_FFFF]
            if name or not told:
                numbers[place] = self._number(Application(told, name))
                continue
            for name, mine in self._named.names_of(key >> 42, told, group.order[place]):
                numbers[place[mine]] = self._number(Application(told, name))
        return numbers

    def _number(self, application: Application) -> int:
        return self._numbers.setdefault(application, len(self._numbers))


def read_application_id(octets: bytes) -> str:
    """Return an application id as ``engine:selector`` (RFC 6759 §4), "" where there is none.

    Of engine 20 (PANA-L7-PEN) the enterprise number stands between them: ``20:9:1234``.
    """
    if not any(octets):
        return ""
    engine, selector = octets[0], octets[1:]
    if engine == _PANA_L7_PEN and len(selector) > 4:
        enterprise = int.from_bytes(selector[:4], "big")
        return f"{engine}:{enterprise}:{int.from_bytes(selector[4:], 'big')}"
    return f"{engine}:{int.from_bytes(selector, 'big')}"


def read_name(octets: bytes) -> str:
    """Return an application's name without what fills its field up."""
    return decode_text(octets.strip(b" \0"))


def user_names(config: FlowDecodeConfig) -> Texts:
    """Return an empty table of user names, read as the settings say."""
    nobody = frozenset(name.casefold() for name in config.no_user_names)

    def read(octets: bytes) -> str:
        name = _without_address(decode_text(octets.strip(b" \0")))
        return "" if name.casefold() in nobody else name

    return Texts(read, config.user_name_octets_limit)


def _without_address(name: str) -> str:
    """Return a name without the inside address that Nokia puts behind it: ``alice@10.0.0.7``."""
    user, at, realm = name.rpartition("@")
    if not at or not user:
        return name
    try:
        ipaddress.ip_address(realm)
    except ValueError:
        return name
    return user
