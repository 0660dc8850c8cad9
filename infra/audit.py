"""`flowrate audit verify`: is the ledger, and the log of who changed what, as it was written?"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from billing.audit import Break
from billing.ledger import ChainLink
from infra.settings import find_file, load_settings
from infra.wiring.auditing import verify_chains

EXIT_REFUSED = 1


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 all chains are whole, 1 one is broken."""
    options = _parser().parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    try:
        remembered = read_heads(options.against) if options.against else {}
        found = verify_chains(settings, remembered)
    except (OSError, ValueError) as error:
        print(f"flowrate: {options.against}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except DBAPIError as error:
        print(f"flowrate: the database refuses: {error.orig}", file=sys.stderr)
        return EXIT_REFUSED
    heads = {name: {"number": h.number, "hash": h.hash} for name, h in found.heads.items()}
    if options.json:
        print(json.dumps({"heads": heads, "breaks": [_shown(b) for b in found.breaks]}, indent=2))
    else:
        for name, head in found.heads.items():
            if name not in {broken.chain for broken in found.breaks}:
                print(f"{name}: whole, {head.number} rows, ends with {head.hash}")
        for broken in found.breaks:
            print(broken)
        if not found.heads and not found.breaks:
            print("nothing is written yet")
    return EXIT_REFUSED if found.breaks else 0


def read_heads(file: Path) -> dict[str, ChainLink]:
    """Return the heads of an earlier `--json` output. OSError; ValueError where it is none."""
    try:
        heads: Mapping[str, Any] = json.loads(file.read_text("utf-8"))["heads"]
        return {name: ChainLink(int(h["number"]), str(h["hash"])) for name, h in heads.items()}
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError("expected the output of `flowrate audit verify --json`") from None


def _shown(broken: Break) -> dict[str, Any]:
    return {
        "chain": broken.chain,
        "number": broken.number,
        "row": broken.name,
        "what": broken.what,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate audit verify",
        description="Check the hash chains of the ledger and of the audit log, and name the first"
        " row of each that was altered, deleted, inserted or moved.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print heads and breaks as JSON")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="an earlier --json output, kept elsewhere: also finds a chain that was made anew",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="one setting"
    )
    return parser
