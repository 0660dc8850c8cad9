"""`flowrate classify ADDRESS…`: whose an address is, and which class traffic with it gets, and why.

Read from a running installation, embedded or cluster, without touching it. An address is looked at
from both sides: as an own end (is it own, who holds it) and as a far end (AS, rules, class).
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infra.clock import preparing_clock
from infra.instants import instant, milliseconds
from infra.settings import Settings, find_file, load_settings
from infra.wiring.lookup import MINUTE_MS, Lookup, open_lookup
from rating.addresses import format_address, pack_address
from rating.asn_table import ALWAYS, AS_TRANS
from rating.classes import Application, FarEnds, Rulebook
from rating.explaining import Answer, Asked, answers, winner_of

EXIT_REFUSED = 1
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "icmpv6": 58, "sctp": 132}
"""Names of protocols that may be given in place of numbers."""

_APPLICATION_ID = re.compile(r"\d+:\d+(:\d+)?")


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 answered, 1 nothing to look into."""
    options = _parser().parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    at_ms = options.at
    if at_ms is None:
        at_ms = preparing_clock(settings.data_dir, settings.clock).now_ms()
    try:
        with open_lookup(settings) as lookup:
            reports = [
                classify(lookup, settings, address, at_ms, options) for address in options.addresses
            ]
    except LookupError as error:
        print(f"flowrate classify: {error.args[0]}", file=sys.stderr)
        return EXIT_REFUSED
    if options.json:
        print(json.dumps(reports, indent=2))
    else:
        print("\n\n".join("\n".join(_lines(report)) for report in reports))
    return 0


def classify(
    lookup: Lookup, settings: Settings, address: bytes, at_ms: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Return what is known of an address (16 octets) at an instant (ms), as `--json` prints it.

    ``{"address", "at", "is_own", "who_order", "holders": [{"by", "subscriber_id", "session_id",
    "rating_key"}], "asn": {"number", "name", "source"}, "application": {"id", "name"} or null,
    "rules": [{"traffic_class", "priority", "prefix", "matches", "unmet", "open"}],
    "traffic_class", "because"}``; numbers that nobody told are null. options has port,
    protocol, dscp, application, asn, exporter. LookupError where an AS file is missing.
    """
    minute = at_ms // MINUTE_MS
    book = lookup.book(minute)
    high, low = (np.array([part], np.uint64) for part in _halves(address))
    asn, source = _asn(lookup, book, (high, low), options.asn)
    application = _application(lookup, options)
    asked = Asked(address, asn, options.port, options.protocol, options.dscp, application)
    found = answers(book.entries(), asked)
    traffic_class, because = winner_of(found)
    name = lookup.asn_name(book.asn_file.match, asn) if asn and book.asn_file else ""
    return {
        "address": format_address(address),
        "at": datetime.datetime.fromtimestamp(minute * 60, datetime.UTC).isoformat(),
        "is_own": bool(book.is_own(high, low)[0]),
        "who_order": list(settings.rating.attribution.who_order),
        "holders": [
            {
                "by": holder.kind,
                "subscriber_id": holder.subscriber_id,
                "session_id": holder.session_id,
                "rating_key": lookup.rating_key(holder.subscriber_id, minute),
            }
            for holder in lookup.holders(address, minute)
        ],
        "asn": {"number": asn, "name": name, "source": source},
        "application": None if application is None else application._asdict(),
        "rules": [_rule(answer) for answer in found],
        "traffic_class": traffic_class,
        "because": _because(because, found),
    }


def _halves(address: bytes) -> tuple[int, int]:
    return int.from_bytes(address[:8], "big"), int.from_bytes(address[8:], "big")


def _asn(
    lookup: Lookup, book: Rulebook, ends: tuple[Any, Any], told: int | None
) -> tuple[int | None, str]:
    """Return the AS number that holds, and who says so; None where nobody does."""
    if book.asn_file is None:
        return told, "the flow" if told is not None else "nobody: no AS file, and no --asn"
    zero = np.zeros(1, np.uint8)
    far = FarEnds(
        high=ends[0],
        low=ends[1],
        asn=np.array([told or 0], np.uint32),
        port=zero.astype(np.uint16),
        protocol=zero,
        dscp=zero,
        application=zero.astype(np.uint32),
    )
    found = int(book.asns_of(far)[0])
    name = lookup.asn_file_name(book.asn_file.match) or book.asn_file.match[:12]
    asks = book.asn_file.target == ALWAYS or told in (None, 0, AS_TRANS)
    if asks and found not in (0, told):
        return found, f"AS file {name}"
    if told is not None:
        return told, "the flow"
    # A flow may bring a number of its own where the file has none.
    return None, f"nobody: AS file {name} has none for it"


def _application(lookup: Lookup, options: argparse.Namespace) -> Application | None:
    """Return the application that was asked for: by id, with the exporter's name of it, or name."""
    if options.application is None:
        return None
    if not _APPLICATION_ID.fullmatch(options.application):
        return Application("", options.application)
    name = ""
    if options.exporter is not None:
        name = lookup.application_name(options.exporter, options.application)
    return Application(options.application, name)


def _rule(answer: Answer) -> dict[str, Any]:
    return {
        "traffic_class": answer.entry.target,
        "priority": answer.entry.priority,
        "prefix": answer.prefix,
        "matches": answer.matches,
        "unmet": list(answer.unmet),
        "open": list(answer.open),
    }


def _because(first: Answer | None, found: Sequence[Answer]) -> str:
    """Return in words why a class wins."""
    before = found if first is None else found[: found.index(first)]
    maybe = [answer.entry.target for answer in before if answer.open and not answer.unmet]
    unless = f", unless {' or '.join(dict.fromkeys(maybe))} matches" if maybe else ""
    if first is None:
        return f"no rule matches{unless}"
    return f"rule {found.index(first) + 1} is the first that matches{unless}"


def _lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield a report as lines of text."""
    yield f"{report['address']} at {report['at']}"
    yield f"  own     {'yes' if report['is_own'] else 'no'}"
    order = ", ".join(report["who_order"])
    if not report["holders"]:
        yield f"  holder  nobody (asked: {order})"
    for number, holder in enumerate(report["holders"]):
        session = f", session {holder['session_id']}" if holder["session_id"] else ""
        pool = holder["rating_key"]
        counted = f", counted with {pool}" if pool != holder["subscriber_id"] else ""
        rank = f"{holder['subscriber_id']} by {holder['by']}{session}{counted}"
        yield f"  {'holder' if number == 0 else 'else':7} {rank}"
    asn = report["asn"]
    told = "unknown" if asn["number"] is None else f"{asn['number']}"
    name = f" {asn['name']}" if asn["name"] else ""
    yield f"  AS      {told}{name} ({asn['source']})"
    if report["application"]:
        told = " ".join(text for text in report["application"].values() if text)
        yield f"  app     {told}"
    for number, rule in enumerate(report["rules"], start=1):
        where = f"prefix {rule['prefix']}" if rule["prefix"] else "any address"
        says = "matches"
        if rule["unmet"]:
            says = f"no: not {', not '.join(rule['unmet'])}"
        elif rule["open"]:
            says = f"if {' and '.join(rule['open'])}"
        head = f"rule {number}"
        yield f"  {head:7} {rule['traffic_class']}, priority {rule['priority']}, {where}: {says}"
    yield f"  class   {report['traffic_class']}: {report['because']}"


def _address(text: str) -> bytes:
    try:
        return pack_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IPv4 or IPv6 address") from None


def _instant(text: str) -> int:
    return milliseconds(instant(text))


def _protocol(text: str) -> int:
    named = PROTOCOLS.get(text.lower())
    return named if named is not None else _number(text, 255)


def _number(text: str, highest: int) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > highest:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 to {highest}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate classify",
        description="Say whose an address is, which AS it belongs to, which rules traffic with it"
        " meets and which class it gets, as a running Flowrate decides it.",
        epilog="What no option tells may be anything: a rule that asks for it shows its if.",
        allow_abbrev=False,
    )
    parser.add_argument("addresses", nargs="+", type=_address, metavar="ADDRESS")
    parser.add_argument("--at", type=_instant, metavar="TIME", help="instant with offset (now)")
    parser.add_argument(
        "--port", type=lambda t: _number(t, 65_535), metavar="N", help="the far end's port"
    )
    parser.add_argument(
        "--protocol", type=_protocol, metavar="P", help=f"number, or {', '.join(PROTOCOLS)}"
    )
    parser.add_argument("--dscp", type=lambda t: _number(t, 63), metavar="N", help="0 to 63")
    parser.add_argument(
        "--application", metavar="APP", help='id, "13:480", or name, as the exporter tells it'
    )
    parser.add_argument(
        "--asn",
        type=lambda t: _number(t.upper().removeprefix("AS"), (1 << 32) - 1),
        metavar="N",
        help="AS number that the flow tells of the address",
    )
    parser.add_argument(
        "--exporter", type=_address, metavar="ADDRESS", help="whose names of applications count"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting"
    )
    return parser
