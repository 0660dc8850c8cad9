"""Settings of the flow decoder: how much it remembers and what it believes."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True)
class ExporterConfig:
    """What is known about one exporter, or the exporters of a prefix, beyond what they send."""

    address: str
    """Source address or prefix (of sFlow the agent's): ``192.0.2.1``, ``192.0.2.0/24``,
    ``2001:db8::/48``. Of several entries the one with the longest prefix holds, as a whole."""
    sampling_rate: int = 0
    """Packets per sampled packet, in place of what the exporter announces; 0: believe it."""
    default_sampling_rate: int = 0
    """Rate of records for which the exporter announced none; 0: that of all exporters."""
    has_separate_ports: bool = False
    """True where several exporters share the address and differ by source port."""
    role: Literal["count", "ignore"] = "count"
    """"ignore" where another exporter sees the same flows and bills them, as a border router does
    behind the BNGs: its templates and losses are known, its flows count nowhere."""
    counted_direction: Literal["all", "ingress", "egress", "boundary"] = "all"
    """Which records count where the exporter sends each flow at ingress and at egress (element
    61); records without a direction always count. "boundary": of both, the one metered at the
    subscriber's interface."""
    subscriber_interfaces: tuple[str, ...] = ()
    """SNMP indices (elements 10, 14) towards subscribers, ``["7", "100-199"]``. If set, only flows
    that come in or go out through one of them count."""
    core_interfaces: tuple[str, ...] = ()
    """Indices towards the network, where those of subscribers come and go: all others but 0 are
    then subscribers'. Unused where subscriber_interfaces is set."""
    ignored_interfaces: tuple[str, ...] = ()
    """Indices whose flows never count, such as those towards a cache or a tunnel that another
    interface meters too."""
    counters: Literal["auto", "delta", "total"] = "auto"
    """Whether counters go on from record to record of a flow. "auto": octetTotalCount and its kin
    (85, 86) do, and the events of a Cisco ASA; "delta": none do; "total": all do."""
    post_counters: Literal["after", "reverse"] = "after"
    """What postOctetDeltaCount (23, 24) beside 1 and 2 is: the same packets behind the device, or,
    as nProbe uses it for both directions in one record, the "reverse" direction."""

    @property
    def names_interfaces(self) -> bool:
        """Return whether the entry asks which interfaces a flow used."""
        return bool(self.subscriber_interfaces or self.core_interfaces or self.ignored_interfaces)

    @property
    def has_rules(self) -> bool:
        """Return whether the entry says anything about which records count, and how much."""
        return self.names_interfaces or (
            (self.role, self.counted_direction, self.counters, self.post_counters)
            != ("count", "all", "auto", "after")
        )


@dataclasses.dataclass(frozen=True, slots=True)
class FlowDecodeConfig:
    """Decoding NetFlow v1, v5, v7, v9, IPFIX and sFlow v5."""

    exporters: tuple[ExporterConfig, ...] = ()
    """Exporters that need a word of their own; all others are decoded as they speak."""
    default_sampling_rate: int = 0
    """Rate of records whose exporter announced none; 0: 1, and flagged as not known."""
    flow_dedup_window_seconds: int = 60
    """A byte-identical datagram of one exporter within this time is a duplicate."""
    dedup_digests_limit: int = 2_000_000
    """Most datagrams remembered for that; the oldest are forgotten first."""
    held_seconds: int = 1_800
    """How long a data set waits for its template."""
    held_octets_limit: int = 67_108_864
    """Most octets that wait for templates, over all exporters; a set counts 256 above its own."""
    held_octets_per_session_limit: int = 8_388_608
    """Most octets that wait for templates of one exporter and observation domain."""
    held_sets_per_session_limit: int = 8_192
    """Most data sets that wait for templates of one exporter and observation domain."""
    sessions_limit: int = 65_536
    """Most (exporter, observation domain) remembered; the longest silent are forgotten first."""
    templates_per_session_limit: int = 1_024
    """Most templates of one exporter and observation domain."""
    template_expiry_seconds: int = 604_800
    """How long a template that came over UDP holds without being repeated; its data then waits for
    the next. 0: for ever."""
    template_octets_limit: int = 67_108_864
    """Most octets of templates and names over all exporters; the longest silent are forgotten
    first."""
    template_fields_limit: int = 1_024
    """Most fields of one template."""
    samplers_per_session_limit: int = 1_024
    """Most samplers of one exporter and observation domain."""
    user_name_octets_limit: int = 253
    """Most octets of a user name in a flow; a longer one is none (253 is RADIUS's most)."""
    no_user_names: tuple[str, ...] = (
        "-", "--", "n/a", "none", "null", "(null)", "unknown", "undefined",
    )  # fmt: skip
    """What exporters send as user name where they know none; upper and lower case are alike."""
    application_name_octets_limit: int = 64
    """Most octets of an application's name; a longer one is none."""
    applications_per_session_limit: int = 4_096
    """Most applications of one exporter and observation domain whose names are remembered."""
    sets_per_datagram_limit: int = 1_024
    """Most sets read from one datagram."""
    running_flows_limit: int = 1_000_000
    """Most flows whose counters go on from record to record; those silent longest are forgotten."""
    running_idle_seconds: int = 7_200
    """How long such a flow may be silent before its next record is taken as a new flow's. Above the
    exporter's interval of updates."""
    running_ended_seconds: int = 300
    """How long such a flow is known after its end, for records that were overtaken on the way."""
    samples_per_datagram_limit: int = 1_024
    """sFlow: most samples read from one datagram."""
    records_per_sample_limit: int = 64
    """sFlow: most records read from one sample."""
    sampled_sources_per_session_limit: int = 4_096
    """sFlow: most sources (interfaces) of one agent whose dropped samples are counted."""
    port_conflict_seconds: int = 300
    """Two templates of one id from two ports of an address within this time: two exporters."""
    sequence_reorder_limit: int = 4_096
    """A sequence number further back than this is a restart of the exporter, not reordering."""
    sequence_gap_limit: int = 1_048_576
    """A sequence number further ahead than this is a restart of the exporter, not loss."""
    sampling_rate_limit: int = 16_777_216
    """A higher announced rate is not believed."""
    record_octets_limit: int = 281_474_976_710_656
    """A record of more octets or packets (after scaling) is refused as implausible."""
    octets_per_minute_limit: int = 75_000_000_000_000
    """An own address that one exporter has move more octets (or packets) in a minute, after scaling
    and of one traffic class, is refused as implausible: 10 Tbit/s."""
    clock_skew_limit_seconds: int = 30
    """An exporter's clock that is further off, by the median of its last minutes, is corrected."""
    event_time_window_seconds: int = 7_200
    """A flow that ended longer before its receipt has a wrong clock: it is laid before the receipt.
    One that began earlier is taken to begin then."""
    event_time_ahead_seconds: int = 60
    """A flow that ends further after its receipt has a wrong clock."""
    nat_inside_vrfs: tuple[int, ...] = ()
    """Routing instances (element 234, ingressVRFID) whose inside addresses are subscribers'; what a
    NAT translates for others is nobody's. Empty: all are one space of addresses."""


def check_decode(config: FlowDecodeConfig) -> list[str]:
    """Return one message per setting that cannot work: the key and what was expected."""
    problems = _check_exporters(config)
    for name in (field.name for field in dataclasses.fields(config)):
        if name.endswith("_limit") and getattr(config, name) < 1:
            problems.append(f"{name} = {getattr(config, name)}: expected 1 or more")
    if not 0 <= config.default_sampling_rate <= config.sampling_rate_limit:
        problems.append(
            f"default_sampling_rate = {config.default_sampling_rate}: "
            f"expected 0 to {config.sampling_rate_limit}"
        )
    if config.record_octets_limit > 1 << 60 or config.octets_per_minute_limit > 1 << 60:
        problems.append("record_octets_limit, octets_per_minute_limit: expected 2^60 or less")
    if config.clock_skew_limit_seconds < 2:
        problems.append(
            f"clock_skew_limit_seconds = {config.clock_skew_limit_seconds}: expected 2 or more "
            "(export times are in whole seconds)"
        )
    if config.event_time_window_seconds < 60:
        problems.append(
            f"event_time_window_seconds = {config.event_time_window_seconds}: expected 60 or more"
        )
    if config.template_expiry_seconds and config.template_expiry_seconds < 600:
        problems.append(
            f"template_expiry_seconds = {config.template_expiry_seconds}: expected 0 (never), or "
            "600 or more: exporters repeat templates each some minutes"
        )
    if not 0 <= config.running_ended_seconds <= config.running_idle_seconds:
        problems.append(
            f"running_ended_seconds = {config.running_ended_seconds}: "
            f"expected 0 to running_idle_seconds = {config.running_idle_seconds}"
        )
    return problems


def parse_interfaces(text: str) -> tuple[int, int]:
    """Return the first and last SNMP index of ``7`` or ``100-199``. Raises ValueError if none."""
    low, dash, high = text.strip().partition("-")
    first, last = int(low), int(high) if dash else int(low)
    if not 0 <= first <= last < 1 << 32:
        raise ValueError(f"{text!r}: expected an index, or two in order, below 2^32")
    return first, last


def _check_interfaces(exporter: ExporterConfig) -> list[str]:
    """Return what is wrong with the interfaces that an entry names."""
    problems = []
    for name in ("subscriber_interfaces", "core_interfaces", "ignored_interfaces"):
        for text in getattr(exporter, name):
            try:
                parse_interfaces(text)
            except ValueError:
                problems.append(
                    f'exporters.{name} = {text!r}: expected an SNMP index or a range, "100-199"'
                )
    is_blind = not (exporter.subscriber_interfaces or exporter.core_interfaces)
    if exporter.counted_direction == "boundary" and is_blind:
        problems.append(
            f"exporters.counted_direction = 'boundary' of {exporter.address}: expected "
            "subscriber_interfaces or core_interfaces beside it"
        )
    return problems


def _check_exporters(config: FlowDecodeConfig) -> list[str]:
    """Return what cannot work in the entries of exporters."""
    problems = []
    seen: set[str] = set()
    for exporter in config.exporters:
        try:
            network = str(ipaddress.ip_network(exporter.address))
        except ValueError:
            problems.append(
                f"exporters.address = {exporter.address!r}: expected an IP address, or a prefix "
                "without bits behind its length"
            )
            continue
        if network in seen:
            problems.append(f"exporters.address = {exporter.address!r}: expected one entry only")
        seen.add(network)
        problems += _check_interfaces(exporter)
        for name in ("sampling_rate", "default_sampling_rate"):
            if not 0 <= getattr(exporter, name) <= config.sampling_rate_limit:
                problems.append(
                    f"exporters.{name} = {getattr(exporter, name)}: "
                    f"expected 0 to {config.sampling_rate_limit}"
                )
    return problems
