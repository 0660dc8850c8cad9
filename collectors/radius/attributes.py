"""RADIUS attributes by number: their IANA names, kinds of value, and how a person reads a value.

Names and numbers are those of the IANA registry "RADIUS Types"; the RFC that defines a group stands
beside it. Vendors' attributes need a dictionary file (`collectors.radius.dictionary`).
"""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
from collections.abc import Mapping

ACCT_STATUS_TYPES: Mapping[int, str] = {
    1: "Start",
    2: "Stop",
    3: "Interim-Update",
    7: "Accounting-On",
    8: "Accounting-Off",
    9: "Tunnel-Start",
    10: "Tunnel-Stop",
    11: "Tunnel-Reject",
    12: "Tunnel-Link-Start",
    13: "Tunnel-Link-Stop",
    14: "Tunnel-Link-Reject",
    15: "Failed",
}
"""Values of Acct-Status-Type (RFC 2866 §5.1, RFC 2867 §3.1)."""

TERMINATE_CAUSES: Mapping[int, str] = {
    1: "User-Request",
    2: "Lost-Carrier",
    3: "Lost-Service",
    4: "Idle-Timeout",
    5: "Session-Timeout",
    6: "Admin-Reset",
    7: "Admin-Reboot",
    8: "Port-Error",
    9: "NAS-Error",
    10: "NAS-Request",
    11: "NAS-Reboot",
    12: "Port-Unneeded",
    13: "Port-Preempted",
    14: "Port-Suspended",
    15: "Service-Unavailable",
    16: "Callback",
    17: "User-Error",
    18: "Host-Request",
    19: "Supplicant-Restart",
    20: "Reauthentication-Failure",
    21: "Port-Reinit",
    22: "Port-Disabled",
}
"""Values of Acct-Terminate-Cause (RFC 2866 §5.10, RFC 3580 §2)."""

ERROR_CAUSES: Mapping[int, str] = {
    201: "Residual-Context-Removed",
    202: "Invalid-EAP-Packet",
    401: "Unsupported-Attribute",
    402: "Missing-Attribute",
    403: "NAS-Identification-Mismatch",
    404: "Invalid-Request",
    405: "Unsupported-Service",
    406: "Unsupported-Extension",
    407: "Invalid-Attribute-Value",
    501: "Administratively-Prohibited",
    502: "Proxy-Request-Not-Routable",
    503: "Session-Context-Not-Found",
    504: "Session-Context-Not-Removable",
    505: "Proxy-Processing-Error",
    506: "Resources-Unavailable",
    507: "Request-Initiated",
    508: "Multiple-Session-Selection-Unsupported",
    509: "Location-Info-Required",
}
"""Values of Error-Cause (RFC 5176 §3.5)."""


@dataclasses.dataclass(frozen=True, slots=True)
class AttributeKind:
    """An attribute's name and kind of value.

    kind is one of text, octets, secret, integer, time, address, address6, prefix6, interface,
    tagged_text, tagged_integer (RFC 2868 §3), vendor, extended (RFC 6929 §2).
    """

    name: str
    kind: str
    values: Mapping[int, str] = dataclasses.field(default_factory=dict)


_ROWS = """
1 User-Name text; 2 User-Password secret; 3 CHAP-Password secret; 4 NAS-IP-Address address
5 NAS-Port integer; 6 Service-Type integer; 7 Framed-Protocol integer; 8 Framed-IP-Address address
9 Framed-IP-Netmask address; 10 Framed-Routing integer; 11 Filter-Id text; 12 Framed-MTU integer
13 Framed-Compression integer; 14 Login-IP-Host address; 15 Login-Service integer
16 Login-TCP-Port integer; 18 Reply-Message text; 19 Callback-Number text; 20 Callback-Id text
22 Framed-Route text; 23 Framed-IPX-Network address; 24 State octets; 25 Class octets
26 Vendor-Specific vendor; 27 Session-Timeout integer; 28 Idle-Timeout integer
29 Termination-Action integer; 30 Called-Station-Id text; 31 Calling-Station-Id text
32 NAS-Identifier text; 33 Proxy-State octets; 34 Login-LAT-Service text; 35 Login-LAT-Node text
36 Login-LAT-Group octets; 37 Framed-AppleTalk-Link integer; 38 Framed-AppleTalk-Network integer
39 Framed-AppleTalk-Zone text; 40 Acct-Status-Type integer; 41 Acct-Delay-Time integer
42 Acct-Input-Octets integer; 43 Acct-Output-Octets integer; 44 Acct-Session-Id text
45 Acct-Authentic integer; 46 Acct-Session-Time integer; 47 Acct-Input-Packets integer
48 Acct-Output-Packets integer; 49 Acct-Terminate-Cause integer; 50 Acct-Multi-Session-Id text
51 Acct-Link-Count integer; 52 Acct-Input-Gigawords integer; 53 Acct-Output-Gigawords integer
55 Event-Timestamp time; 56 Egress-VLANID integer; 57 Ingress-Filters integer
58 Egress-VLAN-Name text; 59 User-Priority-Table octets; 60 CHAP-Challenge octets
61 NAS-Port-Type integer; 62 Port-Limit integer; 63 Login-LAT-Port text
64 Tunnel-Type tagged_integer; 65 Tunnel-Medium-Type tagged_integer
66 Tunnel-Client-Endpoint tagged_text; 67 Tunnel-Server-Endpoint tagged_text
68 Acct-Tunnel-Connection text; 69 Tunnel-Password secret; 70 ARAP-Password secret
71 ARAP-Features octets; 72 ARAP-Zone-Access integer; 73 ARAP-Security integer
74 ARAP-Security-Data text; 75 Password-Retry integer; 76 Prompt integer; 77 Connect-Info text
78 Configuration-Token text; 79 EAP-Message octets; 80 Message-Authenticator octets
81 Tunnel-Private-Group-Id tagged_text; 82 Tunnel-Assignment-Id tagged_text
83 Tunnel-Preference tagged_integer; 84 ARAP-Challenge-Response octets
85 Acct-Interim-Interval integer; 86 Acct-Tunnel-Packets-Lost integer; 87 NAS-Port-Id text
88 Framed-Pool text; 89 Chargeable-User-Identity octets; 90 Tunnel-Client-Auth-Id tagged_text
91 Tunnel-Server-Auth-Id tagged_text; 92 NAS-Filter-Rule text; 94 Originating-Line-Info octets
95 NAS-IPv6-Address address6; 96 Framed-Interface-Id interface; 97 Framed-IPv6-Prefix prefix6
98 Login-IPv6-Host address6; 99 Framed-IPv6-Route text; 100 Framed-IPv6-Pool text
101 Error-Cause integer; 102 EAP-Key-Name octets; 123 Delegated-IPv6-Prefix prefix6
124 MIP6-Feature-Vector octets; 125 MIP6-Home-Link-Prefix octets; 126 Operator-Name text
127 Location-Information octets; 128 Location-Data octets; 129 Basic-Location-Policy-Rules octets
130 Extended-Location-Policy-Rules octets; 131 Location-Capable integer
132 Requested-Location-Info integer; 144 DS-Lite-Tunnel-Name octets
168 Framed-IPv6-Address address6; 169 DNS-Server-IPv6-Address address6
170 Route-IPv6-Information prefix6; 171 Delegated-IPv6-Prefix-Pool text
172 Stateful-IPv6-Address-Pool text; 241 Extended-Attribute-1 extended
242 Extended-Attribute-2 extended; 243 Extended-Attribute-3 extended
244 Extended-Attribute-4 extended; 245 Extended-Attribute-5 octets; 246 Extended-Attribute-6 octets
"""
"""RFC 2865: 1-39, 60-63; 2866: 40-51; 2869: 52-88; 4675: 56-59; 2868: 64-91; 3162: 95-100;
4372: 89; 5176: 101; 4818: 123; 5447: 124-125; 5580: 126-132; 6519: 144; 6911: 168-172;
6929: 241-246."""

_VALUES = {40: ACCT_STATUS_TYPES, 49: TERMINATE_CAUSES, 101: ERROR_CAUSES}


def _kinds() -> dict[int, AttributeKind]:
    kinds = {}
    for row in _ROWS.replace("\n", ";").split(";"):
        if row.strip():
            number, name, kind = row.split()
            kinds[int(number)] = AttributeKind(name, kind, _VALUES.get(int(number), {}))
    return kinds


ATTRIBUTES: Mapping[int, AttributeKind] = _kinds()
"""Attribute number -> name and kind."""


def attribute_name(attribute_type: int) -> str:
    """Return the registered name, or ``Attribute-<number>``."""
    kind = ATTRIBUTES.get(attribute_type)
    return kind.name if kind else f"Attribute-{attribute_type}"


def decode_text(value: bytes) -> str:
    r"""Return a text value; octets that are not UTF-8 become ``\xNN`` (RFC 2865 §5, "text").

    NUL octets at the end are cut: some NASes count the C terminator in. Others become ``\x00``,
    as PostgreSQL keeps no NUL in text: one hostile packet must not stop the stages.
    """
    text = value.rstrip(b"\0").decode("utf-8", "backslashreplace")
    return text.replace("\0", "\\x00")


def decode_integer(value: bytes) -> int | None:
    """Return a 32-bit unsigned integer, None for any length but 4 (RFC 2865 §5)."""
    return int.from_bytes(value, "big") if len(value) == 4 else None


def decode_address(value: bytes) -> bytes | None:
    """Return an IPv4 or IPv6 address as 16 octets, None for any length but 4 and 16."""
    if len(value) == 4:
        return bytes(10) + b"\xff\xff" + value
    return value if len(value) == 16 else None


def decode_prefix6(value: bytes) -> tuple[bytes, int] | None:
    """Return an IPv6 prefix as (16 octets, length), bits behind the length zeroed (RFC 3162 §2.3).

    None where the value is not a reserved octet, a length of 0..128 and the at most 16 octets that
    hold so many bits.
    """
    if not 2 <= len(value) <= 18:
        return None
    length = value[1]
    if length > 128 or (length + 7) // 8 > len(value) - 2:
        return None
    address = int.from_bytes(value[2:].ljust(16, b"\0"), "big")
    return (address >> (128 - length) << (128 - length)).to_bytes(16, "big"), length


def render_value(attribute_type: int, value: bytes) -> str:
    """Return a value as a person writes it; ``0x…`` where its octets do not fit its kind.

    Secrets are shown as their octets, never decrypted.
    """
    kind = ATTRIBUTES.get(attribute_type)
    return render_kind(kind.kind if kind else "octets", value, kind.values if kind else {})


def render_kind(kind: str, value: bytes, values: Mapping[int, str]) -> str:
    """Return a value of one kind (see `AttributeKind`) as a person writes it."""
    shown: str | None = None
    if kind == "text":
        shown = decode_text(value)
    elif kind in ("integer", "time"):
        number = decode_integer(value)
        if number is not None and kind == "time":
            shown = datetime.datetime.fromtimestamp(number, datetime.UTC).isoformat()
        elif number is not None:
            shown = values.get(number, str(number))
    elif (kind == "address" and len(value) == 4) or (kind == "address6" and len(value) == 16):
        shown = str(ipaddress.ip_address(value))
    elif kind == "prefix6":
        prefix = decode_prefix6(value)
        shown = f"{ipaddress.IPv6Address(prefix[0])}/{prefix[1]}" if prefix else None
    elif kind == "interface" and len(value) == 8:
        shown = value.hex(":", 2)
    elif kind == "tagged_integer" and len(value) == 4:
        shown = f"{value[0]}:{int.from_bytes(value[1:], 'big')}"
    elif kind == "tagged_text" and value:
        tagged = value[0] <= 0x1F  # RFC 2868 §3.3: above that it is the text's first octet.
        shown = f"{value[0]}:{decode_text(value[1:])}" if tagged else decode_text(value)
    return f"0x{value.hex()}" if shown is None else shown
