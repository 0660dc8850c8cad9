"""The demo's settings file: the same keys as any other, nothing is switched in code."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from infra.demonstration.tariffs import BRANCH, SPEED_PROFILES
from infra.settings import Settings
from infra.simulation.config import SimulationConfig
from infra.simulation.network import ACCESS_PREFIX_IPV4, ACCESS_PREFIX_IPV6, REMOTES

LOOPBACK = "127.0.0.1"
NAS_ADDRESS = SimulationConfig().nas_address
WANTED_PORTS = {
    "page": (socket.SOCK_STREAM, LOOPBACK, 8080),
    "store": (socket.SOCK_STREAM, LOOPBACK, 8123),
    "flows": (socket.SOCK_DGRAM, LOOPBACK, 2055),
    "ipfix": (socket.SOCK_DGRAM, LOOPBACK, 4739),
    "accounting": (socket.SOCK_DGRAM, LOOPBACK, 1813),
    "coa": (socket.SOCK_DGRAM, NAS_ADDRESS, 3799),
}
"""Use of a port to (kind, address, the port one would expect)."""


TEMPLATE = """\
# Written by `flowrate demo`. The clock starts 20 s before a month's end, so the first invoices
# are there half a minute later; every other key is an ordinary setting, only shorter.
data_dir = "."

[clock]
starts_at = "20 s before month end"
time_zone = "{time_zone}"

[network]
own_prefixes = ["{prefix_ipv4}", "{prefix_ipv6}"]

{classes}

[collectors.flows]
listen = ["127.0.0.1:{flows}", "127.0.0.1:{ipfix}"]

[collectors.radius]
listen = ["127.0.0.1:{accounting}"]

[[collectors.radius.clients]]
nas_id = "demo-nas"
address = "{nas_address}"
secret = "{nas_secret}"
vendor = "mikrotik"
coa_port = {coa}

[rating.sessions]
interim_interval_seconds = {interim_seconds}
lateness_bound_seconds = 10

[rating.attribution]
attribution_delay_seconds = 3
lateness_bound_seconds = 10

[rating.rate]
lateness_bound_seconds = 10
class_split_wait_seconds = 8

[office.billing]
interval_seconds = 2.0

[office.acting]
verify_timeout_seconds = 60
restore_profile = "full"
speed_profiles = [{speeds}]

[api]
listen_port = {page}
login_link_enabled = true

[warehouse.endpoint]
port = {store}

[logs]
level = "warning"

[simulation]
is_enabled = true
subscribers = {lines}
flow_port = {flows}
ipfix_port = {ipfix}
accounting_port = {accounting}
coa_port = {coa}
"""


def choose_ports() -> dict[str, int]:
    """Return a port per use: the expected one, or a free one where it is taken."""
    chosen: dict[str, int] = {}
    for use, (kind, address, wanted) in WANTED_PORTS.items():
        is_free = _is_free(kind, address, wanted)
        chosen[use] = wanted if is_free else _free_port(kind, address)
    return chosen


def ports_are_free(settings: Settings) -> bool:
    """Return whether nothing listens on the ports of a demo's settings."""
    network = settings.simulation
    ports = {
        "page": settings.api.listen_port,
        "store": settings.warehouse.endpoint.port,
        "flows": network.flow_port,
        "ipfix": network.ipfix_port,
        "accounting": network.accounting_port,
        "coa": network.coa_port,
    }
    return all(
        _is_free(kind, address, ports[use]) for use, (kind, address, _) in WANTED_PORTS.items()
    )


def _is_free(kind: int, address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, kind) as probe:
        if kind == socket.SOCK_STREAM:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _free_port(kind: int, address: str) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def settings_text(ports: Mapping[str, int], *, lines: int) -> str:
    """Return the demo's flowrate.toml for these ports and this many lines."""
    network = SimulationConfig()
    classes = (
        f'[[network.class_rules]]\nprefixes = ["{prefix}"]\ntraffic_class = "{name}"\n'
        for name, prefix in REMOTES.items()
    )
    speeds = (
        f'{{ name = "{name}", up_bps = {up}, down_bps = {down} }}'
        for name, up, down in SPEED_PROFILES
    )
    return TEMPLATE.format(
        **ports,
        lines=lines,
        time_zone=BRANCH["timezone"],
        prefix_ipv4=ACCESS_PREFIX_IPV4,
        prefix_ipv6=ACCESS_PREFIX_IPV6,
        classes="\n".join(classes).rstrip(),
        speeds=", ".join(speeds),
        nas_address=network.nas_address,
        nas_secret=network.nas_secret,
        interim_seconds=network.interim_interval_seconds,
    )
