"""Which information elements a flow's columns are read from, as tables.

An element is (enterprise number, element id): enterprise 0 is IANA's registry (RFC 7012; NetFlow
v9 uses the same ids up to 127, RFC 3954 §8), 29305 is the reverse direction (RFC 5103 §6.1).
"""

from __future__ import annotations

from collections.abc import Mapping

Element = tuple[int, int]

REVERSE = 29305
"""Private enterprise number of reverse elements (RFC 5103 §6.1)."""

SCOPE_V9 = -1
"""Marks a NetFlow v9 option scope, whose types are no elements (RFC 3954 §6.1)."""


def _iana(*ids: int) -> tuple[Element, ...]:
    return tuple((0, number) for number in ids)


PROCERA, IXIA = 15397, 3054
"""Private enterprise numbers of vendors whose counters stand in no IANA element."""

FIRST: Mapping[str, tuple[Element, ...]] = {
    "octets": (
        *_iana(1, 231, 85, 23, 352, 171),  # the layer below IP only where nothing else is held
        *_iana(353, 417, 420, 20, 175),
        (PROCERA, 4),
    ),
    "packets": _iana(2, 298, 86, 24, 172, 430, 431, 19, 174),
    "octets_reverse": (
        *((REVERSE, 1), (0, 232), (REVERSE, 85), (REVERSE, 23), (REVERSE, 352)),
        *((REVERSE, 171), (REVERSE, 353), (IXIA, 176), (PROCERA, 3)),
    ),
    "packets_reverse": (
        *((REVERSE, 2), (0, 299), (REVERSE, 86), (REVERSE, 24), (REVERSE, 172)),
        (IXIA, 177),
    ),
    "octets_post": _iana(23),
    "packets_post": _iana(24),
    "flow_id": _iana(148),
    "event": _iana(233, 40005),
    "end_reason": _iana(136),
    "ingress_interface": _iana(10, 252),
    "egress_interface": _iana(14, 253),
    "tos": _iana(5),
    "dscp": _iana(195),
    "direction": _iana(61),
    "source_as": _iana(16),
    "destination_as": _iana(17),
    "nat_event": _iana(230),
    "nat_realm": _iana(229),
    "ingress_vrf": _iana(234),
    "port_first": _iana(361),
    "port_last": _iana(362),
    "port_step": _iana(363),
    "port_count": _iana(364),
    "selector": _iana(302, 48),
    "scope_interface": ((SCOPE_V9, 2), (0, 10)),
    "interval": _iana(34),
    "random_interval": _iana(50),
    "packet_interval": _iana(305),
    "packet_space": _iana(306),
    "time_interval": _iana(307),
    "time_space": _iana(308),
    "sample_size": _iana(309),
    "sample_population": _iana(310),
    "sample_probability": _iana(311),
    "boot_at": _iana(160),
    "start_ms": _iana(152),
    "start_us": _iana(154),
    "start_ns": _iana(156),
    "start_seconds": _iana(150),
    "start_delta_us": _iana(158),
    "start_uptime": _iana(22),
    "end_ms": _iana(153),
    "end_us": _iana(155),
    "end_ns": _iana(157),
    "end_seconds": _iana(151),
    "end_delta_us": _iana(159),
    "end_uptime": _iana(21),
    "observed_ms": _iana(323),
    "observed_us": _iana(324),
    "observed_ns": _iana(325),
    "observed_seconds": _iana(322),
    "collected_ms": _iana(258),
    "duration_ms": _iana(161),
    "duration_us": _iana(162),
    "reverse_start_ms": ((REVERSE, 152),),
    "reverse_start_us": ((REVERSE, 154),),
    "reverse_start_ns": ((REVERSE, 156),),
    "reverse_start_seconds": ((REVERSE, 150),),
    "reverse_start_delta_us": ((REVERSE, 158),),
    "reverse_start_uptime": ((REVERSE, 22),),
    "reverse_end_ms": ((REVERSE, 153),),
    "reverse_end_us": ((REVERSE, 155),),
    "reverse_end_ns": ((REVERSE, 157),),
    "reverse_end_seconds": ((REVERSE, 151),),
    "reverse_end_delta_us": ((REVERSE, 159),),
    "reverse_end_uptime": ((REVERSE, 21),),
}
"""Integer columns read from the first element of the list that the template holds; of an element
that the template repeats, the first occurrence (a counter of the whole packet)."""

TOTALS = frozenset(
    (enterprise, number)
    for enterprise in (0, REVERSE)
    for number in (85, 86, 171, 172, 174, 175, 353, 420, 431)
)
"""Counters since the flow's beginning (RFC 5102 §5.10): a flow that is reported again repeats what
was reported before."""

EVENT_COUNTERS = frozenset(_iana(231, 232, 298, 299))
"""Counters that, in records with an event (`event`), are of an interval or of the whole connection,
as the event says: Cisco's NetFlow Secure Event Logging."""

PAIRED: Mapping[str, tuple[Element, ...]] = {
    "octets": _iana(231, 232),
    "octets_reverse": _iana(232, 231),
    "packets": _iana(298, 299),
    "packets_reverse": _iana(299, 298),
}
"""Columns read from the first of these elements where the template holds both, whatever else it
holds: they are the two directions of a connection, and another counter may be their sum."""

LAST: Mapping[str, tuple[Element, ...]] = {
    "protocol": _iana(4),
    "source_port": _iana(7, 180, 182),
    "destination_port": _iana(11, 181, 183),
    "nat_source_port": _iana(227, 40003),
    "nat_destination_port": _iana(228, 40004),
    "source_v4": _iana(8),
    "destination_v4": _iana(12),
    "nat_source_v4": _iana(225, 40001),
    "nat_destination_v4": _iana(226, 40002),
    "source_v6": _iana(27),
    "destination_v6": _iana(28),
    "nat_source_v6": _iana(281),
    "nat_destination_v6": _iana(282),
}
"""Columns read from the last occurrence of a repeated element: the metering process lists outer
headers before inner ones (RFC 7011 §8), and the subscriber's are the inner. 40001 to 40005 are what
Cisco's firewalls sent in v9 before the registry had 225 to 228 and 233."""

TEXTS: Mapping[str, tuple[Element, ...]] = {
    "user_name": ((0, 371), (0, 40_000), (0, 56_702), (0, 57_714), (35_632, 242), (5951, 205),
                  (15_397, 28), (637, 93)),
    "local_end": ((PROCERA, 15),),
    "nat_subscriber": ((637, 93),),
    "application": _iana(95),
    "application_name": ((0, 96), (0, 56_701), (0, 57_591), (35_632, 119)),
}  # fmt: skip
"""Texts of a flow, read from the first element of the list that is not empty in the record.

user_name: userName; Cisco ASA's AAA user name, Palo Alto's User-ID and ntop's RADIUS user name, all
three v9 elements without enterprise; ntop (35632), Citrix NetScaler's AAA user name (5951),
Procera's subscriber identifier (15397), Nokia's NAT subscriber string (637).
local_end: Procera counts as seen from the local end, and says among other things which that is.
application: applicationId, whose name options tell (RFC 6759 §6.5). application_name:
applicationName, Palo Alto's App-ID and ntop's layer 7 protocol, the last two without enterprise in
v9.
"""

ADDRESSES = ("source", "destination", "nat_source", "nat_destination")
"""Ends of a flow that have an address column: ``<end>_v4`` of 4 octets, ``<end>_v6`` of 16."""

OPTIONS = (
    "selector", "scope_interface", "interval", "random_interval", "packet_interval",
    "packet_space", "time_interval", "time_space", "sample_size", "sample_population",
    "sample_probability", "boot_at",
)  # fmt: skip
"""Columns that an option record is read for: sampling (RFC 5477 §8) and the boot time."""

FixedFields = tuple[tuple[int, int], ...]
"""A record as if a template had announced it: (element, octets); 210 is padding."""

_FIXED_HEAD: FixedFields = (
    (8, 4), (12, 4), (15, 4), (10, 2), (14, 2), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2),
)  # fmt: skip
_V1: FixedFields = (*_FIXED_HEAD, (210, 2), (4, 1), (5, 1), (6, 1), (210, 7))
_V5: FixedFields = (
    *_FIXED_HEAD, (210, 1), (6, 1), (4, 1), (5, 1), (16, 2), (17, 2), (9, 1), (13, 1), (210, 2),
)  # fmt: skip

FIXED_FIELDS: Mapping[tuple[int, int], FixedFields] = {
    (1, 48): _V1,
    (1, 52): (*_V1, (210, 4)),
    (5, 48): _V5,
    (7, 52): (*_V5, (210, 4)),
}
"""(version, octets of a record) -> its fields, for the versions without templates.

Of v1, Cisco's records have 48 octets and some switches' (Extreme) 52, which its header does not
say; v7 is v5 with the address of the router that a Catalyst switch went round.
"""
