"""Settings that cannot work are named before anything starts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from collectors.checks import check_flow_receiver, check_radius
from collectors.config import FlowReceiverConfig, NasConfig, RadiusConfig


def test_the_defaults_work() -> None:
    assert check_flow_receiver(FlowReceiverConfig()) == []
    assert check_radius(RadiusConfig()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"listen": ("::1:2055",)}, "listen: '::1:2055': an IPv6 address needs brackets"),
        ({"listen": ()}, "listen: expected at least one address"),
        ({"block_milliseconds": 0}, "block_milliseconds = 0: expected at least 1"),
        ({"queue_octets": 1}, "queue_octets = 1: expected at least twice block_octets"),
    ],
)
def test_a_bad_flow_setting_is_named(change: dict[str, Any], message: str) -> None:
    (found,) = check_flow_receiver(dataclasses.replace(FlowReceiverConfig(), **change))
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"listen": ("*",)}, "listen: '*' is not host:port"),
        ({"batch_packets": 0}, "batch_packets = 0: expected at least 1"),
        ({"duplicate_cache_entries": 5}, "duplicate_cache_entries = 5: expected at least batch"),
        ({"clients": (NasConfig("a", "x", "s"),)}, "clients: radius client 'a': address"),
    ],
)
def test_a_bad_radius_setting_is_named(change: dict[str, Any], message: str) -> None:
    (found,) = check_radius(dataclasses.replace(RadiusConfig(), **change))
    assert found.startswith(message)
