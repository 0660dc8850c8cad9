"""Settings of the collectors: where they listen, how much they hold, which NAS they believe."""

from __future__ import annotations

import dataclasses
from typing import Literal

MESSAGE_OCTETS_LEAST = 262_144
"""What `cluster.kafka.message_octets_max` must allow: any one datagram with its envelope."""


@dataclasses.dataclass(frozen=True, slots=True)
class TlsConfig:
    """What a server shows to who connects by TLS 1.2 or newer, and whom it lets in."""

    certificate_file: str = ""
    """Certificate in PEM, with the chain behind it. A renewed file is taken up by and by, without a
    restart."""
    key_file: str = ""
    """Its private key in PEM; empty where it is in `certificate_file`."""
    client_ca_file: str = ""
    """Authorities (PEM) one of which a client's certificate must come from; a certificate that
    signed itself stands here itself. Empty: clients show none."""
    client_names: tuple[str, ...] = ()
    """Who may connect, of those with a good certificate: a DNS name, IP address or URI of its
    subjectAltName, its commonName where it has no DNS name, or `sha256:` and the certificate's
    fingerprint. Empty: everyone."""


@dataclasses.dataclass(frozen=True, slots=True)
class ConnectionsConfig:
    """Bounds of the connections that a collector takes."""

    connections_max: int = 512
    """Most connections at once; one more is closed at once."""
    connections_per_address_max: int = 64
    """Most connections at once from one address."""
    handshake_timeout_seconds: int = 10
    """A TLS handshake takes no longer, or the connection is closed."""
    message_timeout_seconds: int = 30
    """A message that has begun is whole by then, or the connection is closed."""
    idle_timeout_seconds: int = 3_600
    """A connection on which nothing came for so long is closed."""
    keepalive_seconds: int = 60
    """A silent connection is probed after this time (TCP keepalive), and given up after five
    probes without an answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class FlowConnectionsConfig:
    """IPFIX over TCP and TLS (RFC 7011 §10.4), beside UDP."""

    listen: tuple[str, ...] = ()
    """Addresses for TCP as ``host:port``, as in `["*:4739"]`; nobody is let in by default."""
    tls_listen: tuple[str, ...] = ()
    """Addresses for TLS, as in `["*:4740"]`."""
    tls: TlsConfig = dataclasses.field(default_factory=TlsConfig)
    limits: ConnectionsConfig = dataclasses.field(default_factory=ConnectionsConfig)


@dataclasses.dataclass(frozen=True, slots=True)
class FlowReceiverConfig:
    """The process that receives NetFlow, IPFIX and sFlow over UDP, and IPFIX over TCP and TLS."""

    listen: tuple[str, ...] = ("*:2055", "*:4739", "*:6343")
    """Addresses as ``host:port``; ``*`` is every IPv4 and IPv6 address, ``[::1]:2055`` is one."""
    receive_buffer_octets: int = 33_554_432
    """Socket receive buffer to ask the system for (SO_RCVBUF)."""
    burst_datagrams: int = 256
    """Datagrams that one system call takes at most."""
    burst_pause_microseconds: int = 1_000
    """Wait after a burst that emptied the socket, so that the next one is no single datagram; the
    receive buffer holds what comes meanwhile."""
    block_octets: int = 524_288
    """A block is appended when its payloads reach this size."""
    block_milliseconds: int = 200
    """A block is appended when its first datagram is this old."""
    queue_octets: int = 67_108_864
    """Payload waiting for the disk; beyond it whole blocks are dropped and counted."""
    marker_interval_milliseconds: int = 1_000
    """How often "received through T" is written behind the data."""
    append_retry_milliseconds: int = 1_000
    """Wait before a failed append (full disk) is tried again."""
    connections: FlowConnectionsConfig = dataclasses.field(default_factory=FlowConnectionsConfig)


@dataclasses.dataclass(frozen=True, slots=True)
class NasConfig:
    """One NAS, or several of one kind, and the secret shared with it."""

    nas_id: str
    """Identity of the NAS; where `address` spans several, ``@<source address>`` is added."""
    address: str
    """Source address or prefix its packets come from: ``192.0.2.1``, ``2001:db8::/48``. It may be
    empty where `certificate` is set: such a NAS comes by RadSec alone."""
    secret: str = dataclasses.field(repr=False)
    """Shared secret (RFC 2865 §3); may be empty where `address` is. By RadSec it is "radsec"."""
    nas_identifier: str = ""
    """Only packets with this NAS-Identifier match: for several NASes behind one address."""
    certificate: str = ""
    """By RadSec it comes with this certificate and from anywhere: a name as in
    `radsec.tls.client_names`. Empty: by RadSec, too, it is known by its address."""
    vendor: str = "generic"
    """Vendor profile for CoA and Disconnect: generic, mikrotik, cisco, juniper, huawei, …"""
    coa_port: int = 3799
    """UDP port the NAS takes CoA and Disconnect on (RFC 5176 §3; some use 1700)."""
    swap_input_output: bool = False
    """True where the NAS sends download as Input (against RFC 2866 §5.3)."""
    unit_octets: int = 1
    """Octets that one step of the volume counters stands for (1024 where the NAS counts KiB)."""
    counts_bits: bool = False
    """True where the volume counters count bits (8 are an octet)."""
    has_gigawords: bool = True
    """False where the 32-bit counters wrap without Acct-*-Gigawords (RFC 2869 §5.1)."""
    require_message_authenticator: bool = False
    """True: refuse Accounting-Requests without Message-Authenticator."""
    service_accounting: Literal["session", "services"] = "session"
    """Where the NAS accounts services inside a session too (Cisco-Service-Info, parent-session-id,
    ERX-Service-Session, Alc-Sub-Serv-*): whose octets count, "session" or "services". Both hold the
    same octets, so never both; the time online is the session's."""
    service_session_pattern: str = ""
    """Regular expression: a packet whose Acct-Session-Id has a match is a service's, for NASes that
    mark services in no attribute. ":" for ids like 81:2 inside session 81; empty: none."""


@dataclasses.dataclass(frozen=True, slots=True)
class RelayConfig:
    """A second RADIUS server that gets every accepted accounting packet too."""

    server: str = ""
    """Its address, ``host:port``; empty: nothing is relayed."""
    secret: str = dataclasses.field(default="", repr=False)
    """Secret shared with it."""
    sends_message_authenticator: bool = False
    """Send Message-Authenticator also with packets that came without it."""
    window_packets_max: int = 512
    """Most packets on their way at once; fewer where the server is slow or away."""
    retry_first_milliseconds: int = 2_000
    """Wait before the first retransmission (IRT, RFC 5080 §2.2.1); it doubles each time."""
    retry_max_milliseconds: int = 16_000
    """Longest wait between retransmissions (MRT)."""
    attempt_seconds: int = 30
    """How long a packet keeps its Identifier (MRD); then it is sent anew with a new one."""
    ignored_transmissions_max: int = 20
    """A packet is given up that the server ignored so often while it acknowledged others."""
    queue_octets_max: int = 2_147_483_648
    """Octets of the log that wait for the server; beyond them the oldest are given up."""
    queue_hours_max: int = 72
    """How long a packet waits for the server; older ones are given up."""


@dataclasses.dataclass(frozen=True, slots=True)
class RadSecConfig:
    """Accounting over TLS (RFC 6614), beside UDP."""

    listen: tuple[str, ...] = ()
    """Addresses as ``host:port``, as in `["*:2083"]`; nobody is let in by default."""
    tls: TlsConfig = dataclasses.field(default_factory=TlsConfig)
    limits: ConnectionsConfig = dataclasses.field(default_factory=ConnectionsConfig)


@dataclasses.dataclass(frozen=True, slots=True)
class RadiusConfig:
    """The process that receives RADIUS accounting."""

    listen: tuple[str, ...] = ("*:1813",)
    """Addresses as ``host:port``; ``*`` is every IPv4 and IPv6 address."""
    clients: tuple[NasConfig, ...] = ()
    """The NASes that are believed; anyone else is counted and never answered."""
    receive_buffer_octets: int = 16_777_216
    """Socket receive buffer to ask the system for (SO_RCVBUF)."""
    batch_packets: int = 1_024
    """Most packets that one durable append holds (group commit)."""
    marker_interval_milliseconds: int = 1_000
    """How often "received through T" is written behind the data."""
    duplicate_cache_seconds: int = 30
    """How long an answer is kept for retransmissions (RFC 5080 §2.2.2)."""
    duplicate_cache_entries: int = 100_000
    """Most answers kept; the oldest go first."""
    event_time_behind_seconds: int = 3_600
    """Event-Timestamp is trusted less than this far before the receive time (zone errors)."""
    event_time_ahead_seconds: int = 300
    """Event-Timestamp is trusted less than this far after the receive time."""
    delay_limit_seconds: int = 604_800
    """A greater Acct-Delay-Time is ignored as impossible."""
    log_lines_per_minute: int = 30
    """Most log lines about refused packets; the rest is only counted."""
    relay: RelayConfig = dataclasses.field(default_factory=RelayConfig)
    radsec: RadSecConfig = dataclasses.field(default_factory=RadSecConfig)


@dataclasses.dataclass(frozen=True, slots=True)
class SpoolConfig:
    """A collector of a cluster: its spool on disk, from which it publishes to Kafka in order."""

    collector_id: str = ""
    """Name of this collector, unique in the cluster and the same after a restart; empty: the host's
    name. Its numbers live in its spool: a collector that lost its spool needs a new name."""
    octets_max: int = 8_589_934_592
    """Octets that wait for Kafka on disk; beyond them RADIUS is silent, so that NASes send again,
    and flow datagrams are dropped and counted."""
    radius_ack_after: Literal["log", "spool"] = "log"
    """When an Accounting-Request is answered: "log" once Kafka has it on every in-sync replica,
    "spool" once this disk has it."""
    ack_wait_milliseconds: int = 2_000
    """How long an answer waits for Kafka ("log"); then the NAS is left to send again."""
    radius_pace_milliseconds: int = 50
    """Least time between two blocks of accounting packets where answers wait for Kafka: meanwhile
    more packets gather, and each block is a message per partition, which costs more than a packet
    does. A NAS waits seconds for its answer."""
    keep_published_minutes: float = 60.0
    """How long blocks stay in the spool after Kafka has them."""
    lease_seconds: float = 15.0
    """A collector that did not renew its lease for this long is waited for no longer, and the
    running periods count as incomplete."""
