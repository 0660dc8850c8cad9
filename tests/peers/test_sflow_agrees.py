"""tshark and tcpdump read what we read of sFlow: agents, samples, rates, counters, packets.

tshark dissects the sampled headers, one sample in a datagram, and is held against our addresses,
octets, ports and rates; tcpdump shows samples and interface counters. Both read a capture that is
written here: a fixed choice of every layer, and the corpus.
"""

from __future__ import annotations

import random
import re
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from collectors.adapters.captures import read_file
from infra.inspect_flows import inspect
from tests.collectors.sflow import agents as a
from tests.collectors.sflow.sampling import Packet, decoded, flows_of, packets_of
from tests.collectors.test_captures import pcap
from tests.corpus import corpus_path
from tests.peers_available import require_peer

CORPUS = ("sflow_issue_15918", "sflow_issue_15375", "sflow_issue_18876", "sflow_v5_example")
FIELDS = ("ip.src", "ip.dst", "ip.len", "ipv6.src", "ipv6.dst", "ipv6.plen",
          "udp.srcport", "udp.dstport", "sflow.flow_sample.sampling_rate")  # fmt: skip
SAMPLE = re.compile(r"(expanded )?flow sample \(\d\).*seqnum (\d+),.* rate (\d+),.* drops (\d+)")
HEADER = re.compile(r"sFlowv5, IPv[46] agent ([\w.:]+), agent-id (\d+), seqnum (\d+)")
COUNTERS = re.compile(r"(In|Out) octets (\d+), unicast pkts (\d+)")


def capture(path: Path, payloads: Sequence[bytes]) -> Path:
    frames = []
    for payload in payloads:
        udp = struct.pack(">HHHH", 50_000, 6343, 8 + len(payload), 0) + payload
        frames.append(a.ethernet(0x0800, a.ipv4("192.0.2.1", "192.0.2.2", udp)))
    path.write_bytes(pcap(frames))
    return path


def frames() -> Iterator[tuple[int, bytes]]:
    """Yield (header protocol, octets): both families below every choice of layers."""
    chance = random.Random(5)
    for number in range(40):
        ports = a.ports(1_024 + number, 443, chance.randrange(8, 60))
        is_v6 = number % 2 == 1
        host = chance.randrange(1, 255)
        packet = (
            a.ipv6(f"2001:db8::{host:x}", "2001:db8:9::2", ports)
            if is_v6
            else a.ipv4(f"10.0.0.{host}", "203.0.113.9", ports, options=bytes(4 * (number % 3)))
        )
        ether_type, ppp = (0x86DD, 0x0057) if is_v6 else (0x0800, 0x0021)
        yield (a.IPV6 if is_v6 else a.IPV4), packet
        yield a.ETHERNET, a.ethernet(ether_type, packet)
        yield a.ETHERNET, a.ethernet(ether_type, packet, tags=[(0x88A8, 900), (0x8100, number + 1)])
        yield a.ETHERNET, a.ethernet(0x8847, a.labels([16_001 + number, 24], packet))
        yield a.ETHERNET, a.ethernet(0x8864, a.pppoe(ppp, packet), tags=[(0x8100, 7)])
        yield a.ETHERNET, a.snap(ether_type, packet)


def by_tshark(path: Path) -> list[tuple[Packet, int]]:
    """Return the outermost sampled packet of each datagram, and its rate."""
    command = [require_peer("tshark"), "-r", str(path), "-T", "fields", "-E", "separator=|"]
    command += [part for name in FIELDS for part in ("-e", name)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found = []
    for line in shown.splitlines():
        v4_from, v4_to, v4_octets, v6_from, v6_to, v6_octets, source, target, rate = (
            column.split(",") for column in line.split("|")
        )
        # The first of IPv4 and of the ports is the datagram's own.
        ends = (v6_from[0], v6_to[0]) if v6_from[0] else (v4_from[1], v4_to[1])
        octets = 40 + int(v6_octets[0]) if v6_from[0] else int(v4_octets[1])
        packet = Packet(*ends, octets, 17, int(source[1]), int(target[1]))
        found.append((packet, int(rate[0])))
    return found


def test_tshark_finds_the_same_packets_below_every_layer(tmp_path: Path) -> None:
    payloads = []
    for number, (protocol, frame) in enumerate(frames()):
        stripped = 4 if protocol == a.ETHERNET else 0
        record = a.header(frame, protocol=protocol, stripped=stripped)
        sample = a.expanded_sample if number % 2 else a.flow_sample
        payloads.append(a.datagram([sample([record], rate=100 + number)], sequence=number))
    theirs = by_tshark(capture(tmp_path / "frames.pcap", payloads))
    flows = flows_of(decoded(payloads))
    ours = list(zip(packets_of(flows), flows.rate_numerator.tolist(), strict=True))
    assert len(ours) == 240
    assert ours == theirs


def test_tcpdump_shows_the_samples_that_are_counted(tmp_path: Path) -> None:
    files = [corpus_path(f"netflow/telegraf/{case}") for case in CORPUS]
    payloads = [d.payload for f in files for p in f.glob("*.bin") for d in read_file(p).datagrams]
    path = capture(tmp_path / "corpus.pcap", payloads)
    command = [require_peer("tcpdump"), "-nn", "-vvv", "-r", str(path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    report = inspect([path])
    assert {(e["exporter"], e["observation_domain"]) for e in report["exporters"]} == {
        (agent, int(sub_agent)) for agent, sub_agent, _ in HEADER.findall(shown)
    }
    samples = SAMPLE.findall(shown)
    totals = report["totals"]
    assert len(samples) == totals["samples"]["flow_samples"] == 6
    assert sum(int(rate) for _, _, rate, _ in samples) == totals["packets_scaled"]
    assert shown.count("counter sample (2)") + shown.count("expanded counter sample (4)") == 3
    assert totals["samples"]["counter_samples"] == 3
    theirs = sorted((int(octets), int(packets)) for _, octets, packets in COUNTERS.findall(shown))
    assert theirs == sorted(
        (interface[f"octets_{way}"], interface[f"packets_{way}"])
        for exporter in report["exporters"]
        for interface in exporter["interfaces"]
        for way in ("in", "out")
    )
