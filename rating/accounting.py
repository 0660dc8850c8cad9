"""One RADIUS accounting packet as rating understands it: counters, addresses and times, no bytes.

`collectors.radius.accounting` decodes a verified packet into an `AccountingRecord`; the sessions
stage turns records into knots, bindings and usage. What the NAS's configuration corrects (Input and
Output swapped, a counting unit other than octets) is already corrected here.
"""

from __future__ import annotations

import dataclasses

import msgspec

START = "start"
INTERIM = "interim"
STOP = "stop"
ACCOUNTING_ON = "accounting_on"
ACCOUNTING_OFF = "accounting_off"
OTHER = "other"
"""A status type that carries no session of ours (tunnels, RFC 2867; vendors' own numbers)."""

COUNTS_ALL = "all"
COUNTS_OCTETS = "octets"
COUNTS_SECONDS = "seconds"
COUNTS_NOTHING = "nothing"
"""What of a packet's counters becomes usage, where a NAS accounts sessions and services apart."""

FROM_EVENT_TIMESTAMP = "event_timestamp"
FROM_DELAY = "delay"


@dataclasses.dataclass(frozen=True, slots=True)
class Prefix:
    """An address prefix: 16 octets with the host bits zero; length counts over the 16-octet form.

    IPv4 /32 has length 128.
    """

    address: bytes
    length: int


class AccountingRecord(msgspec.Struct, frozen=True):
    """What one verified Accounting-Request says (RFC 2866, 2869, 3162, 4818, 6911).

    status               one of the constants of this module (Acct-Status-Type, RFC 2866 §5.1)
    nas_id               the configured identity of the NAS: with acct_session_id it names the
                         session; On/Off close what this nas_id has open
    nas_address          16 octets: NAS-IPv6-Address, NAS-IP-Address, else the packet's source
    user_name, *_id      "" where the attribute is absent; octets that are not UTF-8 are escaped
    classes              every Class attribute in order (RFC 2865 §5.25)
    framed_address       16 octets (IPv4 mapped), b"" where absent or not an address of the user's
                         (0.0.0.0, 255.255.255.254 and .255, RFC 2865 §5.8)
    framed_ipv6_*        Framed-IPv6-Address (RFC 6911), Framed-IPv6-Prefix (RFC 3162)
    interface_id         8 octets Framed-Interface-Id (RFC 3162 §2.2) or b""
    delegated_prefixes   Delegated-IPv6-Prefix (RFC 4818)
    octets_*, packets_*  cumulative since the session's start, gigawords and unit applied; None
                         where the NAS did not send the counter (never 0: absence lowers nothing)
    has_gigawords        an Acct-*-Gigawords attribute was present, also with the value 0
    octets_modulus       where the NAS counts without gigawords: the value at which octets_* begin
                         again at 0 (2**32 times the unit), to be unwrapped; else None
    session_seconds      Acct-Session-Time, None where absent; event_at minus it is the implied
                         start
    event_at             when it happened, ms: Event-Timestamp inside the trusted window around
                         received_at, else received_at minus Acct-Delay-Time
    event_at_source      which of the two: FROM_EVENT_TIMESTAMP or FROM_DELAY
    event_timestamp_at   Event-Timestamp as sent, ms, also where not trusted; None where absent
    delay_seconds        Acct-Delay-Time, 0 where absent (RFC 2866 §5.2)
    received_at          when the collector received the packet, ms
    terminate_cause      Acct-Terminate-Cause, 0 where absent (RFC 2866 §5.10)
    counts               what of its counters becomes usage: COUNTS_ALL, or less where the NAS
                         accounts a session and the services inside it, which hold the same octets
    faults               names of attributes ignored because their length is impossible
    """

    status: str
    nas_id: str
    acct_session_id: str
    received_at: int
    event_at: int
    event_at_source: str = FROM_DELAY
    event_timestamp_at: int | None = None
    delay_seconds: int = 0
    user_name: str = ""
    acct_multi_session_id: str = ""
    classes: tuple[bytes, ...] = ()
    nas_address: bytes = b""
    nas_identifier: str = ""
    nas_port: int | None = None
    nas_port_id: str = ""
    calling_station_id: str = ""
    called_station_id: str = ""
    framed_address: bytes = b""
    framed_ipv6_addresses: tuple[bytes, ...] = ()
    framed_ipv6_prefixes: tuple[Prefix, ...] = ()
    interface_id: bytes = b""
    delegated_prefixes: tuple[Prefix, ...] = ()
    octets_up: int | None = None
    octets_down: int | None = None
    packets_up: int | None = None
    packets_down: int | None = None
    has_gigawords: bool = False
    octets_modulus: int | None = None
    session_seconds: int | None = None
    terminate_cause: int = 0
    counts: str = COUNTS_ALL
    faults: tuple[str, ...] = ()
