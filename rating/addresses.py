"""Addresses, prefixes and subscriber identities as the text that people and the directory use.

Inside, an address is 16 octets (IPv4 as ``::ffff:a.b.c.d``, RFC 4291 §2.5.5.2) and a prefix length
counts over those 128 bits.
"""

from __future__ import annotations

import functools
import ipaddress
import re

from rating.accounting import Prefix

IPV4_MAPPED = b"\x00" * 10 + b"\xff\xff"
IPV4_LENGTH_OFFSET = 96
TEXTS_MAX = 65_536
"""Texts remembered of addresses: a session says the same at every interim update."""
_MAC = re.compile(r"\s*((?:[0-9A-Fa-f]{2}[-:.]?){5}[0-9A-Fa-f]{2})(?![0-9A-Fa-f])")
_NOT_HEX = re.compile(r"[^0-9A-Fa-f]")


def pack_address(text: str) -> bytes:
    """Return the 16-octet form of an address. Raises ValueError where it is none."""
    address = ipaddress.ip_address(text)
    return IPV4_MAPPED + address.packed if address.version == 4 else address.packed


@functools.lru_cache(maxsize=TEXTS_MAX)
def format_address(address: bytes) -> str:
    """Return an address as text; IPv4 in dotted form."""
    if address.startswith(IPV4_MAPPED):
        return str(ipaddress.IPv4Address(address[12:]))
    return str(ipaddress.IPv6Address(address))


def parse_prefix(text: str) -> Prefix:
    """Return a prefix from ``203.0.113.8/29`` or ``2001:db8::/48``; host bits are cleared.

    Raises ValueError where the text is no prefix.
    """
    network = ipaddress.ip_network(text, strict=False)
    if network.version == 4:
        packed = IPV4_MAPPED + network.network_address.packed
        return Prefix(packed, network.prefixlen + IPV4_LENGTH_OFFSET)
    return Prefix(network.network_address.packed, network.prefixlen)


def format_prefix(address: bytes, length: int) -> str:
    """Return a prefix as text, the length in the family's own count; a host without length."""
    if address.startswith(IPV4_MAPPED) and length >= IPV4_LENGTH_OFFSET:
        length -= IPV4_LENGTH_OFFSET
        host = 32
    else:
        host = 128
    text = format_address(address)
    return text if length == host else f"{text}/{length}"


def mask_address(address: bytes, length: int) -> bytes:
    """Return the address with every bit after the first `length` cleared."""
    whole = int.from_bytes(address, "big")
    return (whole >> (128 - length) << (128 - length)).to_bytes(16, "big")


@functools.lru_cache(maxsize=TEXTS_MAX)
def normalise_mac(text: str) -> str:
    """Return a MAC address as ``aa:bb:cc:dd:ee:ff``, or "" where the text holds none.

    NASes write Calling-Station-Id as AA-BB-CC-DD-EE-FF (RFC 3580 §3.21), with colons, with dots,
    bare, or with an SSID behind it.
    """
    found = _MAC.match(text)
    if not found:
        return ""
    digits = _NOT_HEX.sub("", found.group(1)).lower()
    return ":".join(digits[at : at + 2] for at in range(0, len(digits), 2))
