"""From an unpaid invoice to the NAS and, with the payment, back: real CoA packets on loopback."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from pyrad.packet import CoAACK, CoAPacket, DisconnectACK
from sqlalchemy import Engine, insert

from billing.acting.desired import CommandRequest
from billing.acting.exchange import CoaTarget
from billing.adapters import tables
from billing.adapters.channels import LogChannel
from billing.adapters.coa import UdpCoaTransport, dictionary
from billing.adapters.databases import writing
from billing.adapters.office import ActingLoop
from billing.adapters.rows import write_rows
from billing.config import ActingConfig, OfficeConfig, SpeedProfileConfig
from rating.rows import DesiredService
from tests.billing import world
from tests.billing.acting_world import session
from tests.billing.conftest import NewDatabase
from tests.billing.dunned import Office, found, pay

SECRET = "s3cret"
RESTORED_WITHIN_SECONDS = 3.0
STEPS = [
    {"step_id": "slow", "days": 3, "action": "slow_down", "profile": "slow"},
    {"step_id": "garden", "days": 7, "action": "walled_garden", "profile": "garden"},
    {"step_id": "block", "days": 14, "action": "block"},
]
CONFIG = OfficeConfig(
    acting=ActingConfig(
        speed_profiles=(
            SpeedProfileConfig("full", 50_000_000, 100_000_000, "everybody"),
            SpeedProfileConfig("slow", 1_000_000, 2_000_000, "everybody"),
            SpeedProfileConfig("crawl", 64_000, 64_000, "everybody"),
            SpeedProfileConfig("garden", 2_000_000, 2_000_000, "pay-first"),
        ),
        verify_timeout_seconds=10_000_000,  # nobody measures here
    ),
)


class Router:
    """A NAS on loopback that acknowledges everything and remembers what it was told, and when."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        host, port = self.socket.getsockname()
        self.target = CoaTarget("nas-1", host, port, SECRET, "mikrotik")
        self.told: list[tuple[str, float]] = []
        self.thread = threading.Thread(target=self._answer, daemon=True)
        self.thread.start()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                datagram, source = self.socket.recvfrom(4096)
                request = CoAPacket(packet=datagram, secret=SECRET.encode(), dict=dictionary())
                is_coa = request.code == 43
                said = (
                    f"{request['Mikrotik-Rate-Limit'][0]} {request['Mikrotik-Address-List'][0]}"
                    if is_coa
                    else "disconnect"
                )
                self.told.append((said, time.monotonic()))
                reply = request.CreateReply()
                reply.code = CoAACK if is_coa else DisconnectACK
                self.socket.sendto(reply.ReplyPacket(), source)


class Line:
    """Karim's line, the router that it hangs on, and both halves of the office."""

    def __init__(self, engine: Engine, router: Router) -> None:
        self.engine, self.router = engine, router
        self.office = Office(engine)
        self.now_ms = 0
        self.start_acting()
        with writing(engine) as connection:
            write_rows(connection, [session(session_id="s-karim", subscriber_id="karim")])

    def start_acting(self) -> None:
        """Begin a new process that commands sessions."""
        self.transport = UdpCoaTransport((5_000, 5_000), lambda: self.now_ms)
        self.acting = ActingLoop(
            self.engine, CONFIG, self.transport, lambda _: self.router.target, [LogChannel(None)]
        )

    def act(self, now_ms: int, until_told: int) -> None:
        """Run the acting loop from an instant on, until the router was told so often.

        A second more of its clock shows that it was not told more.
        """
        deadline = time.monotonic() + 20
        self.now_ms, more = now_ms, 0
        while more < 11:
            assert time.monotonic() < deadline, self.router.told
            more = more + 1 if len(self.router.told) >= until_told else 0
            self.acting.run_once(self.now_ms)
            self.now_ms += 100

    def told(self) -> list[str]:
        """Return what the router was told."""
        return [said for said, _ in self.router.told]


@pytest.fixture
def line(new_database: NewDatabase) -> Iterator[Line]:
    engine = new_database()
    found(engine, steps=STEPS)
    router = Router()
    line = Line(engine, router)
    yield line
    line.transport.close()
    router.socket.close()


SLOW = "1000000/2000000 everybody"
GARDEN = "2000000/2000000 pay-first"
FULL = "50000000/100000000 everybody"


def test_slowed_down_walled_in_and_paid(line: Line) -> None:
    line.office.look("2026-12-18")
    line.act(world.at("2026-12-18", 10), 1)
    line.office.look("2026-12-22")
    line.act(world.at("2026-12-22", 10), 2)
    assert line.told() == [SLOW, GARDEN]
    paid_at = time.monotonic()
    pay(line.engine, 115_000, "2026-12-22")
    line.act(world.at("2026-12-22", 12), 3)
    assert line.told() == [SLOW, GARDEN, FULL]
    assert line.router.told[-1][1] - paid_at < RESTORED_WITHIN_SECONDS


def test_it_is_said_why(line: Line) -> None:
    line.office.look("2026-12-18")
    line.act(world.at("2026-12-18", 10), 1)
    with line.engine.connect() as connection:
        reason = connection.scalar(
            tables.command.select().with_only_columns(tables.command.c.reason)
        )
    assert reason == "invoice DHK-INV-000001, due on 2026-12-15, is not paid"


def test_a_new_session_and_a_new_office_find_the_same(line: Line) -> None:
    line.office.look("2026-12-18")
    line.act(world.at("2026-12-18", 10), 1)
    line.transport.close()
    line.start_acting()
    with writing(line.engine) as connection:
        begun = session(session_id="s-karim-2", subscriber_id="karim", acct_session_id="81a1")
        ended = session(session_id="s-karim", subscriber_id="karim", ended_at=1)
        write_rows(connection, [ended, begun])
    line.act(world.at("2026-12-18", 11), 2)
    assert line.told() == [SLOW, SLOW]


def throttle(line: Line, profile: str) -> None:
    request = CommandRequest("r1", "dhk", "karim", "throttle", profile, "Nasrin", 1)
    with writing(line.engine) as connection:
        connection.execute(insert(tables.command_request), [dataclasses.asdict(request)])


def fair_use(line: Line, profile: str) -> None:
    decided = DesiredService("karim", f"profile:{profile}", "fair use", 1)
    with writing(line.engine) as connection:
        write_rows(connection, [decided])


@pytest.mark.parametrize("by", [throttle, fair_use])
@pytest.mark.parametrize(
    ("profile", "first", "dunned", "paid"),
    [
        # A graver throttle stands whatever dunning does, and paying does not undo it.
        ("crawl", "64000/64000 everybody", [], []),
        # A milder one gives way to the walled garden, and comes back with the payment.
        ("slow", SLOW, [GARDEN], [SLOW]),
    ],
)
def test_paying_undoes_neither_a_clerks_nor_a_fair_use_throttle(
    line: Line, by: object, profile: str, first: str, dunned: list[str], paid: list[str]
) -> None:
    assert callable(by)
    by(line, profile)
    line.act(world.at("2026-12-16", 10), 1)
    expected = [first]
    line.office.look("2026-12-18")
    line.act(world.at("2026-12-18", 10), len(expected))
    if profile == "slow":
        line.office.look("2026-12-22")
        expected += dunned
        line.act(world.at("2026-12-22", 10), len(expected))
    pay(line.engine, 115_000, "2026-12-22")
    expected += paid
    line.act(world.at("2026-12-22", 12), len(expected))
    assert line.told() == expected


def test_a_blocked_line_is_ended_and_after_paying_let_alone(line: Line) -> None:
    for day in ("2026-12-18", "2026-12-22", "2026-12-29"):
        line.office.look(day)
    line.act(world.at("2026-12-29", 10), 1)
    assert line.told() == ["disconnect"]
    with writing(line.engine) as connection:
        write_rows(connection, [session(session_id="s-karim", subscriber_id="karim", ended_at=1)])
    pay(line.engine, 115_000, "2026-12-29")
    with writing(line.engine) as connection:
        begun = session(session_id="s-karim-2", subscriber_id="karim", acct_session_id="81a1")
        write_rows(connection, [begun])
    line.act(world.at("2026-12-29", 12), 1)
    assert line.told() == ["disconnect"]
