"""`flowrate inspect flows FILE…`: what captures of NetFlow, IPFIX and sFlow hold, by the decoder.

Several files are one run in the given order: templates of one file decode the data of the next.
octets and packets are of the wire (`exported`) and times the sampling rate (`scaled`); which
element counts is decision 0101.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collectors.adapters.captures import read_file
from collectors.datagrams import Datagram, decode_datagrams, encode_datagrams
from collectors.netflow.config import FlowDecodeConfig
from collectors.netflow.counting import Counting
from collectors.netflow.decoder import COUNTED, Decoded, decode
from collectors.netflow.flows import Flows
from collectors.netflow.state import HELD, PROGRESS, split_session_key
from collectors.sflow.counters import InterfaceCounters, read_interfaces
from collectors.sflow.decoder import COUNTED as SAMPLES
from collectors.sflow.headers import SFLOW5
from infra.inspect_records import named_records, packet_lines, record_lines, sampled_packets
from rating.addresses import format_address
from rating.ports import MemoryState, StepResult

DATAGRAMS_PER_BLOCK = 4_096
FOREVER_SECONDS = 1 << 33

PROTOCOLS: Mapping[int, str] = {
    1: "netflow1", 5: "netflow5", 7: "netflow7", 9: "netflow9", 10: "ipfix", SFLOW5: "sflow5",
    0: "unknown",
}  # fmt: skip

SUMS = (
    "datagrams", "templates", "data_records", "option_records", "flows",
    "octets_exported", "octets_scaled", "packets_exported", "packets_scaled",
    "octets_reverse", "octets_counted", "repeated", "held", "lost", "clock_corrected",
)  # fmt: skip
"""Numbers of an exporter, and of the totals, in the order in which they are shown."""

_Sender = tuple[bytes, int, int, int]


class Inspection:
    """One run of the decoder over datagrams from anywhere, and its sums per exporter."""

    def __init__(self, config: FlowDecodeConfig | None = None) -> None:
        """Start with no template known; data waits for its template as long as the run lasts."""
        self._config = config or FlowDecodeConfig(
            held_seconds=FOREVER_SECONDS, template_expiry_seconds=0
        )
        self._state = MemoryState()
        self._sums: dict[_Sender, dict[str, int]] = {}
        self._samples: dict[_Sender, dict[str, int]] = {}
        self._refused: dict[_Sender, dict[str, int]] = {}
        self._interfaces: dict[tuple[bytes, int, int], InterfaceCounters] = {}

    def add(self, datagrams: Sequence[Datagram]) -> None:
        """Decode datagrams, which follow those added before."""
        for first in range(0, len(datagrams), DATAGRAMS_PER_BLOCK):
            part = datagrams[first : first + DATAGRAMS_PER_BLOCK]
            block = decode_datagrams(encode_datagrams(part))
            decoded = decode(self._state, block, watermark_at=0, config=self._config)
            counting = Counting(self._state, self._config)
            counted = counting.count(decoded.flows, decoded.origins)
            changes = [*decoded.changes, *counting.changes(0)]
            self._state.apply(StepResult(changes=changes))
            self._count(decoded, counted)
            for found in read_interfaces(block, self._config):
                self._interfaces[found.exporter, found.sub_agent, found.index] = found

    def refuse(self, sender: _Sender, reason: str, count: int) -> None:
        """Count what never reached the decoder."""
        self._of(sender)
        refused = self._refused[sender]
        refused[reason] = refused.get(reason, 0) + count

    def _of(self, sender: _Sender) -> dict[str, int]:
        """Return the sums of a sender, zero at first."""
        self._refused.setdefault(sender, {})
        self._samples.setdefault(sender, dict.fromkeys(SAMPLES, 0))
        return self._sums.setdefault(sender, dict.fromkeys(SUMS, 0))

    def _count(self, decoded: Decoded, counted: Flows) -> None:
        """Add what one block held, and what of it counts."""
        senders = [(o.address, o.source_port, o.version, o.domain) for o in decoded.origins]
        for (number, name), count in decoded.counts.items():
            if name not in COUNTED:
                self.refuse(senders[number], name, count)
            elif name in SAMPLES:
                self._of(senders[number])
                self._samples[senders[number]][name] += count
            elif name in SUMS:
                self._of(senders[number])[name] += count
        flows = decoded.flows
        origin = flows.origin
        for number in np.unique(origin).tolist():
            mine = origin == number
            sums = self._of(senders[number])
            sums["flows"] += int(mine.sum())
            for name in ("octets", "packets"):
                values = getattr(flows, name)
                sums[f"{name}_exported"] += int(values[mine].sum())
                sums[f"{name}_scaled"] += int(flows.scaled(values)[mine].sum())
            sums["octets_reverse"] += int(flows.octets_reverse[mine].sum())
            sums["repeated"] += int(mine.sum())
        both = counted.scaled(counted.octets) + counted.scaled(counted.octets_reverse)
        origin = counted.origin
        for number in np.unique(origin).tolist():
            mine = origin == number
            sums = self._of(senders[number])
            sums["repeated"] -= int(mine.sum())
            sums["octets_counted"] += int(both[mine].sum())

    def report(self) -> dict[str, Any]:
        """Return the exporters and totals as documented in `inspect`."""
        for _, held in self._state.scan(HELD):
            address, version, domain = split_session_key(held.session)
            self._of((address, held.source_port, version, domain))["held"] += 1
        skews = {
            split_session_key(key): progress.clock.skew
            for key, progress in self._state.scan(PROGRESS)
        }
        exporters: list[dict[str, Any]] = []
        totals: dict[str, Any] = dict.fromkeys(SUMS, 0)
        samples = dict.fromkeys(SAMPLES, 0)
        refused: dict[str, int] = {}
        for sender in sorted(self._sums):
            address, source_port, version, domain = sender
            sums = self._sums[sender]
            sums["lost"] = max(0, sums["lost"])
            found: dict[str, Any] = {}
            if version == SFLOW5:
                found["samples"] = self._samples[sender]
                found["interfaces"] = self._interfaces_of(address, domain)
            exporters.append(
                {
                    "exporter": format_address(address),
                    "source_port": source_port,
                    "protocol": PROTOCOLS.get(version, "unknown"),
                    "observation_domain": domain,
                    "clock_skew_ms": skews.get((address, version, domain), 0),
                    **{name: sums[name] for name in SUMS},
                    **found,
                    "refused": dict(sorted(self._refused[sender].items())),
                }
            )
            for name in SUMS:
                totals[name] += sums[name]
            for name in SAMPLES:
                samples[name] += self._samples[sender][name]
            for reason, count in self._refused[sender].items():
                refused[reason] = refused.get(reason, 0) + count
        totals["samples"] = samples
        totals["refused"] = dict(sorted(refused.items()))
        return {"exporters": exporters, "totals": totals}

    def _interfaces_of(self, address: bytes, domain: int) -> list[dict[str, Any]]:
        """Return the last counters of each interface of an sFlow agent, by ifIndex."""
        return [
            {
                "index": index,
                "name": found.name,
                "speed": found.speed,
                "is_up": found.is_up,
                "is_running": found.is_running,
                **found.counts,
            }
            for (exporter, sub_agent, index), found in sorted(self._interfaces.items())
            if (exporter, sub_agent) == (address, domain)
        ]


def inspect(paths: Sequence[Path | str], *, port: int | None = None) -> dict[str, Any]:
    """Return what the files hold, by exporter, and in total.

    ``{"exporters": [{"exporter", "source_port", "protocol", "observation_domain", "clock_skew_ms",
    "datagrams", "templates", "data_records", "option_records", "flows", "octets_exported",
    "octets_scaled", "packets_exported", "packets_scaled", "octets_reverse", "octets_counted",
    "repeated", "held", "lost", "clock_corrected", "refused": {reason: count}}], "totals": {the
    same sums}}``. octets_reverse is the other direction of biflows, as exported; octets_counted is
    what would be billed, both directions, scaled; repeated is records that say nothing new of
    their flow. held is data sets whose template never came; lost is flows (v5), datagrams (v9,
    sFlow) or records (IPFIX) that the sequence numbers miss; clock_skew_ms is how far the
    exporter's clock is ahead of the capture's, at its end, and clock_corrected the datagrams whose
    times are corrected for it. An sFlow agent has also ``"samples": {kind: count}``, as the totals
    have, and ``"interfaces": [{"index", "name", …}]``, their counters null where it does not count.
    Raises OSError where a file cannot be read.
    """
    inspection = Inspection()
    for path in paths:
        inspection.add(read_file(Path(path), port=port).datagrams)
    return inspection.report()


def _table(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the report as lines of text for a terminal."""
    header = ("exporter", "port", "protocol", "domain", *SUMS)
    rows: list[tuple[str, ...]] = [header]
    for exporter in report["exporters"]:
        rows.append(
            (
                exporter["exporter"],
                str(exporter["source_port"]),
                exporter["protocol"],
                str(exporter["observation_domain"]),
                *(f"{exporter[name]:,}" for name in SUMS),
            )
        )
    rows.append(("total", "", "", "", *(f"{report['totals'][name]:,}" for name in SUMS)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        texts = zip(row, widths, strict=True)
        yield "  ".join(
            text.ljust(width) if column in (0, 2) else text.rjust(width)
            for column, (text, width) in enumerate(texts)
        ).rstrip()
    for exporter in report["exporters"]:
        if exporter["clock_corrected"]:
            name, skew = exporter["exporter"], exporter["clock_skew_ms"] / 1000
            yield f"clock: {name} is {abs(skew):,.1f} s {'ahead' if skew > 0 else 'behind'}"
    yield from _sampled_lines(report)
    for reason, count in report["totals"]["refused"].items():
        yield f"refused: {reason}: {count:,}"


def _sampled_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what sFlow agents said beside the packets that they sampled."""
    for name, count in report["totals"]["samples"].items():
        if count:
            yield f"sFlow: {name.replace('_', ' ')}: {count:,}"
    for exporter in report["exporters"]:
        for interface in exporter.get("interfaces", ()):
            yield f"sFlow: {exporter['exporter']}: {_interface_line(interface)}"


def _interface_line(interface: Mapping[str, Any]) -> str:
    """Return an interface's counters as a line of text."""
    state = "up" if interface["is_up"] and interface["is_running"] else "down"
    name = f" ({interface['name']})" if interface["name"] else ""
    octets = " and ".join(
        f"{way} {'?' if interface[key] is None else format(interface[key], ',')}"
        for way, key in (("in", "octets_in"), ("out", "octets_out"))
    )
    speed = interface["speed"] // 1_000_000
    return f"interface {interface['index']}{name}, {state}, {speed:,} Mbit/s, octets {octets}"


def _print_records(paths: Sequence[Path], limit: int, options: argparse.Namespace) -> None:
    """Print records as text, or each as a line of JSON."""
    datagrams = [d for path in paths for d in read_file(path, port=options.port).datagrams]
    for told in named_records(datagrams, limit):
        print(json.dumps(told) if options.json else "\n".join(record_lines(told)))
    for told in sampled_packets(datagrams, limit):
        print(json.dumps(told) if options.json else "\n".join(packet_lines(told)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 1 where a file cannot be read."""
    parser = argparse.ArgumentParser(
        prog="flowrate inspect flows",
        description="Decode NetFlow v1, v5, v7, v9, IPFIX and sFlow v5 from captures (pcap, "
        "pcapng), files of one raw datagram, or streams of messages; several files are one run, "
        "in order.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--port", type=int, help="only datagrams to this UDP port of a capture")
    parser.add_argument(
        "--records",
        type=int,
        metavar="N",
        help="show the first N records of each template, and packets of each sFlow agent, by name",
    )
    options = parser.parse_args(arguments)
    try:
        if options.records is not None:
            _print_records(options.files, options.records, options)
            return 0
        report = inspect(options.files, port=options.port)
    except OSError as error:
        print(f"flowrate: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(_table(report)))
    return 0
