"""`flowrate vouchers`: make, list, sell and void batches of voucher codes.

The same commands as the API's, on the database itself. Codes go to a new file that only its owner
may read; nothing keeps them.
"""

from __future__ import annotations

import argparse
import csv
import functools
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from sqlalchemy import Connection

from api.cursors import Paging, Slice
from api.instants import to_text
from api.models.values import minor_units
from api.models.vouchers import VoucherBatch, VoucherBatchCreate, VoucherSaleCreate
from api.ports import Services
from api.problems import Problem
from api.reads import parties, vouchers
from api.writes import vouchers as writes
from api.writes.transaction import CommandTransaction
from infra.clock import preparing_clock
from infra.instants import instant, milliseconds
from infra.secrets import open_secrets
from infra.settings import find_file, load_settings
from infra.wiring.commands import change, look
from infra.wiring.web import services

EXIT_REFUSED = 1
_PAGE = 500

T = TypeVar("T")


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 done, 1 refused."""
    options = _parser().parse_args(arguments)
    settings = load_settings(find_file(options.config), options.set)
    now_ms = preparing_clock(settings.data_dir, settings.clock).now_ms
    opened = services(settings, open_secrets(settings.data_dir), now_ms, Counter())
    run: Callable[[Services, argparse.Namespace], int] = options.run
    try:
        return run(opened, options)
    except Problem as problem:
        print(f"flowrate vouchers: {problem.detail}", file=sys.stderr)
    except ValidationError as error:
        for wrong in error.errors():
            field = ".".join(map(str, wrong["loc"]))
            print(f"flowrate vouchers: {field}: {wrong['msg']}", file=sys.stderr)
    except OSError as error:
        print(f"flowrate vouchers: {error.filename}: {error.strerror}", file=sys.stderr)
    finally:
        opened.engine.dispose()
    return EXIT_REFUSED


def _create(opened: Services, options: argparse.Namespace) -> int:
    """Write the codes before the commit: where the file cannot be written there is no batch."""

    def create(transaction: CommandTransaction) -> VoucherBatch:
        branch = parties.get_branch(transaction.connection, None, options.branch)
        body = VoucherBatchCreate.model_validate(
            {
                "name": options.name,
                "branch_id": branch.branch_id,
                "amount_minor": minor_units(options.amount, branch.currency),
                "currency": branch.currency,
                "quantity": options.quantity,
                "expires_at": to_text(milliseconds(options.expires)) if options.expires else None,
            }
        )
        issued = writes.create_batch(transaction, body)
        _write_codes(options.out, issued, issued.codes or [])
        return issued

    batch: VoucherBatch = change(opened, create)
    print(f"{batch.batch_id}: {batch.quantity} codes of {batch.amount.text} in {options.out}")
    return 0


def _write_codes(out: Path, batch: VoucherBatch, codes: Sequence[str]) -> None:
    """Write a CSV file that did not exist, for its owner's eyes."""
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("batch_id", "serial", "code", "amount", "currency"))
        for serial, code in enumerate(codes, 1):
            writer.writerow(
                (batch.batch_id, serial, code, batch.amount.text, batch.amount.currency)
            )
        file.flush()
        os.fsync(file.fileno())


def _list(opened: Services, options: argparse.Namespace) -> int:
    for batch in _all(
        opened, lambda paging, connection: vouchers.list_batches(connection, options.branch, paging)
    ):
        print(_line(batch))
    return 0


def _show(opened: Services, options: argparse.Namespace) -> int:
    now = opened.now_ms()
    print(
        _line(look(opened, lambda connection: vouchers.get_batch(connection, None, options.batch)))
    )
    for one in _all(
        opened,
        lambda paging, connection: vouchers.list_vouchers(
            connection, None, options.batch, paging, now
        ),
    ):
        whom = f" {one.rating_key} {to_text(one.redeemed_at)}" if one.redeemed_at else ""
        print(f"{one.serial:6} {one.state}{whom}")
    return 0


def _all(opened: Services, read: Callable[[Paging, Connection], Slice[T]]) -> Iterator[T]:
    """Yield every item of a list, page by page."""
    cursor: str | None = None
    while True:
        cut = look(opened, functools.partial(read, Paging(_PAGE, cursor)))
        yield from cut.items
        cursor = cut.next_cursor
        if cursor is None:
            return


def _sell(opened: Services, options: argparse.Namespace) -> int:
    def sell(transaction: CommandTransaction) -> VoucherBatch:
        batch = vouchers.find_batch(transaction.connection, None, options.batch)
        paid_minor = minor_units(options.paid, batch.currency)
        sale = VoucherSaleCreate(paid_minor=paid_minor)
        return writes.sell_batch(transaction, options.batch, sale)

    print(_line(change(opened, sell)))
    return 0


def _void(opened: Services, options: argparse.Namespace) -> int:
    def void(transaction: CommandTransaction) -> VoucherBatch:
        if options.serial is None:
            return writes.void_batch(transaction, options.batch)
        return writes.void_voucher(transaction, options.batch, options.serial)

    print(_line(change(opened, void)))
    return 0


def _line(batch: VoucherBatch) -> str:
    marks = [
        f"{word} {to_text(at)}"
        for word, at in (
            ("expires", batch.expires_at),
            ("sold", batch.sold_at),
            ("void since", batch.voided_at),
        )
        if at is not None
    ]
    parts = [
        batch.batch_id,
        batch.branch_id,
        f"{batch.quantity} x {batch.amount.text} {batch.amount.currency}",
        f"{batch.redeemed} redeemed",
        *marks,
        batch.name,
    ]
    return ", ".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="flowrate vouchers", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    create = commands.add_parser("create", help="make a batch and write its codes to a file")
    create.add_argument("--branch", required=True)
    create.add_argument("--name", required=True, help="what the batch is called")
    create.add_argument("--amount", required=True, help="worth of each, such as 500 or 99.50")
    create.add_argument("--quantity", required=True, type=int)
    create.add_argument("--expires", type=instant, help="instant, such as 2027-12-31T00:00+06:00")
    create.add_argument("--out", required=True, type=Path, help="CSV file, which must not exist")
    create.set_defaults(run=_create)

    listed = commands.add_parser("list", help="list batches")
    listed.add_argument("--branch")
    listed.set_defaults(run=_list)

    for name, run, text in (
        ("show", _show, "say of each voucher of a batch whether it is redeemed"),
        ("sell", _sell, "record that a batch was sold"),
        ("void", _void, "void what is left of a batch, or one voucher"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("batch")
        command.set_defaults(run=run)
        if name == "sell":
            command.add_argument("--paid", required=True, help="what the dealer paid in all")
        if name == "void":
            command.add_argument("--serial", type=int, help="only this one")
    return parser
