"""One process works as a role, the others stand by: the role is an advisory lock of a session.

The process works through the very session that holds the lock. Who has lost the connection has
lost the role and cannot write any more, in one and the same moment: no clock, no lease to outlive
(docs/decisions/0506).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event

from billing.adapters import postgres
from billing.adapters.databases import writing
from billing.config import DatabaseConfig


class RoleLostError(Exception):
    """The session that held the role is gone; the process must end, whatever it was doing."""


class Role:
    """A role that this process asks for, and then holds until it ends.

    `engine` has one connection, ever. It serves one thread: a second one would wait for the first.
    """

    def __init__(self, url: str, name: str, *, config: DatabaseConfig, application: str) -> None:
        """Remember where; `take` connects."""
        self.name = name
        self.engine = postgres.open_engine(
            url,
            config,
            application,
            limits={
                "idle_session_timeout": f"{config.role_silence_seconds}s",
                "idle_in_transaction_session_timeout": f"{config.role_silence_seconds}s",
                # What a role looks at again each second is in memory. At the price of a disk's
                # arm the planner would rather read the whole of live_session.
                "random_page_cost": "1.1",
            },
            pool_size=1,
            pool_pre_ping=False,
            pool_recycle=-1,
        )
        _connect_once(self.engine, name)

    def take(self) -> bool:
        """Take the role unless another session has it; return whether it is ours now.

        Call until it is True, then never again. Raises RoleLostError or sqlalchemy's DBAPIError
        where the server is gone.
        """
        with writing(self.engine) as connection:
            taken = connection.exec_driver_sql(
                "select pg_try_advisory_lock(hashtextextended(%s, 0))",
                (f"flowrate role {self.name}",),
            )
            return bool(taken.scalar_one())

    def close(self) -> None:
        """End the session, and with it the role."""
        self.engine.dispose()


def _connect_once(engine: Engine, name: str) -> None:
    """Make every connection of an engine after its first raise RoleLostError."""
    has_connected = False

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, record: Any, arguments: Any, parameters: Any) -> None:
        nonlocal has_connected
        if has_connected:
            raise RoleLostError(f"the connection that held the role {name} is gone")
        has_connected = True
