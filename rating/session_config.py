"""Settings of the stages sessions and attribute."""

from __future__ import annotations

import dataclasses

RADIUS = "radius"
STATIC_PREFIX = "static_prefix"
FLOW_USER = "flow_user"
WHO = (RADIUS, STATIC_PREFIX, FLOW_USER)
"""What may tell whose a flow is."""


@dataclasses.dataclass(frozen=True, slots=True)
class SessionsConfig:
    """How accounting packets become sessions, usage and bindings (DESIGN §6)."""

    lateness_bound_seconds: int = 7_200
    """Knots whose event and receipt lie this far behind the watermark become a checkpoint."""
    interim_interval_seconds: int = 300
    """Interval at which a NAS sends interim updates (Acct-Interim-Interval, RFC 2869 §5.16)."""
    silent_intervals_max: int = 3
    """Interim intervals of silence after which a session without Stop is presumed ended."""
    generation_tolerance_seconds: int = 10
    """Implied starts this close are one start: clocks in whole seconds, delays on the way."""
    implied_start_reach_seconds: int = 86_400
    """How long before its first packet a session without Start may have begun and still be charged
    from zero; beyond, its counters so far are taken as measured before us (installation day)."""
    marker_window_seconds: int = 60
    """An Accounting-On or -Off repeated within this time keeps the time of the first."""
    markers_per_nas_max: int = 32
    """Accounting-On and -Off remembered per NAS; the oldest go first."""
    octets_per_second_limit: int = 1_250_000_000_000
    """Octets of a session, each way, above this for every second of its time (at least a minute)
    are refused as implausible: 10 Tbit/s."""
    packets_per_session_max: int = 512
    """Packets kept as knots per Acct-Session-Id; beyond it the oldest are compacted early."""
    ended_session_retention_seconds: int = 259_200
    """How long the checkpoint of an ended session is kept: a packet repeated later than this would
    count as a new session."""
    silent_session_retention_seconds: int = 3_024_000
    """How long the checkpoint of a session without Stop is kept."""
    identity_order: tuple[str, ...] = ("user_name", "mac", "circuit")
    """Which attributes name the subscriber, first match in the directory wins: ``user_name``
    (User-Name), ``mac`` (Calling-Station-Id), ``circuit`` (nas_id/NAS-Port-Id)."""


@dataclasses.dataclass(frozen=True, slots=True)
class AttributionConfig:
    """How flow minutes find their subscriber (DESIGN §6)."""

    attribution_delay_seconds: int = 30
    """A minute is joined when the watermark has passed its end by this much."""
    octets_per_minute_limit: int = 75_000_000_000_000
    """More octets of an address in a minute and traffic class are refused as implausible."""
    lateness_bound_seconds: int = 7_200
    """How long a joined minute can still be re-attributed by a late binding."""
    who_order: tuple[str, ...] = WHO
    """What tells whose a flow is, the first that knows somebody decides: ``radius`` (who held the
    address by accounting), ``static_prefix`` (of the directory), ``flow_user`` (the user whom the
    flow itself names, element 371 and its like). What is left out is not asked."""
    nat_binding_retention_seconds: int = 2_592_000
    """How long a NAT's port block or session is held to be in use after it was last told, where its
    release is missing and nobody else got its ports."""
    nat_overlaps_per_address_limit: int = 1_048_576
    """Most pairs of events of one outside address whose ports overlap, within twice the lateness
    bound; beyond, the older half of its events is forgotten."""
    nat_history_days: int = 30
    """How long ended translations are kept for `flowrate nat`: 48 octets each."""


def check_sessions(config: SessionsConfig) -> list[str]:
    """Return one message per sessions setting that cannot work: the key and what was expected."""
    problems = []
    silent_seconds = config.silent_intervals_max * config.interim_interval_seconds
    if config.interim_interval_seconds < 1 or config.silent_intervals_max < 1:
        problems.append("interim_interval_seconds and silent_intervals_max: expected at least 1")
    if config.lateness_bound_seconds < 0:
        problems.append(f"lateness_bound_seconds = {config.lateness_bound_seconds}: expected >= 0")
    if not 1 <= config.octets_per_second_limit <= 1 << 50:
        problems.append("octets_per_second_limit: expected 1 to 2^50")
    if config.packets_per_session_max < 8:
        problems.append("packets_per_session_max: expected at least 8")
    if config.ended_session_retention_seconds < config.lateness_bound_seconds:
        problems.append("ended_session_retention_seconds: expected >= lateness_bound_seconds")
    if config.silent_session_retention_seconds < silent_seconds:
        problems.append(
            "silent_session_retention_seconds: expected >= silent_intervals_max"
            " * interim_interval_seconds"
        )
    unknown = sorted(set(config.identity_order) - {"user_name", "mac", "circuit"})
    if unknown:
        problems.append(f"identity_order has {unknown}: expected user_name, mac, circuit")
    return problems


def check_attribution(config: AttributionConfig) -> list[str]:
    """Return one message per attribution setting that cannot work."""
    problems = []
    if config.attribution_delay_seconds < 0 or config.lateness_bound_seconds < 0:
        problems.append("attribution_delay_seconds, lateness_bound_seconds: expected >= 0")
    if not 1 <= config.octets_per_minute_limit <= 1 << 53:
        problems.append("octets_per_minute_limit: expected 1 to 2^53")
    if config.nat_binding_retention_seconds < 60:
        problems.append(
            f"nat_binding_retention_seconds = {config.nat_binding_retention_seconds}:"
            " expected 60 or more"
        )
    if not 1_024 <= config.nat_overlaps_per_address_limit <= 1 << 24:
        problems.append(
            f"nat_overlaps_per_address_limit = {config.nat_overlaps_per_address_limit}:"
            " expected 1024 to 2^24"
        )
    if config.nat_history_days < 0:
        problems.append(f"nat_history_days = {config.nat_history_days}: expected >= 0")
    if config.attribution_delay_seconds > config.lateness_bound_seconds:
        problems.append("attribution_delay_seconds: expected <= lateness_bound_seconds")
    order = config.who_order
    if not order or len(set(order)) != len(order) or not set(order) <= set(WHO):
        problems.append(f"who_order = {list(order)}: expected each at most once: {', '.join(WHO)}")
    return problems
