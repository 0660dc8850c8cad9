"""Settings of the flow decoder: how much it remembers and what it believes."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Literal


@dataclasses.dataclass(frozen=True, slots=True)
class ExporterConfig:
    """What is known about one exporter, or the exporters of a prefix, beyond what they send."""

    address: str
    """Source address or prefix: ``192.0.2.1``, ``192.0.2.0/24``, ``2001:db8::/48``. Of several
    entries the one with the longest prefix holds, as a whole."""
    sampling_rate: int = 0
    """Packets per sampled packet, in place of what the exporter announces; 0: believe it."""
    default_sampling_rate: int = 0
    """Rate of records for which the exporter announced none; 0: that of all exporters."""
    has_separate_ports: bool = False
    """True where several exporters share the address and differ by source port."""
    counted_direction: Literal["all", "ingress", "egress"] = "all"
    """Which records count where the exporter sends each flow at ingress and at egress (element
    61); records without a direction always count."""


@dataclasses.dataclass(frozen=True, slots=True)
class FlowDecodeConfig:
    """Decoding NetFlow v1, v5, v7, v9 and IPFIX."""

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
    template_octets_limit: int = 67_108_864
    """Most octets of templates over all exporters; the longest silent are forgotten first."""
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
    sets_per_datagram_limit: int = 1_024
    """Most sets read from one datagram."""
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
        for name in ("sampling_rate", "default_sampling_rate"):
            if not 0 <= getattr(exporter, name) <= config.sampling_rate_limit:
                problems.append(
                    f"exporters.{name} = {getattr(exporter, name)}: "
                    f"expected 0 to {config.sampling_rate_limit}"
                )
    return problems
