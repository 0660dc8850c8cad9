"""What types cannot say about the collectors' settings: one message per finding."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from collectors.adapters.sockets import ANY_HOST, parse_listen
from collectors.certificates import normalised
from collectors.config import (
    MESSAGE_OCTETS_LEAST,
    ConnectionsConfig,
    FlowReceiverConfig,
    RadiusConfig,
    RelayConfig,
    SpoolConfig,
    TlsConfig,
)
from collectors.radius.clients import ClientTable
from rating.connections import KafkaConfig

RELAY_WINDOW_MAX = 8_192
"""Twice as many identifiers are 64 sockets."""

BURST_DATAGRAMS_MAX = 1_024
"""What recvmmsg(2) takes at most (UIO_MAXIOV)."""
BURST_PAUSE_MICROSECONDS_MAX = 50_000
"""At 100,000 datagrams a second 5,000 come in it: about 12 MB of receive buffer."""

PACE_MILLISECONDS_MAX = 1_000
"""A NAS sends again after a few seconds (RFC 2866 §2)."""


def check_flow_receiver(config: FlowReceiverConfig) -> list[str]:
    """Return what cannot work in the flow receiver's settings: the key and what was expected."""
    positive = (
        "receive_buffer_octets",
        "burst_datagrams",
        "block_octets",
        "block_milliseconds",
        "marker_interval_milliseconds",
        "append_retry_milliseconds",
    )
    wanted = config.connections
    problems = _listen([*config.listen, *wanted.listen, *wanted.tls_listen])
    problems += _positive(config, positive)
    problems += _tls("connections", wanted.tls_listen, wanted.tls, wanted.limits)
    if config.burst_datagrams > BURST_DATAGRAMS_MAX:
        problems.append(
            f"burst_datagrams = {config.burst_datagrams}: expected at most {BURST_DATAGRAMS_MAX}"
        )
    if not 0 <= config.burst_pause_microseconds <= BURST_PAUSE_MICROSECONDS_MAX:
        problems.append(
            f"burst_pause_microseconds = {config.burst_pause_microseconds}: expected 0 to"
            f" {BURST_PAUSE_MICROSECONDS_MAX}"
        )
    if config.queue_octets < 2 * config.block_octets:
        problems.append(
            f"queue_octets = {config.queue_octets}: expected at least twice block_octets"
        )
    return problems


def check_radius(config: RadiusConfig) -> list[str]:
    """Return what cannot work in the RADIUS settings: the key and what was expected."""
    positive = (
        "receive_buffer_octets",
        "batch_packets",
        "marker_interval_milliseconds",
        "duplicate_cache_seconds",
        "event_time_behind_seconds",
        "event_time_ahead_seconds",
    )
    radsec = config.radsec
    problems = _listen([*config.listen, *radsec.listen])
    problems += _positive(config, positive) + check_relay(config.relay)
    problems += _tls("radsec", radsec.listen, radsec.tls, radsec.limits)
    if radsec.listen and not radsec.tls.client_ca_file:
        problems.append("radsec.tls.client_ca_file: expected a file: NASes must show certificates")
    if config.duplicate_cache_entries < config.batch_packets:
        problems.append(
            f"duplicate_cache_entries = {config.duplicate_cache_entries}:"
            " expected at least batch_packets"
        )
    try:
        ClientTable(config.clients)
    except ValueError as error:
        problems.append(f"clients: {error}")
    return problems


def check_relay(config: RelayConfig) -> list[str]:
    """Return what cannot work in the relay's settings: the key and what was expected."""
    if not config.server:
        return ["relay.server: expected host:port beside relay.secret"] if config.secret else []
    problems = []
    try:
        host, port = parse_listen(config.server)
        if host == ANY_HOST or not port:
            problems.append(f"relay.server = {config.server!r}: expected one host and port")
    except ValueError as error:
        problems.append(f"relay.server: {error}")
    if not config.secret:
        problems.append("relay.secret: expected the secret shared with relay.server")
    if not 1 <= config.window_packets_max <= RELAY_WINDOW_MAX:
        problems.append(
            f"relay.window_packets_max = {config.window_packets_max}: expected 1 to"
            f" {RELAY_WINDOW_MAX}"
        )
    if not 1 <= config.retry_first_milliseconds <= config.retry_max_milliseconds:
        problems.append(
            "relay.retry_first_milliseconds: expected 1 to relay.retry_max_milliseconds"
            f" ({config.retry_max_milliseconds}), not {config.retry_first_milliseconds}"
        )
    keys = ("attempt_seconds", "ignored_transmissions_max", "queue_octets_max", "queue_hours_max")
    return problems + [f"relay.{problem}" for problem in _positive(config, keys)]


def check_spool(config: SpoolConfig, kafka: KafkaConfig) -> list[str]:
    """Return what cannot work in a cluster's collectors: the key and what was expected."""
    problems = [
        f"spool.{problem}" for problem in _positive(config, ("octets_max", "ack_wait_milliseconds"))
    ]
    if not 0 <= config.radius_pace_milliseconds <= PACE_MILLISECONDS_MAX:
        problems.append(
            f"spool.radius_pace_milliseconds = {config.radius_pace_milliseconds}:"
            f" expected 0 to {PACE_MILLISECONDS_MAX}"
        )
    if config.lease_seconds < 1 or config.keep_published_minutes < 0:
        problems.append(
            f"spool.lease_seconds, spool.keep_published_minutes = {config.lease_seconds},"
            f" {config.keep_published_minutes}: expected at least 1 and 0"
        )
    if not re.fullmatch(r"[\w.:-]{0,200}", config.collector_id, re.ASCII):
        problems.append(
            f"spool.collector_id = {config.collector_id!r}: expected letters, digits and . : - _"
        )
    if kafka.message_octets_max < MESSAGE_OCTETS_LEAST:
        problems.append(
            f"kafka.message_octets_max = {kafka.message_octets_max}: expected at least"
            f" {MESSAGE_OCTETS_LEAST}, so that any datagram fits"
        )
    if kafka.delivery_timeout_milliseconds < kafka.request_timeout_milliseconds + 1_000:
        problems.append(
            f"kafka.delivery_timeout_milliseconds = {kafka.delivery_timeout_milliseconds}: expected"
            " at least a second more than request_timeout_milliseconds"
        )
    return problems


def _tls(
    section: str, listen: Iterable[str], tls: TlsConfig, limits: ConnectionsConfig
) -> list[str]:
    problems = [
        f"{section}.limits.{problem}"
        for problem in _positive(limits, (field.name for field in dataclasses.fields(limits)))
    ]
    if tuple(listen) and not tls.certificate_file:
        problems.append(f"{section}.tls.certificate_file: expected a file, as TLS is listened for")
    if tls.client_names and not tls.client_ca_file:
        problems.append(
            f"{section}.tls.client_ca_file: expected a file, as client_names asks for certificates"
        )
    for name in tls.client_names:
        try:
            normalised(name)
        except ValueError as error:
            problems.append(f"{section}.tls.client_names: {error}")
    return problems


def _listen(addresses: Iterable[str]) -> list[str]:
    problems = []
    for address in addresses:
        try:
            parse_listen(address)
        except ValueError as error:
            problems.append(f"listen: {error}")
    return problems or ([] if addresses else ["listen: expected at least one address"])


def _positive(config: object, keys: Iterable[str]) -> list[str]:
    values = [(key, getattr(config, key)) for key in keys]
    return [f"{key} = {value}: expected at least 1" for key, value in values if value < 1]
