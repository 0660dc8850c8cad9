"""`flowrate quote --plan PLAN --usage USAGE [--json]`: price usage against a plan, no database."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from billing.explanation import exact_text
from billing.quantities import format_quantity
from billing.quoted_usage import usage_of_document
from billing.quotes import Quote, QuotePeriod, quote, quote_document
from infra.plan_files import FileError, read_members, read_plan
from rating.document_errors import DocumentError
from rating.money import format_minor
from rating.periods import zone
from rating.plans import OCTETS_PER_GIGABYTE

EXIT_REFUSED = 1
_WIDTH = 78


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 priced, 1 a file cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        plan = read_plan(options.plan)
        members = read_members(options.usage)
    except FileError as error:
        print(error, file=sys.stderr)
        return EXIT_REFUSED
    try:
        quoted = quote(plan, usage_of_document(members))
    except DocumentError as error:
        print(f"{options.usage}: {error}", file=sys.stderr)
        return EXIT_REFUSED
    if options.json:
        print(json.dumps(quote_document(quoted), indent=2, ensure_ascii=False))
    else:
        print("\n".join(lines_of(quoted)))
    return 0


def lines_of(quoted: Quote) -> Iterator[str]:
    """Yield a quote as text."""
    plan = quoted.plan
    yield f"{plan.name} ({plan.plan_id}), {plan.currency}, {quoted.timezone}"
    for period in quoted.periods:
        yield ""
        yield f"{period.start_on} to {period.end_on} (not included)"
        yield from _period_lines(quoted, period)
    if quoted.happenings:
        yield ""
        yield "On the way"
        for one in quoted.happenings:
            moment = datetime.datetime.fromtimestamp(one.at / 1000, zone(quoted.timezone))
            yield f"  {moment:%Y-%m-%d %H:%M}  {one.text}"


def _period_lines(quoted: Quote, period: QuotePeriod) -> Iterator[str]:
    plan = quoted.plan
    gigabyte = OCTETS_PER_GIGABYTE[plan.octets_unit]
    for line in period.lines:
        quantity = format_quantity(line.quantity, line.unit, gigabyte)
        title = f"{line.description}, {quantity}" if quantity else line.description
        yield _row(f"  {title}", format_minor(line.amount_minor, plan.currency))
        for step in line.steps:
            amount = "" if step.amount is None else exact_text(step.amount, plan.currency)
            yield _row(f"      {step.text}", amount)
        exact = exact_text(line.amount, plan.currency)
        yield _row("      rounded once, half-up, from", exact)
    for tax in period.taxes:
        words = "included in it" if tax.is_inclusive else "on"
        net = format_minor(tax.net_minor, plan.currency)
        text = f"  tax {tax.percent} %, {words} {net}"
        yield _row(text, format_minor(tax.tax_minor, plan.currency))
    words = "taken from the balance" if plan.kind == "prepaid" else "total"
    yield _row(f"  {words}", format_minor(period.total_minor, plan.currency))


def _row(text: str, amount: str) -> str:
    return f"{text:<{_WIDTH - 14}}{amount:>14}" if amount else text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate quote",
        description="Price usage against a plan, without a database, and say why.",
        allow_abbrev=False,
    )
    parser.add_argument("--plan", required=True, type=Path, metavar="PLAN", help=".toml or .json")
    parser.add_argument("--usage", required=True, type=Path, metavar="USAGE", help=".toml or .json")
    parser.add_argument("--json", action="store_true", help="print the quote as JSON")
    return parser
