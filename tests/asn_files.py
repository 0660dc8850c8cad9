"""Writes files in the MaxMind DB format 2.0, small; shares no code with readers."""

from __future__ import annotations

import dataclasses
import ipaddress
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MARKER = b"\xab\xcd\xefMaxMind.com"

Record = Mapping[str, Any]


class _Short(int):
    """A number of the type uint16."""


class _Long(int):
    """A number of the type uint64."""


def geolite(asn: int, name: str = "") -> Record:
    """Return a record as GeoLite2-ASN and DB-IP have it."""
    return {"autonomous_system_number": asn, "autonomous_system_organization": name or f"AS {asn}"}


def ipinfo(asn: int, name: str = "") -> Record:
    """Return a record as IPinfo has it."""
    return {"asn": f"AS{asn}", "as_name": name or f"AS {asn}", "as_domain": "example.net"}


def write_mmdb(
    path: Path,
    networks: Mapping[str, Record],
    *,
    ip_version: int = 6,
    record_size: int = 24,
    aliases: Sequence[str] = (),
) -> Path:
    """Write a database of the networks; IPv4 lies under ::/96 in a tree of version 6.

    aliases are IPv6 networks of whose place the tree points at the IPv4 part, as ``2002::/16``.
    """
    tree = _Tree(ip_version)
    for text, record in networks.items():
        tree.add(ipaddress.ip_network(text), record)
    for text in aliases:
        tree.alias(ipaddress.ip_network(text))
    path.write_bytes(tree.written(record_size))
    return path


@dataclasses.dataclass
class _Node:
    children: list[Any] = dataclasses.field(default_factory=lambda: [None, None])


class _Tree:
    def __init__(self, ip_version: int) -> None:
        self.version = ip_version
        self.root = _Node()

    def _bits(self, network: Any) -> str:
        width = 32 if network.version == 4 else 128
        bits = f"{int(network.network_address):0{width}b}"[: network.prefixlen]
        return "0" * 96 + bits if network.version == 4 and self.version == 6 else bits

    def _place(self, bits: str, value: Any) -> None:
        node = self.root
        for bit in bits[:-1]:
            child = node.children[int(bit)]
            if not isinstance(child, _Node):
                child = _Node([child, child])
                node.children[int(bit)] = child
            node = child
        node.children[int(bits[-1])] = value

    def add(self, network: Any, record: Record) -> None:
        self._place(self._bits(network), dict(record))

    def alias(self, network: Any) -> None:
        node: Any = self.root
        for _ in range(96):
            node = node.children[0]
        self._place(self._bits(network), node)

    def written(self, record_size: int) -> bytes:
        nodes: list[_Node] = []
        numbers: dict[int, int] = {}
        todo = [self.root]
        for node in todo:
            if id(node) in numbers:
                continue
            numbers[id(node)] = len(nodes)
            nodes.append(node)
            todo += [child for child in node.children if isinstance(child, _Node)]
        data = bytearray()
        offsets: dict[str, int] = {}
        tree = bytearray()
        for node in nodes:
            pair = []
            for child in node.children:
                if child is None:
                    pair.append(len(nodes))
                elif isinstance(child, _Node):
                    pair.append(numbers[id(child)])
                else:
                    key = repr(child)
                    if key not in offsets:
                        offsets[key] = len(data)
                        data += encode(child)
                    pair.append(len(nodes) + 16 + offsets[key])
            tree += _packed(pair[0], pair[1], record_size)
        metadata = {
            "node_count": len(nodes), "record_size": _Short(record_size),
            "ip_version": _Short(self.version), "database_type": "Test-ASN", "languages": ["en"],
            "binary_format_major_version": _Short(2), "binary_format_minor_version": _Short(0),
            "build_epoch": _Long(1_700_000_000),
            "description": {"en": "a test"},
        }  # fmt: skip
        return bytes(tree) + b"\0" * 16 + bytes(data) + MARKER + encode(metadata)


def _packed(left: int, right: int, record_size: int) -> bytes:
    if record_size == 24:
        return left.to_bytes(3, "big") + right.to_bytes(3, "big")
    if record_size == 28:
        middle = (left >> 24) << 4 | right >> 24
        low = 0xFF_FFFF
        return (left & low).to_bytes(3, "big") + bytes([middle]) + (right & low).to_bytes(3, "big")
    return struct.pack(">II", left, right)


def encode(value: Any) -> bytes:
    """Return a value of the data section: text, map, array, unsigned numbers."""
    if isinstance(value, str):
        body = value.encode()
        return _control(2, len(body)) + body
    if isinstance(value, Mapping):
        return _control(7, len(value)) + b"".join(
            encode(key) + encode(item) for key, item in value.items()
        )
    if isinstance(value, list):
        return _control(11, len(value)) + b"".join(map(encode, value))
    whole: bytes = value.to_bytes((value.bit_length() + 7) // 8, "big")
    kind = 5 if isinstance(value, _Short) else 6
    if isinstance(value, _Long) or value >= 1 << 32:
        kind = 9
    return _control(kind, len(whole)) + whole


def _control(kind: int, size: int) -> bytes:
    extended = bytes([kind - 7]) if kind > 7 else b""
    first = 0 if kind > 7 else kind << 5
    if size < 29:
        return bytes([first | size]) + extended
    assert size < 29 + 256
    return bytes([first | 29]) + extended + bytes([size - 29])
