"""`flowrate nat ADDRESS [PORT]`: who was behind a public address and port at an instant, and why.

ADDRESS is an outside address of a NAT pool, or an inside address: then its outside ports are told.
Read from a running installation, embedded or cluster, without touching it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from infra.clock import preparing_clock
from infra.instants import instant, milliseconds, shown
from infra.settings import find_file, load_settings
from infra.wiring.nat_lookup import NatLookup, open_nat_lookup
from rating.addresses import format_address, format_prefix, pack_address
from rating.nat_evidence import FORMULA, Lent, Question
from rating.nat_pools import CompiledPool

EXIT_REFUSED = 1
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "sctp": 132}
"""Names of protocols that may be given in place of numbers."""
_OTHERS = bytes(16)


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 answered, 1 nobody, or nothing to look into."""
    options = _parser().parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    if options.at is None:
        at_ms = preparing_clock(settings.data_dir, settings.clock).now_ms()
    else:
        at_ms = milliseconds(options.at)
    try:
        with open_nat_lookup(settings) as lookup:
            report = answer(
                lookup, options.address, Question(options.port, options.protocol, at_ms)
            )
    except LookupError as error:
        print(f"flowrate nat: {error.args[0]}", file=sys.stderr)
        return EXIT_REFUSED
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        print("\n".join(_lines(report, settings.rating.attribution.nat_history_days)))
    return 0 if any(found["is_certain"] for found in report["answers"]) else EXIT_REFUSED


def answer(lookup: NatLookup, address: bytes, asked: Question) -> dict[str, Any]:
    """Return what is known of an address (16 octets), as `--json` prints it.

    ``{"address", "port", "protocol", "at", "pool", "is_outside", "answers": [{"outside",
    "first_port", "last_port", "port_step", "protocol", "inside", "evidence", "pool", "since",
    "told_last", "until", "has_end", "is_certain", "subscriber_id", "rating_key", "by",
    "session_id"}]}``; has_end says that until was told and is not only where a translation is given
    up; an inside of "" belongs to a routing instance of others, a subscriber_id of "" is not known.
    """
    pool = lookup.pool_of(address, asked.at_ms)
    if pool is not None:
        found = lookup.inside_of(pool, address, asked)
    else:
        found = lookup.outside_of(address, asked.at_ms)
    return {
        "address": format_address(address),
        "port": asked.port,
        "protocol": asked.protocol or None,
        "at": shown(asked.at_ms),
        "pool": _prefix(pool) if pool else "",
        "is_outside": pool is not None,
        "answers": [_told(lookup, lent, asked.at_ms) for lent in found],
    }


def _told(lookup: NatLookup, lent: Lent, at_ms: int) -> dict[str, Any]:
    """Return one answer: the ports that were held, by whom, and what says so."""
    # Who held the inside address is asked of an instant at which the ports were held.
    if not lent.is_certain and lent.since_at is not None and lent.until_at is not None:
        at_ms = min(max(at_ms, lent.since_at), lent.until_at - 1)
    holder = None if lent.inside == _OTHERS else lookup.holder_of(lent.inside, at_ms)
    who = holder.subscriber_id if holder else ""
    return {
        "outside": format_address(lent.outside),
        "first_port": lent.first_port,
        "last_port": lent.last_port,
        "port_step": lent.port_step,
        "protocol": lent.protocol or None,
        "inside": "" if lent.inside == _OTHERS else format_address(lent.inside),
        "evidence": lent.evidence,
        "pool": lent.pool,
        "since": _instant(lent.since_at),
        "told_last": _instant(lent.seen_at),
        "until": _instant(lent.until_at),
        "has_end": lent.seen_at is not None and lent.until_at != lent.seen_at + lookup.retention_ms,
        "is_certain": lent.is_certain,
        "subscriber_id": who,
        "rating_key": lookup.rating_key(who, at_ms // 60_000) if who else "",
        "by": holder.by if holder else "",
        "session_id": holder.session_id if holder else "",
    }


def _instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else shown(at_ms)


def _prefix(pool: CompiledPool) -> str:
    return format_prefix(pool.outside.address, pool.outside.length)


def _lines(report: dict[str, Any], history_days: int) -> Iterator[str]:
    """Yield the report as lines of text for a terminal."""
    port = "" if report["port"] is None else f" port {report['port']}"
    protocol = "" if report["protocol"] is None else f" protocol {report['protocol']}"
    where = f"outside, NAT pool {report['pool']}" if report["is_outside"] else "in no NAT pool"
    yield f"{report['address']}{port}{protocol} at {report['at']} ({where})"
    certain = [found for found in report["answers"] if found["is_certain"]]
    for found in certain:
        yield from _answer(report, found)
    if not certain:
        yield (
            "  nobody  no formula and no event of a NAT says who held it then"
            f" (what ended is known for {history_days} days)"
        )
    for found in report["answers"]:
        if not found["is_certain"]:
            yield "  in the same minute, not at that instant:"
            yield from _answer(report, found)


def _answer(report: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    step = "" if found["port_step"] == 1 else f", each {found['port_step']}th"
    kind = "" if found["protocol"] is None else f", protocol {found['protocol']}"
    ports = f"ports {found['first_port']} to {found['last_port']}{step}{kind}"
    if report["is_outside"]:
        yield f"  inside  {found['inside'] or 'an address of another routing instance'}"
        yield f"  holds   {ports}"
    else:
        yield f"  outside {found['outside']}, {ports}"
    if found["evidence"] == FORMULA:
        yield f"  because formula of NAT pool {found['pool']}"
    else:
        end = f"until {found['until']}" if found["has_end"] else "no end told"
        again = "" if found["told_last"] == found["since"] else f", again {found['told_last']}"
        yield f"  because event of the NAT: given {found['since']}{again}, {end}"
    if found["subscriber_id"]:
        session = f", session {found['session_id']}" if found["session_id"] else ""
        yield f"  who     {found['subscriber_id']} by {found['by']}{session}"
    elif found["inside"]:
        yield "  who     nobody known by RADIUS or static prefix"


def _address(text: str) -> bytes:
    try:
        return pack_address(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from None


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: expected 0 to 65535")
    return int(text)


def _protocol(text: str) -> int:
    number = PROTOCOLS.get(text.lower(), int(text) if text.isdecimal() else 0)
    if not 1 <= number <= 255:
        names = ", ".join(PROTOCOLS)
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1 to 255 or one of {names}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate nat",
        description="Say who was behind a public address and port at an instant: inside address,"
        " subscriber, and which evidence says so. Of an inside address, say its outside ports.",
        allow_abbrev=False,
    )
    parser.add_argument("address", type=_address, metavar="ADDRESS", help="outside or inside")
    parser.add_argument("port", type=_port, nargs="?", metavar="PORT", help="outside port (any)")
    parser.add_argument("--at", type=instant, metavar="TIME", help="instant with offset (now)")
    parser.add_argument(
        "--protocol", type=_protocol, default=0, help="tcp, udp, … or a number (any)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting"
    )
    return parser
