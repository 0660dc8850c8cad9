"""What each make of NAS wants to hear: who is meant, and how a speed is said. A table.

An attribute is (dictionary name, template); a template is filled from the session (identity) or
from the speed profile (throttle). Sources: RFC 5176, the vendors' manuals, and the field reports
that docs/decisions/0304 lists.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from rating.rows import LiveSession

Attributes = tuple[tuple[str, str], ...]
"""(dictionary name, value as text) in the order they are sent."""

INT32_MAX = 2**31 - 1


@dataclasses.dataclass(frozen=True, slots=True)
class SpeedProfile:
    """A speed that sessions can be given, in bit/s; up is from the subscriber.

    filter_name is the filter or address list of the NAS that such a session is put on: a walled
    garden's, or what everybody else has. Empty: filters are not spoken of.
    """

    name: str
    up_bps: int
    down_bps: int
    filter_name: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class VendorProfile:
    """How one make of NAS is addressed.

    identity lists what names the session (RFC 5176 §3); more than one attribute narrows, and
    User-Name alone would hit every session of that user. speed says a rate, both to throttle and
    to restore, since a NAS keeps what it was told until it is told otherwise; empty where the
    make changes speed only at a new session. rate_max_bps caps what its integer type can carry.
    filter says a filter's name; empty where the make takes none in a running session.
    """

    name: str
    identity: Attributes
    speed: Attributes
    rate_max_bps: int | None = None
    filter: Attributes = ()


_USER: Attributes = (("User-Name", "{user_name}"),)
_ACCT: Attributes = (("Acct-Session-Id", "{acct_session_id}"),)
_ADDRESS: Attributes = (("Framed-IP-Address", "{framed_address}"),)
_FILTER: Attributes = (("Filter-Id", "{filter}"),)
"""RFC 2865 §5.11: the name of a filter list; RFC 5176 §3.5 lets a CoA-Request change it."""
_WISPR: Attributes = (
    ("WISPr-Bandwidth-Max-Up", "{up_bps}"),
    ("WISPr-Bandwidth-Max-Down", "{down_bps}"),
)

VENDOR_PROFILES: Mapping[str, VendorProfile] = {
    profile.name: profile
    for profile in (
        VendorProfile("generic", _USER + _ACCT, _WISPR, INT32_MAX, _FILTER),
        VendorProfile("simulator", _USER + _ACCT, _WISPR, INT32_MAX, _FILTER),
        # RouterOS answers NAK 503 without Framed-IP-Address, and writes rx/tx seen from itself:
        # what it receives is the subscriber's upload.
        VendorProfile(
            "mikrotik",
            _USER + _ADDRESS + _ACCT,
            (("Mikrotik-Rate-Limit", "{up_bps}/{down_bps}"),),
            None,
            # Filter-Id would name a firewall chain; walled gardens are made of address lists.
            (("Mikrotik-Address-List", "{filter}"),),
        ),
        VendorProfile("wispr", _USER + _ACCT, _WISPR, INT32_MAX, _FILTER),
        # The policy must exist on the box; its name is the speed profile's.
        VendorProfile(
            "cisco",
            _ACCT,
            (
                ("Cisco-AVPair", "ip:sub-qos-policy-in={name}-up"),
                ("Cisco-AVPair", "ip:sub-qos-policy-out={name}-down"),
            ),
        ),
        # Answers 404 to anything but Acct-Session-Id as identity.
        VendorProfile(
            "juniper",
            _ACCT,
            (
                ("ERX-Ingress-Policy-Name", "{name}-up"),
                ("ERX-Egress-Policy-Name", "{name}-down"),
            ),
        ),
        VendorProfile(
            "huawei",
            _ACCT,
            (
                ("Huawei-Input-Average-Rate", "{up_bps}"),
                ("Huawei-Output-Average-Rate", "{down_bps}"),
            ),
            INT32_MAX,
        ),
        # User-Name would hit every host of the subscriber; rates are in kbit/s.
        VendorProfile(
            "nokia",
            _ACCT,
            (
                ("Alc-Subscriber-QoS-Override", "i:r:rate={up_kbps}"),
                ("Alc-Subscriber-QoS-Override", "e:r:rate={down_kbps}"),
            ),
        ),
        VendorProfile(
            "ubiquiti",
            _USER + _ACCT,
            (("UBNT-Data-Rate-UL", "{up_bps}"), ("UBNT-Data-Rate-DL", "{down_bps}")),
        ),
        VendorProfile(
            "cambium",
            _USER + _ACCT,
            (
                ("Cambium-ePMP-Max-Burst-Uplink-Rate", "{up_kbps}"),
                ("Cambium-ePMP-Max-Burst-Downlink-Rate", "{down_kbps}"),
            ),
            INT32_MAX,
        ),
        # Its shaper reads "down/up" in kbit/s. Never send Class: it then ignores the rest.
        VendorProfile("accel-ppp", _ACCT, (("Filter-Id", "{down_kbps}/{up_kbps}"),)),
        # Its leaky bucket saturates when the rate changes; a new session takes the new rate.
        VendorProfile("coova", _USER + _ACCT, ()),
    )
}
"""Vendor profiles by the name that a NAS's settings give."""


def identity_of(profile: VendorProfile, session: LiveSession) -> Attributes:
    """Return the attributes that name a session; one whose value is unknown is left out."""
    values = {
        "user_name": session.user_name,
        "acct_session_id": session.acct_session_id,
        "framed_address": session.framed_address,
    }
    filled = tuple((name, template.format(**values)) for name, template in profile.identity)
    return tuple((name, value) for name, value in filled if value)


def speed_attributes(profile: VendorProfile, speed: SpeedProfile) -> Attributes:
    """Return the attributes that set a speed and its filter; empty where the make cannot by CoA."""
    ceiling = profile.rate_max_bps
    up_bps = min(speed.up_bps, ceiling) if ceiling else speed.up_bps
    down_bps = min(speed.down_bps, ceiling) if ceiling else speed.down_bps
    values = {
        "name": speed.name,
        "up_bps": up_bps,
        "down_bps": down_bps,
        "up_kbps": up_bps // 1000,
        "down_kbps": down_bps // 1000,
        "filter": speed.filter_name,
    }
    asked = profile.speed + (profile.filter if speed.filter_name else ())
    return tuple((name, template.format(**values)) for name, template in asked)
