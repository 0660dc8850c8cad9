"""Vendor-Specific attributes: octets ↔ vendor, number, value (RFC 2865 §5.26, RFC 6929 §2.4)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from collectors.radius.packet import Attribute, Packet

VENDOR_SPECIFIC = 26
EXTENDED = range(241, 245)
"""Extended-Attribute-1 to -4, whose first octet is an extended type (RFC 6929 §2.1)."""

HEADER_FORMATS: Mapping[int, tuple[int, int]] = {429: (4, 0), 4846: (2, 1), 8164: (2, 2)}
"""Vendors whose number and length fields are not one octet each: vendor -> (number, length).

USR 429 has a number of four octets and no length, Lucent 4846 and Starent 8164 wide numbers.
"""


@dataclasses.dataclass(frozen=True, slots=True)
class VendorAttribute:
    """One attribute of a vendor (SMI enterprise number): its number and value octets."""

    vendor: int
    number: int
    value: bytes


def decode_vendor(value: bytes) -> list[VendorAttribute] | None:
    """Return the attributes in the value of one Vendor-Specific attribute.

    None where the octets are not in the vendor's form: RFC 2865 only recommends one, so such a
    value is opaque, not a fault of the packet.
    """
    if len(value) < 5 or value[0] != 0:
        return None
    vendor = int.from_bytes(value[:4], "big")
    number_octets, length_octets = HEADER_FORMATS.get(vendor, (1, 1))
    header = number_octets + length_octets
    found = []
    at = 4
    while at < len(value):
        if at + header > len(value):
            return None
        number = int.from_bytes(value[at : at + number_octets], "big")
        size = int.from_bytes(value[at + number_octets : at + header], "big")
        if not length_octets:
            size = len(value) - at
        if size < header or at + size > len(value):
            return None
        found.append(VendorAttribute(vendor, number, value[at + header : at + size]))
        at += size
    return found


def decode_extended(value: bytes) -> VendorAttribute | None:
    """Return the vendor's attribute inside an Extended-Attribute (types 241 to 244).

    Extended type 26, four octets of vendor, one of number (RFC 6929 §2.4); None for another type.
    """
    if len(value) < 6 or value[0] != VENDOR_SPECIFIC or value[1] != 0:
        return None
    return VendorAttribute(int.from_bytes(value[1:5], "big"), value[5], value[6:])


def vendor_attributes(packet: Packet) -> list[VendorAttribute]:
    """Return every vendor's attribute of a packet in order; what is opaque is left out."""
    found: list[VendorAttribute] = []
    for attribute_type, value in packet.attributes:
        if attribute_type == VENDOR_SPECIFIC:
            found.extend(decode_vendor(value) or ())
        elif attribute_type in EXTENDED:
            extended = decode_extended(value)
            if extended is not None:
                found.append(extended)
    return found


def encode_vendor(vendor: int, attributes: Iterable[tuple[int, bytes]]) -> Attribute:
    """Return one Vendor-Specific attribute that holds a vendor's attributes (number, value).

    Raises ValueError where a number or length does not fit the vendor's form, and for more than one
    attribute of a vendor without length fields.
    """
    number_octets, length_octets = HEADER_FORMATS.get(vendor, (1, 1))
    listed = list(attributes)
    if not length_octets and len(listed) != 1:
        raise ValueError(f"vendor {vendor} has no length field: one attribute, not {len(listed)}")
    parts = [vendor.to_bytes(4, "big")]
    for number, value in listed:
        size = number_octets + length_octets + len(value)
        try:
            parts.append(number.to_bytes(number_octets, "big"))
            parts.append(size.to_bytes(length_octets, "big") if length_octets else b"")
        except OverflowError:
            raise ValueError(f"vendor {vendor}: attribute {number} of {size} octets") from None
        parts.append(value)
    return VENDOR_SPECIFIC, b"".join(parts)
