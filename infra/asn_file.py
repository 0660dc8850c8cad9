"""Reads files of AS numbers in the MaxMind DB format, which GeoLite2, DB-IP and IPinfo sell.

Two layouts are known: ``autonomous_system_number`` with ``autonomous_system_organization``
(GeoLite2-ASN, DB-IP), and ``asn`` ("AS64496" or a number) with ``as_name`` or ``name`` (IPinfo).
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import maxminddb
import numpy as np
from maxminddb.decoder import Decoder
from numpy.typing import NDArray

from rating.asn_table import AsnTable, Network, build_table

FILE_OCTETS_MAX = 1 << 30
"""A larger file is none of AS numbers, and is not read into memory."""
NETWORKS_MAX = 10_000_000
"""A file of more networks is none of AS numbers: some 1.5 million are announced in the world."""

_SEPARATOR_OCTETS = 16
_V4_DEPTH = 96
_ASN = re.compile(r"(?:AS)?(\d{1,10})", re.IGNORECASE)
_ASN_MAX = (1 << 32) - 1
_NAME_CHARACTERS_MAX = 120

Int64s = NDArray[np.int64]
UInt64s = NDArray[np.uint64]


class AsnFileError(Exception):
    """A file that cannot be used, and why."""


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raises AsnFileError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AsnFileError(f"{path}: {error.strerror}") from error


def read_asn_file(path: Path) -> AsnTable:
    """Return the networks of a file as a table. Raises AsnFileError where it is none."""
    try:
        if path.stat().st_size > FILE_OCTETS_MAX:
            raise AsnFileError(f"{path}: larger than {FILE_OCTETS_MAX} octets")
        body = path.read_bytes()
    except OSError as error:
        raise AsnFileError(f"{path}: {error.strerror}") from error
    try:
        # In pure Python: the reader in C ends the process at some broken files.
        with maxminddb.open_database(path, maxminddb.MODE_MEMORY) as reader:
            table = _table(body, reader.metadata())
    except AsnFileError as error:
        raise AsnFileError(f"{path}: {error}") from error
    except Exception as error:
        # The parser of a foreign format meets any octets, and fails in any way.
        raise AsnFileError(f"{path}: not a MaxMind DB that can be read: {error!r}") from error
    if not table.networks:
        raise AsnFileError(f"{path}: no network with autonomous_system_number or asn")
    return table


@dataclasses.dataclass(frozen=True, slots=True)
class _Leaves:
    """What ends in the search tree: address [n] as two halves, prefix length, data's number."""

    high: UInt64s
    low: UInt64s
    depth: Int64s
    value: Int64s


def _table(body: bytes, metadata: Any) -> AsnTable:
    """Return the table of a database's octets."""
    nodes, size = metadata.node_count, metadata.record_size
    tree_octets = nodes * size // 4
    leaves = _walk(_records(body, nodes, size), metadata.ip_version)
    decoder = Decoder(body, tree_octets + _SEPARATOR_OCTETS)
    values, index = np.unique(leaves.value, return_inverse=True)
    told = [_read(decoder.decode(value - nodes + tree_octets)[0]) for value in values.tolist()]
    asns = np.array([asn for asn, _ in told], np.int64)[index]
    is_v4 = (leaves.high == 0) & (leaves.low >> np.uint64(32) == 0) & (leaves.depth >= _V4_DEPTH)
    return build_table(
        _networks(leaves, asns, is_v4), _networks(leaves, asns, ~is_v4), _names(told)
    )


def _names(told: list[tuple[int, str]]) -> Mapping[int, str]:
    names: dict[int, str] = {}
    for asn, name in told:
        if name:
            names.setdefault(asn, name)
    return names


def _networks(leaves: _Leaves, asns: Int64s, which: NDArray[np.bool_]) -> list[Network]:
    """Return the networks of one family in ascending order."""
    which = which & (asns > 0)
    high, low = leaves.high[which], leaves.low[which]
    order = np.lexsort((low, high))
    columns = (high[order], low[order], leaves.depth[which][order], asns[which][order])
    return [
        (first := h << 64 | w, first + (1 << 128 - depth) - 1, asn)
        for h, w, depth, asn in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _records(body: bytes, nodes: int, size: int) -> Int64s:
    """Return both records of every node of the search tree, int64 [nodes, 2]."""
    if size not in (24, 28, 32):
        raise AsnFileError(f"records of {size} bits")
    octets = np.frombuffer(body, np.uint8, nodes * size // 4).reshape(nodes, size // 4)
    wide = octets.astype(np.int64)
    if size == 28:
        left = (wide[:, 3] >> 4) << 24 | wide[:, 0] << 16 | wide[:, 1] << 8 | wide[:, 2]
        right = (wide[:, 3] & 15) << 24 | wide[:, 4] << 16 | wide[:, 5] << 8 | wide[:, 6]
        return np.stack([left, right], axis=1)
    half = size // 8
    sides = []
    for side in (wide[:, :half], wide[:, half:]):
        number = np.zeros(nodes, np.int64)
        for octet in side.T:
            number = number << 8 | octet
        sides.append(number)
    return np.stack(sides, axis=1)


def _walk(records: Int64s, ip_version: int) -> _Leaves:
    """Return what ends in the tree, walked level by level; IPv4 as ::/96 (not mapped).

    Places that point at the IPv4 part again, such as 2002::/16, are passed over.
    """
    nodes = len(records)
    bits = 128 if ip_version == 6 else 32
    v4_start = 0
    for _ in range(_V4_DEPTH if ip_version == 6 else 0):
        v4_start = int(records[v4_start, 0]) if v4_start < nodes else v4_start
    node = np.zeros(1, np.int64)
    high = low = np.zeros(1, np.uint64)
    found: list[_Leaves] = []
    for depth in range(128 - bits, 128):
        bit = np.uint64(1 << (63 - depth % 64))
        one_high, one_low = (high | bit, low) if depth < 64 else (high, low | bit)
        value = np.concatenate([records[node, 0], records[node, 1]])
        high, low = np.concatenate([high, one_high]), np.concatenate([low, one_low])
        again = (value == v4_start) & ((high | low) != 0)
        ends = (value > nodes) & ~again
        length = np.full(int(ends.sum()), depth + 1, np.int64)
        found.append(_Leaves(high[ends], low[ends], length, value[ends]))
        inner = (value < nodes) & ~again
        node, high, low = value[inner], high[inner], low[inner]
        if len(node) > NETWORKS_MAX:
            raise AsnFileError(f"more than {NETWORKS_MAX} networks")
        if not len(node):
            break
    if len(node):
        raise AsnFileError("a search tree that is deeper than an address is long")
    return _Leaves(
        *(
            np.concatenate([getattr(part, f.name) for part in found])
            for f in dataclasses.fields(_Leaves)
        )
    )


def _read(record: Any) -> tuple[int, str]:
    """Return AS number and name of a record; 0 where it has none that can be."""
    if not isinstance(record, dict):
        return 0, ""
    told = record.get("autonomous_system_number", record.get("asn"))
    matched = _ASN.fullmatch(told.strip()) if isinstance(told, str) else None
    number = int(matched[1]) if matched else told
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= _ASN_MAX:
        return 0, ""
    for key in ("autonomous_system_organization", "as_name", "name"):
        name = record.get(key)
        if isinstance(name, str) and name:
            return number, name[:_NAME_CHARACTERS_MAX]
    return number, ""
