"""Commands of the operator without the web process: in one transaction, under the same turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection

from api.keys import OPERATOR
from api.ports import Services
from api.writes.transaction import CommandTransaction
from billing.adapters.databases import COMMANDS, reading, take_turns, writing

T = TypeVar("T")


def change(services: Services, command: Callable[[CommandTransaction], T]) -> T:
    """Do one command as the operator and commit it; what it raises rolls everything back."""
    with writing(services.engine) as connection:
        take_turns(connection, COMMANDS)
        return command(CommandTransaction(services, OPERATOR, connection))


def look(services: Services, read: Callable[[Connection], T]) -> T:
    """Return what is read at one moment."""
    with reading(services.engine) as connection:
        return read(connection)
