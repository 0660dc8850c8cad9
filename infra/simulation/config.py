"""Settings of the simulated network that `flowrate demo` runs beside the product."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class SimulationConfig:
    """Where the simulated routers stand and how busy their lines are."""

    is_enabled: bool = False
    """Run the simulated network as a process of its own."""
    seed: int = 1
    """Seed of everything that the network does."""
    subscribers: int = 300
    """Lines; the first pools x pool_members of them share family pools."""
    pools: int = 10
    """Family pools."""
    pool_members: int = 3
    """Lines of each family pool."""
    mean_rate_down_bps: int = 8_000_000
    """Mean download rate of a line, bits per second."""
    interim_interval_seconds: int = 5
    """How often the NAS reports each session."""
    session_mean_seconds: int = 600
    """Mean length of a session."""
    flow_export_interval_seconds: int = 2
    """How often the exporters report active flows."""
    template_interval_seconds: int = 10
    """How often the exporters repeat their templates."""
    ipfix_sampling_rate: int = 10
    """1:n packet sampling of the IPFIX exporter."""
    netflow_v9_address: str = "127.0.0.11"
    """Loopback address from which the NetFlow v9 exporter sends."""
    ipfix_address: str = "127.0.0.12"
    """Loopback address from which the IPFIX exporter sends."""
    nas_address: str = "127.0.0.21"
    """Loopback address of the NAS: sends accounting, answers CoA."""
    nas_identifier: str = "demo-nas"
    """NAS-Identifier of the NAS."""
    nas_secret: str = "demo-secret"
    """RADIUS secret of the NAS, for accounting and CoA."""
    coa_port: int = 3799
    """UDP port on which the NAS takes CoA and Disconnect (RFC 5176)."""
    flow_port: int = 2055
    """UDP port to which NetFlow v9 goes."""
    ipfix_port: int = 4739
    """UDP port to which IPFIX goes."""
    accounting_port: int = 1813
    """UDP port to which accounting goes."""
    truth_file: str = ""
    """File to which every acknowledged accounting event is appended as a line of JSON, for an
    auditor; empty: none."""
