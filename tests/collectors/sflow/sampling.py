"""What the decoder makes of sFlow, told by addresses and numbers, for tests to compare."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.flows import Flows
from rating.addresses import format_address
from tests.collectors.netflow import exports as x
from tests.collectors.netflow.driver import PATIENT, Run
from tests.collectors.sflow import agents as a


class Packet(NamedTuple):
    """One decoded packet."""

    source: str
    destination: str
    octets: int
    protocol: int
    source_port: int
    destination_port: int


def packets_of(flows: Flows) -> list[Packet]:
    """Return the flows as packets, in order."""
    return [
        Packet(
            _address(flows, "source", i),
            _address(flows, "destination", i),
            *(int(getattr(flows, name)[i]) for name in Packet._fields[2:]),
        )
        for i in range(len(flows))
    ]


def _address(flows: Flows, end: str, index: int) -> str:
    high, low = (int(getattr(flows, f"{end}_{half}")[index]) for half in ("high", "low"))
    return format_address(struct.pack(">QQ", high, low))


def sampled(*records: bytes, config: FlowDecodeConfig = PATIENT) -> Run:
    """Return a run over one datagram of one flow sample with these records."""
    return decoded([a.datagram([a.flow_sample(records)])], config)


def decoded(payloads: Sequence[bytes], config: FlowDecodeConfig = PATIENT) -> Run:
    """Return a run over payloads from one sender, in one block."""
    run = Run(config)
    run.take(x.block(payloads))
    return run


def flows_of(run: Run) -> Flows:
    """Return the flows of a run's only block."""
    (only,) = run.flows
    return only.flows
