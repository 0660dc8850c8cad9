"""Sessions and the services inside them: what a NAS accounts twice is counted once.

A NAS with per-service accounting sends packets of the session and of each service in it, each with
an Acct-Session-Id of its own. The session's octets hold the services' (its parent's view), so one
of the two counts, never both: `NasConfig.service_accounting` says which.
"""

from __future__ import annotations

import functools
import re

from collectors.config import NasConfig
from collectors.radius.packet import decode_packet
from collectors.radius.vendors import VendorAttribute, vendor_attributes
from rating.accounting import COUNTS_ALL, COUNTS_NOTHING, COUNTS_OCTETS, COUNTS_SECONDS

_CISCO, _JUNIPER_ERX, _NOKIA = 9, 4874, 6527
_VENDORS = tuple(vendor.to_bytes(4, "big") for vendor in (_CISCO, _JUNIPER_ERX, _NOKIA))
_PARENT = b"parent-session-id="

_CISCO_AVPAIR, _CISCO_SERVICE_INFO = 1, 251
_ERX_SERVICE_SESSION = 83
_ALC_SUB_SERV_ACTIVATE, _ALC_SUB_SERV_INTERNAL = 151, 155


def is_service(packet: bytes, acct_session_id: str, nas: NasConfig) -> bool:
    """Return whether a packet accounts a service inside a session, not the session itself.

    Cisco: Cisco-Service-Info, or the AV pair ``parent-session-id``. Juniper: ERX-Service-Session.
    Nokia SR: Alc-Sub-Serv-Activate or -Internal. Any NAS: an Acct-Session-Id in which its
    `service_session_pattern` is found (Nokia's queue instances, Juniper's ``parent:service``).
    """
    if nas.service_session_pattern and _pattern(nas.service_session_pattern).search(
        acct_session_id
    ):
        return True
    # Most packets hold none of the vendors' numbers: nothing is taken apart for them.
    if not any(vendor in packet for vendor in _VENDORS):
        return False
    return any(_marks_service(found) for found in vendor_attributes(decode_packet(packet)))


def counts_of(is_of_service: bool, nas: NasConfig) -> str:
    """Return what of a packet's counters counts: a constant COUNTS_… of `rating.accounting`.

    The time online is the session's in any case: services of one session run side by side.
    """
    if nas.service_accounting == "session":
        return COUNTS_NOTHING if is_of_service else COUNTS_ALL
    return COUNTS_OCTETS if is_of_service else COUNTS_SECONDS


def _marks_service(found: VendorAttribute) -> bool:
    if found.vendor == _CISCO:
        is_pair = found.number == _CISCO_AVPAIR and found.value.startswith(_PARENT)
        return is_pair or found.number == _CISCO_SERVICE_INFO
    if found.vendor == _JUNIPER_ERX:
        return found.number == _ERX_SERVICE_SESSION
    return found.vendor == _NOKIA and found.number in (
        _ALC_SUB_SERV_ACTIVATE,
        _ALC_SUB_SERV_INTERNAL,
    )


@functools.lru_cache(maxsize=64)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)
