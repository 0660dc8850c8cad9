"""What other decoders make of the same export datagrams: nfdump, nfacctd, goflow2 and tshark.

The collectors get the datagrams over loopback, tshark in a capture that is written here. Each case
is sent from a source address of its own, by which a decoder's output is told apart: so a process
takes all cases. Octets and packets are as each decoder gives them for a record; 5-tuples as text.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import ipaddress
import json
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.benchmarks.process_usage import cpu_seconds, udp_socket
from tests.peers.peer_collectors import (
    PeerCollector,
    closing,
    start_goflow2,
    start_nfacctd,
    start_nfcapd,
)
from tests.peers_available import require_peer

FiveTuple = tuple[str, str, int, int, int]

PORT = 2055
_BURST_OCTETS = 60_000
"""Sent before the collector's socket is empty again: goflow2 takes the system's small buffer."""
_PATIENCE_SECONDS = 120.0
"""goflow2 makes 55,582 records of one malformed datagram, and then JSON."""
_QUIET_SECONDS = 0.3


@dataclasses.dataclass(frozen=True, slots=True)
class Export:
    """One datagram and the address that it is sent from."""

    source: str
    payload: bytes


@dataclasses.dataclass(slots=True)
class Found:
    """What a decoder found from one source: records, sums, and both by 5-tuple."""

    flows: int = 0
    octets: int = 0
    packets: int = 0
    tuples: dict[FiveTuple, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def add(self, key: FiveTuple | None, octets: int, packets: int, flows: int = 1) -> None:
        """Add records of one 5-tuple; None where the record has no addresses."""
        self.flows += flows
        self.octets += octets
        self.packets += packets
        if key is not None:
            before = self.tuples.get(key, (0, 0))
            self.tuples[key] = (before[0] + octets, before[1] + packets)

    @property
    def sums(self) -> tuple[int, int, int]:
        """Flows, octets, packets."""
        return self.flows, self.octets, self.packets


BySource = Mapping[str, Found]


def source_of(number: int) -> str:
    """Return the loopback address of the number-th source."""
    return f"127.2.{number // 250}.{1 + number % 250}"


def key_of(ends: Sequence[object], ports: Sequence[object], protocol: object) -> FiveTuple | None:
    """Return a 5-tuple with addresses in their shortest form; None where one is missing."""
    if not all(ends):
        return None
    source, destination = (str(ipaddress.ip_address(str(end))) for end in ends)
    numbers = [int(str(number or 0)) for number in (*ports, protocol)]
    return source, destination, numbers[0], numbers[1], numbers[2]


def _send(collector: PeerCollector, exports: Sequence[Export]) -> None:
    """Send in order, and wait until all is read whenever the collector's socket may be full."""
    with contextlib.ExitStack() as stack:
        sockets: dict[str, socket.socket] = {}
        octets = 0
        for export in exports:
            opened = sockets.get(export.source)
            if opened is None:
                opened = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                opened.bind((export.source, 0))
                opened.connect(("127.0.0.1", collector.port))
                sockets[export.source] = opened
            octets += len(export.payload) + 1_024
            if octets > _BURST_OCTETS:
                _wait_until_read(collector.port)
                octets = 0
            opened.send(export.payload)
    _wait_until_read(collector.port)
    _wait_until_idle(collector.pids)  # The last datagram is read, not yet decoded.
    assert udp_socket(collector.port) == (0, 0)


def _wait_until_read(port: int) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while udp_socket(port)[0]:
        assert time.monotonic() < until, "the collector reads no more"
        time.sleep(0.002)


def _wait_until_idle(pids: Sequence[int]) -> None:
    """Return when processes have used no CPU twice in a row."""
    until, quiet, before = time.monotonic() + _PATIENCE_SECONDS, 0, cpu_seconds(pids)
    while quiet < 2:
        assert time.monotonic() < until, "the collector never rests"
        time.sleep(_QUIET_SECONDS)
        now = cpu_seconds(pids)
        quiet = quiet + 1 if now == before else 0
        before = now


def by_nfdump(exports: Sequence[Export], directory: Path) -> BySource:
    """Return what nfcapd stored. It multiplies by the sampling rate that it knows."""
    nfdump = require_peer("nfdump")
    with closing(start_nfcapd(require_peer("nfcapd"), nfdump, directory)) as collector:
        _send(collector, exports)
        collector.finish()
    found: dict[str, Found] = {}
    for path in sorted((directory / "nfcapd").glob("nfcapd.*")):
        command = [nfdump, "-r", str(path), "-o", "json"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        is_empty = "No matching flows" in told.stdout
        for record in [] if is_empty else json.loads(told.stdout, strict=False):
            ends = [record.get(f"{s}4_addr") or record.get(f"{s}6_addr") for s in ("src", "dst")]
            ports = (record.get("src_port"), record.get("dst_port"))
            source = record.get("ip4_router") or record.get("ip6_router")
            key = key_of(ends, ports, record.get("proto"))
            found.setdefault(source, Found()).add(
                key, record.get("in_bytes", 0), record.get("in_packets", 0)
            )
    return found


_NFACCTD_FIELDS = "peer_src_ip, src_host, dst_host, src_port, dst_port, proto, flows"


def by_nfacctd(exports: Sequence[Export], directory: Path) -> BySource:
    """Return what nfacctd summed up by 5-tuple; not multiplied by any sampling rate."""
    program = require_peer("nfacctd")
    with closing(start_nfacctd(program, directory, _NFACCTD_FIELDS)) as collector:
        _send(collector, exports)
        collector.finish()
    found: dict[str, Found] = {}
    with (directory / "nfacctd.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            ends, ports = (row["SRC_IP"], row["DST_IP"]), (row["SRC_PORT"], row["DST_PORT"])
            key = key_of(ends, ports, _protocol(row["PROTOCOL"]))
            counts = (int(row["BYTES"]), int(row["PACKETS"]), int(row["FLOWS"] or 0))
            found.setdefault(row["PEER_SRC_IP"], Found()).add(key, *counts)
    return found


_PROTOCOLS = {
    "": 0, "hopopt": 0, "ip": 0, "icmp": 1, "igmp": 2, "ipencap": 4, "tcp": 6, "udp": 17,
    "ipv6": 41, "ipv6-icmp": 58, "icmpv6": 58, "vrrp": 112, "unassigned": 255, "reserved": 255,
}  # fmt: skip
"""Names of protocols as nfacctd and goflow2 write them, in small letters."""


def _protocol(name: object) -> int:
    text = str(name).lower()
    return int(text) if text.isdigit() else _PROTOCOLS[text]


def by_goflow2(exports: Sequence[Export], directory: Path) -> BySource:
    """Return what goflow2 wrote as JSON; the rate is beside its figures, not in them."""
    program = require_peer("goflow2")
    with closing(start_goflow2(program, directory, "json")) as collector:
        _send(collector, exports)
        collector.finish()
    found: dict[str, Found] = {}
    for line in (directory / "flows.json").read_text().splitlines():
        record: dict[str, Any] = json.loads(line)
        ends = (record.get("src_addr"), record.get("dst_addr"))
        ports = (record.get("src_port"), record.get("dst_port"))
        key = key_of(ends, ports, _protocol(record.get("proto", "")))
        counts = (int(record.get("bytes", 0)), int(record.get("packets", 0)))
        found.setdefault(record["sampler_address"], Found()).add(key, *counts)
    return found


_OCTETS = ("octets", "initiator_octets", "permanent_octets", "post_octets")
_PACKETS = ("packets", "initiator_packets", "permanent_packets", "post_packets")
"""tshark's names of elements 1, 231, 85, 23 and 2, 298, 86, 24: the first that a record has."""
_ENDS = (("srcaddr", "srcaddrv6"), ("dstaddr", "dstaddrv6"))
_PCAP = struct.Struct("<IHHiIII")


def write_capture(exports: Sequence[Export], path: Path) -> None:
    """Write datagrams as a pcap of raw IPv4 packets (LINKTYPE_RAW), one second apart."""
    with path.open("wb") as out:
        out.write(_PCAP.pack(0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101))
        for number, export in enumerate(exports):
            udp = struct.pack(">HHHH", 50_000, PORT, 8 + len(export.payload), 0) + export.payload
            ends = ipaddress.ip_address(export.source).packed + bytes((127, 0, 0, 1))
            head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), number & 0xFFFF, 0, 64, 17, 0)
            packet = head + ends + udp
            out.write(struct.pack("<IIII", 1_700_000_000 + number, 0, len(packet), len(packet)))
            out.write(packet)


def dissect(
    exports: Sequence[Export], directory: Path
) -> Iterator[tuple[str, ElementTree.Element]]:
    """Yield (source, record) for every data record that tshark shows, as its PDML has it."""
    capture = directory / "exports.pcap"
    write_capture(exports, capture)
    command = [require_peer("tshark"), "-r", str(capture), "-d", f"udp.port=={PORT},cflow"]
    command += ["-T", "pdml", "-n"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        number = -1
        for _, element in ElementTree.iterparse(process.stdout):
            if element.tag != "packet":
                continue
            number += 1
            for record in element.iter("field"):
                if (record.get("show") or "").startswith(("Flow ", "pdu ")):
                    yield exports[number].source, record
            element.clear()


def by_tshark(exports: Sequence[Export], directory: Path) -> BySource:
    """Return what tshark shows, option records too: in their bytes they are records like others."""
    found: dict[str, Found] = {}
    for source, record in dissect(exports, directory):
        named = [((field.get("name") or "").removeprefix("cflow."), field) for field in record]
        # Where an element comes twice, it is the outer header's, then the inner's; what is 0 is
        # not: tshark gives the ports of UDP and of TCP alone (180 to 183) the same name.
        inner = dict(named) | {name: field for name, field in named if field.get("show") != "0"}
        outer = dict(reversed(named))
        ends = [_shown(inner, names) for names in _ENDS]
        ports = (_shown(inner, ("srcport",)), _shown(inner, ("dstport",)))
        key = key_of(ends, ports, _shown(inner, ("protocol",)))
        octets, packets = _first(outer, _OCTETS), _first(outer, _PACKETS)
        # Records without octets are none of traffic; options of a meter count packets too.
        found.setdefault(source, Found()).add(key, octets or 0, packets or 0 if octets else 0)
    return found


def _shown(fields: Mapping[str, ElementTree.Element], names: Sequence[str]) -> str | None:
    """Return the first field that is there and, if it is an address, is not 0."""
    shown = [fields[name].get("show") for name in names if name in fields]
    return next((text for text in shown if text not in ("0.0.0.0", "::")), next(iter(shown), None))


def _first(fields: Mapping[str, ElementTree.Element], names: Sequence[str]) -> int | None:
    values = [fields[name].get("value") for name in names if name in fields]
    return int(values[0] or "0", 16) if values else None


DECODERS: Mapping[str, Callable[[Sequence[Export], Path], BySource]] = {
    "nfdump": by_nfdump,
    "nfacctd": by_nfacctd,
    "goflow2": by_goflow2,
    "tshark": by_tshark,
}
