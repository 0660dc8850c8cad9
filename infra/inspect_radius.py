"""`flowrate inspect radius FILE…`: what captures of RADIUS hold, by the real decoder.

A file is a pcap or pcapng, one raw packet, or raw packets one after another. Broken packets are
shown too, with the reason and the attributes that stand before the fault.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from collectors.captures import is_capture, read_capture
from collectors.radius.accounting import unique_session_id
from collectors.radius.attributes import (
    AttributeKind,
    attribute_name,
    render_kind,
    render_value,
)
from collectors.radius.dictionary import read_dictionary
from collectors.radius.packet import (
    ACCOUNTING_REQUEST,
    CODES,
    HEADER_OCTETS,
    REQUESTS,
    Attribute,
    Packet,
    decode_packet,
    verify_request,
    verify_response,
)
from collectors.radius.vendors import (
    EXTENDED,
    VENDOR_SPECIFIC,
    VendorAttribute,
    decode_extended,
    decode_vendor,
)
from rating.addresses import format_address

PORTS = frozenset((1645, 1646, 1700, 1812, 1813, 3799))
"""UDP ports whose datagrams are RADIUS: authentication, accounting and CoA, old and new."""

_NO_ADDRESS = bytes(16)

Kinds = Mapping[tuple[int, int], AttributeKind]
"""(vendor, number) -> name and kind, from dictionaries."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """One datagram that may be RADIUS; addresses are 16 octets, all zero in a raw file."""

    source_address: bytes
    source_port: int
    destination_port: int
    octets: bytes


class Inspection:
    """Decodes datagrams in order; with a secret, also says who made them with it."""

    def __init__(self, secret: str = "", kinds: Kinds | None = None) -> None:
        """Take the shared secret ("" for none) and the names of vendors' attributes."""
        self._secret = secret.encode()
        self._kinds = kinds or {}
        self._requests: dict[tuple[int, int, int], Packet] = {}
        self._packets: list[dict[str, Any]] = []
        self._refused: dict[str, int] = {}
        self._skipped: dict[str, int] = {}

    def add(self, sent: Sent) -> None:
        """Decode one datagram."""
        packet = decode_packet(sent.octets)
        is_authentic, reason = self._authenticity(sent, packet)
        reason = packet.fault or reason
        if reason:
            self._refused[reason] = self._refused.get(reason, 0) + 1
        shown: dict[str, Any] = {
            "source": _endpoint(sent.source_address, sent.source_port),
            "destination_port": sent.destination_port,
            "code": packet.code,
            "name": CODES.get(packet.code),
            "identifier": packet.identifier,
            "length": packet.length,
            "authenticator": packet.authenticator.hex(),
            "attributes": [self._attribute(each) for each in packet.attributes],
            "valid": not packet.fault,
            "authentic": is_authentic,
            "reason": reason,
        }
        if packet.code == ACCOUNTING_REQUEST and not packet.fault:
            shown["unique_session_id"] = unique_session_id(packet)
        self._packets.append(shown)

    def skip(self, reason: str, count: int) -> None:
        """Count what a capture held and no packet could be read from."""
        self._skipped[reason] = self._skipped.get(reason, 0) + count

    def report(self) -> dict[str, Any]:
        """Return the packets and totals as documented in `inspect`."""
        codes: dict[str, int] = {}
        for shown in self._packets:
            name = shown["name"] or f"code {shown['code']}"
            codes[name] = codes.get(name, 0) + 1
        totals = {
            "packets": len(self._packets),
            "valid": sum(shown["valid"] for shown in self._packets),
            "codes": dict(sorted(codes.items())),
            "refused": dict(sorted(self._refused.items())),
            "skipped": dict(sorted(self._skipped.items())),
        }
        return {"packets": self._packets, "totals": totals}

    def _authenticity(self, sent: Sent, packet: Packet) -> tuple[bool | None, str]:
        """Return whether the secret made it (None: cannot be told), and why not."""
        if packet.fault or not self._secret:
            return None, ""
        if packet.code in REQUESTS:
            key = (sent.source_port, sent.destination_port, packet.identifier)
            self._requests[key] = packet
            reason = verify_request(sent.octets, packet, self._secret)
        else:
            key = (sent.destination_port, sent.source_port, packet.identifier)
            request = self._requests.get(key)
            if request is None:
                return None, ""
            reason = verify_response(sent.octets, packet, request, self._secret)
        return (None, "") if reason == "unverifiable" else (not reason, reason)

    def _attribute(self, attribute: Attribute) -> dict[str, Any]:
        attribute_type, value = attribute
        shown: dict[str, Any] = {
            "type": attribute_type,
            "name": attribute_name(attribute_type),
            "value": value.hex(),
            "text": render_value(attribute_type, value),
        }
        inner: list[VendorAttribute] | None = None
        if attribute_type == VENDOR_SPECIFIC:
            shown["vendor"] = int.from_bytes(value[:4], "big")
            inner = decode_vendor(value)
        elif attribute_type in EXTENDED:
            extended = decode_extended(value)
            inner = [extended] if extended else None
        if inner is not None:
            shown["vendor_attributes"] = [self._vendor_attribute(each) for each in inner]
        return shown

    def _vendor_attribute(self, attribute: VendorAttribute) -> dict[str, Any]:
        kind = self._kinds.get((attribute.vendor, attribute.number))
        name = f"Vendor-{attribute.vendor}-Attribute-{attribute.number}"
        return {
            "vendor": attribute.vendor,
            "number": attribute.number,
            "name": kind.name if kind else name,
            "value": attribute.value.hex(),
            "text": render_kind(kind.kind, attribute.value, kind.values)
            if kind
            else f"0x{attribute.value.hex()}",
        }


def _endpoint(address: bytes, port: int) -> str:
    if address == _NO_ADDRESS:
        return ""
    shown = format_address(address)
    return f"[{shown}]:{port}" if ":" in shown else f"{shown}:{port}"


def split_packets(octets: bytes) -> list[bytes]:
    """Return the packets of a raw file: several where their lengths fill it exactly, else one."""
    packets = []
    at = 0
    while at + HEADER_OCTETS <= len(octets):
        length = int.from_bytes(octets[at + 2 : at + 4], "big")
        if length < HEADER_OCTETS:
            break
        packets.append(octets[at : at + length])
        at += length
    return packets if at == len(octets) and packets else [octets]


def inspect(
    paths: Sequence[Path],
    *,
    secret: str = "",
    ports: frozenset[int] = PORTS,
    kinds: Kinds | None = None,
) -> dict[str, Any]:
    """Return what the files hold, in order, as one run.

    ``{"packets": [{"source", "destination_port", "code", "name", "identifier", "length",
    "authenticator", "attributes": [{"type", "name", "value" (hex), "text", "vendor",
    "vendor_attributes"}], "valid", "authentic", "reason", "unique_session_id"}], "totals":
    {"packets", "valid", "codes": {name: count}, "refused": {reason: count}, "skipped": {reason:
    count}}}``. authentic is null without a secret or where the packet alone cannot tell;
    unique_session_id is an Accounting-Request's, as FreeRADIUS has it. Of a capture, datagrams from
    or to one of `ports` are read. Raises OSError where a file cannot be read.
    """
    inspection = Inspection(secret, kinds)
    for path in paths:
        octets = path.read_bytes()
        if not is_capture(octets):
            for packet in split_packets(octets):
                inspection.add(Sent(_NO_ADDRESS, 0, 0, packet))
            continue
        capture = read_capture(octets)
        for each in capture.datagrams:
            if each.source_port in ports or each.local_port in ports:
                inspection.add(
                    Sent(each.source_address, each.source_port, each.local_port, each.payload)
                )
            else:
                inspection.skip("other_udp", 1)
        for reason, count in capture.skipped.items():
            inspection.skip(reason, count)
    return inspection.report()


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield the report as lines of text for a terminal."""
    for shown in report["packets"]:
        where = (
            f"{shown['source']} to port {shown['destination_port']}: " if shown["source"] else ""
        )
        name = shown["name"] or f"code {shown['code']}"
        verdict = f", REFUSED: {shown['reason']}" if shown["reason"] else ""
        if shown["authentic"]:
            verdict = ", authentic"
        yield f"{where}{name}, id {shown['identifier']}, {shown['length']} octets{verdict}"
        for attribute in shown["attributes"]:
            if "vendor_attributes" in attribute:
                for inner in attribute["vendor_attributes"]:
                    yield f"    {inner['name']} = {inner['text']}"
            else:
                yield f"    {attribute['name']} = {attribute['text']}"
    totals = report["totals"]
    yield f"{totals['packets']:,} packets, {totals['valid']:,} well-formed"
    for title in ("codes", "refused", "skipped"):
        for reason, count in totals[title].items():
            yield f"{title}: {reason}: {count:,}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, or 1 where a file cannot be read."""
    parser = argparse.ArgumentParser(
        prog="flowrate inspect radius",
        description="Decode RADIUS from captures (pcap, pcapng) or files of raw packets; several "
        "files are one run in the given order.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.add_argument("--secret", default="", help="verify authenticators with this secret")
    parser.add_argument(
        "--port", type=int, action="append", help="a UDP port of RADIUS (default: the usual ones)"
    )
    parser.add_argument(
        "--dictionary",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="name vendors' attributes by a FreeRADIUS dictionary",
    )
    options = parser.parse_args(arguments)
    try:
        lines = [
            line for path in options.dictionary for line in path.read_text("utf-8").splitlines()
        ]
        report = inspect(
            options.files,
            secret=options.secret,
            ports=frozenset(options.port) if options.port else PORTS,
            kinds=read_dictionary(lines).kinds(),
        )
    except OSError as error:
        print(f"flowrate: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"flowrate: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report, indent=2) if options.json else "\n".join(_lines(report)))
    return 0
