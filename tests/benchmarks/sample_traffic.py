"""sFlow traffic for benchmarks: what access and border switches send, many packets below layers."""

from __future__ import annotations

import random

from collectors.datagrams import Datagram, encode_datagrams
from tests.collectors.netflow.exports import EXPORTED_AT, mapped
from tests.collectors.sflow import agents as a

SAMPLES_PER_DATAGRAM = 8
HEADER_OCTETS = 128
BLOCK_OCTETS = 524_288
_PACKETS = 500


def _record(chance: random.Random) -> bytes:
    """Return a sampled header of a packet: plain, tagged, PPPoE in QinQ, or labelled; one in five
    is IPv6."""
    body = a.ports(chance.randrange(1_024, 65_536), 443, chance.randrange(8, 1_400))
    is_v6 = chance.random() < 0.2
    packet = (
        a.ipv6(f"2001:db8::{chance.randrange(1, 65_536):x}", "2001:db8:9::2", body)
        if is_v6
        else a.ipv4(f"100.64.{chance.randrange(256)}.{chance.randrange(256)}", "203.0.113.9", body)
    )
    ether_type, ppp = (0x86DD, 0x0057) if is_v6 else (0x0800, 0x0021)
    frame = chance.choice(
        (
            a.ethernet(ether_type, packet),
            a.ethernet(ether_type, packet, tags=[(0x8100, 7)]),
            a.ethernet(0x8864, a.pppoe(ppp, packet), tags=[(0x88A8, 9), (0x8100, 7)]),
            a.ethernet(0x8847, a.labels([16_001, 24], packet)),
        )
    )
    return a.header(frame[:HEADER_OCTETS], frame_octets=len(frame) + 4)


def sampled_blocks(samples: int, agents: int = 8, sources: int = 48) -> list[bytes]:
    """Return block bodies of about so many flow samples, every third with AS numbers."""
    chance = random.Random(1)
    records = [_record(chance) for _ in range(_PACKETS)]
    path = a.gateway(64_505, [(2, [64_510, 64_511])])
    bodies: list[bytes] = []
    block: list[Datagram] = []
    octets = 0
    for number in range(samples // SAMPLES_PER_DATAGRAM):
        sequence = number // agents
        drawn = [
            a.flow_sample(
                [chance.choice(records), a.switch(7), *([path] if index % 3 == 0 else [])],
                sequence=sequence * SAMPLES_PER_DATAGRAM + index,
                source=chance.randrange(sources),
            )
            for index in range(SAMPLES_PER_DATAGRAM)
        ]
        agent = f"198.51.100.{number % agents}"
        payload = a.datagram(drawn, agent=agent, sequence=sequence)
        block.append(Datagram(EXPORTED_AT * 1000, mapped("192.0.2.1"), 1, 6343, payload))
        octets += len(payload)
        if octets >= BLOCK_OCTETS:
            bodies.append(encode_datagrams(block))
            block, octets = [], 0
    return [*bodies, encode_datagrams(block)]
