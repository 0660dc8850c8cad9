"""A small ISP for stories: who logs in, what they use, what the clock says, what the bill says.

Behind it stand real packets, the real stages, API and office (`tests.simulation.world`); time is
virtual, so a story of an hour takes a second. At the end of every story the independent auditor
agrees (`agree`).
"""

from __future__ import annotations

import dataclasses
import datetime
import zoneinfo
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from billing.acting.exchange import CoaAnswer, CoaRequest, CoaTarget
from billing.adapters.channels import LogChannel
from billing.adapters.coa import decode_answer, encode_request
from billing.adapters.office import ActingLoop, BillingLoop, OfficeLoop
from billing.config import ActingConfig, BillingConfig, OfficeConfig, SpeedProfileConfig
from infra.simulation.accounting_packets import NasIdentity, ServiceChange, answer_change
from infra.simulation.network import REMOTES, AccountingEvent, FlowRecord, NetworkConfig
from tests.simulation.business import DHANMONDI, Business
from tests.simulation.catalog import document_of
from tests.simulation.comparison import differences
from tests.simulation.tariffs import Tariff
from tests.simulation.world import NAS_ADDRESS, SECRET, World, WorldConfig

MEGABYTE = 1_000_000
ZONE = zoneinfo.ZoneInfo("Asia/Dhaka")
LATENESS_SECONDS = 120
INTERIM_SECONDS = 10
OFFICE_INTERVAL_SECONDS = 5

_OFFICE = OfficeConfig(
    billing=BillingConfig(interval_seconds=1.0),
    acting=ActingConfig(
        speed_profiles=(
            SpeedProfileConfig("full", 100_000_000, 100_000_000),
            SpeedProfileConfig("slow", 1_000_000, 1_000_000),
        ),
        verify_timeout_seconds=60,
    ),
)


@dataclasses.dataclass(slots=True)
class _Session:
    login: str
    address: str
    acct_session_id: str
    started_seconds: int
    octets: int = 0
    wanted: int = 0
    per_second: int = 0
    traffic_class: str = "international"
    limit_bps: int | None = None


class Isp:
    """The whole of it. Local time is Dhaka's; the story begins on 30 November at `starts`."""

    def __init__(self, directory: Path, starts: str = "23:50:00") -> None:
        """Open for business, with no plans and nobody connected."""
        first = datetime.datetime.fromisoformat(f"2026-11-30 {starts}").replace(tzinfo=ZONE)
        network = NetworkConfig(subscribers=0, interim_interval_seconds=INTERIM_SECONDS)
        config = WorldConfig(
            seed=1,
            start_seconds=int(first.timestamp()),
            lateness_seconds=LATENESS_SECONDS,
            network=network,
        )
        self.world = World(directory, config)
        self.business = Business(self.world, "Asia/Dhaka", LATENESS_SECONDS * 1000, ())
        self._notices = directory / "notifications.log"
        database = self.world.database
        acting = ActingLoop(
            database,
            _OFFICE,
            _NasAtHand(self),
            lambda session: CoaTarget(session.nas_id, NAS_ADDRESS, 3799, SECRET, "mikrotik"),
            [LogChannel(self._notices)],
        )
        self._office = OfficeLoop(BillingLoop(database, _OFFICE.billing), acting)
        self._sessions: dict[str, _Session] = {}
        self._session_count = 0
        self._events: list[AccountingEvent] = []

    def close(self) -> None:
        """Shut the doors."""
        self.business.close()
        self.world.close()

    # -- the office ----------------------------------------------------------------------------

    def sell(self, tariff: Tariff, **more: Any) -> None:
        """Put a plan on the price list; more are further members of its document."""
        self.business.publish(tariff, {**document_of(tariff, DHANMONDI.currency), **more})

    # -- the line ------------------------------------------------------------------------------

    def log_in(self, login: str, address: str = "") -> None:
        """Begin a session: the NAS sends a Start."""
        self._session_count += 1
        session = _Session(
            login,
            address or f"100.64.3.{self._session_count}",
            f"s{self._session_count:04d}",
            self.world.seconds + 1,
        )
        self._sessions[login] = session
        self._events.append(_report(session, "start", self.world.seconds + 1))

    def log_out(self, login: str) -> None:
        """End a session: the NAS sends a Stop with the last counters."""
        session = self._sessions.pop(login)
        self._events.append(_report(session, "stop", self.world.seconds + 1))

    def use(
        self, login: str, megabytes: float, seconds: int = 60, traffic_class: str = "international"
    ) -> None:
        """Download that much, evenly over so many seconds, and let that time pass."""
        session = self._sessions[login]
        session.wanted = round(megabytes * MEGABYTE)
        session.per_second = -(-session.wanted // seconds)
        session.traffic_class = traffic_class
        self.wait(seconds)

    def reboot_nas(self, boot_id: str) -> None:
        """The NAS loses power: no Stop for anybody, then Accounting-On."""
        self._sessions.clear()
        self.world.reboot_nas(boot_id)

    def cut_off_nas(self) -> None:
        """Nothing of the NAS reaches us any more, nor our answers the NAS."""
        self.world.is_nas_cut_off = True

    def reconnect_nas(self) -> None:
        """The NAS reaches us again and sends what it kept."""
        self.world.is_nas_cut_off = False

    def change_service(self, change: ServiceChange) -> bool:
        """Do as a CoA or Disconnect asks; return whether there is such a session."""
        for session in list(self._sessions.values()):
            if change.acct_session_id in ("", session.acct_session_id):
                if change.is_disconnect:
                    self.log_out(session.login)
                session.limit_bps = change.rate_down_bps or session.limit_bps
                return True
        return False

    def speed_of(self, login: str) -> int | None:
        """Return the download limit that the NAS holds for a session, bit/s; None: no limit."""
        return self._sessions[login].limit_bps

    # -- time ----------------------------------------------------------------------------------

    def wait(self, seconds: int) -> None:
        """Let seconds pass."""
        for _ in range(seconds):
            self._second()

    def until(self, clock: str) -> None:
        """Let time pass until the local clock next shows hh:mm:ss; then everybody has seen it."""
        while self._local().strftime("%H:%M:%S") != clock:
            self._second()
        self.settle()

    def settle(self) -> None:
        """Let the engine take what is there, and the office act on it."""
        self.world.run_engine()
        self._office.run_once(self.world.now_ms())

    def close_month(self) -> None:
        """Go on to when the last finished month is closed and its invoices are made."""
        period = self.business.auditor.period_of(self.world.now_ms())
        if self.world.now_ms() >= period[0] + LATENESS_SECONDS * 1000:
            close_at = self.business.auditor.close_at(period)
        else:
            close_at = period[0] + LATENESS_SECONDS * 1000
        self.world.jump(max(close_at // 1000 + 1, self.world.seconds + 60))
        for _ in range(3):
            self.world.seconds += OFFICE_INTERVAL_SECONDS
            self.settle()

    def _local(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.world.seconds, ZONE)

    def _second(self) -> None:
        now = self.world.seconds + 1
        events, self._events = self._events, []
        flows = []
        for session in self._sessions.values():
            flows += _use(session, now)
            age = now - session.started_seconds
            if age > 0 and age % INTERIM_SECONDS == 0:
                events.append(_report(session, "interim", now))
        self.world.second(events, flows)
        if now % OFFICE_INTERVAL_SECONDS == 0:
            self._office.run_once(self.world.now_ms())

    # -- what can be seen ----------------------------------------------------------------------

    def alerts(self, name: str) -> list[int]:
        """Return the alerts of a line or pool in percent, ascending; 0 is a balance used up."""
        key = self.business.keys[name]
        alerts = self.business.get("/v1/alerts?limit=100")["items"]
        return sorted(alert["percent"] for alert in alerts if alert["rating_key"] == key)

    def service(self, login: str) -> str:
        """Return what a line should get now: active, profile:<name> or blocked."""
        subscriber = self.business.get(f"/v1/subscribers/{self.business.keys[login]}")
        return str(subscriber["service"])

    def balance(self, login: str) -> str:
        """Return a prepaid balance as it is shown."""
        [balance] = self.business.get(f"/v1/balances/{self.business.keys[login]}")["items"]
        return str(balance["amount"]["text"])

    def commands(self, login: str) -> list[tuple[str, str]]:
        """Return (target, outcome) of the commands to a line's sessions, oldest first."""
        path = f"/v1/commands?subscriber_id={self.business.keys[login]}"
        commands = sorted(self.business.get(path)["items"], key=lambda c: c["requested_at"])
        return [(command["target"], command["outcome"]) for command in commands]

    def notices(self) -> str:
        """Return what subscribers were told."""
        return self._notices.read_text() if self._notices.exists() else ""

    def invoices(self, account: str) -> list[dict[str, Any]]:
        """Return an account's invoices that are out, with their lines, oldest first."""
        path = f"/v1/invoices?account_id={self.business.accounts[account]}"
        found = [
            self.business.get(f"/v1/invoices/{invoice['invoice_id']}")
            for invoice in self.business.get(path)["items"]
            if invoice["status"] != "draft"
        ]
        return sorted(found, key=lambda invoice: str(invoice["period_start_at"]))

    def sessions(self, login: str) -> list[dict[str, Any]]:
        """Return a line's sessions, oldest first."""
        path = f"/v1/sessions?subscriber_id={self.business.keys[login]}"
        return sorted(self.business.get(path)["items"], key=lambda s: str(s["started_at"]))

    def agree(self, *months: int) -> None:
        """The auditor has found the same as Flowrate, for closed months (11: November 2026)."""
        periods = [
            self.business.auditor.period_of(
                int(datetime.datetime(2026, month, 15, tzinfo=ZONE).timestamp()) * 1000
            )
            for month in months
        ]
        assert differences(self.world, self.business, periods) == []


def _use(session: _Session, now: int) -> list[FlowRecord]:
    """Move what a session wants within a second ending now; return the flows of it."""
    octets = min(session.wanted, session.per_second)
    if session.limit_bps is not None:
        octets = min(octets, session.limit_bps // 8)
    if not octets:
        return []
    session.wanted -= octets
    session.octets += octets
    remote = REMOTES[session.traffic_class].replace("0/24", "9")
    start_at, end_at = now * 1000 - 1000, now * 1000 - 1
    ports = (443, 40_000)
    return [
        FlowRecord(
            0, remote, session.address, *ports, 6, octets, 1 + octets // 1000, start_at, end_at
        )
    ]


def _report(session: _Session, status: str, seconds: int) -> AccountingEvent:
    return AccountingEvent(
        status=status,
        acct_session_id=session.acct_session_id,
        user_name=session.login,
        framed_address=session.address,
        delegated_prefix="2001:db8:100::/64",
        event_seconds=seconds,
        session_seconds=seconds - session.started_seconds,
        octets_up=0,
        octets_down=session.octets,
        packets_up=0,
        packets_down=session.octets // 1000,
    )


class _NasAtHand:
    """A `CoaTransport` without a network: real packets, answered at once by the story's NAS."""

    def __init__(self, isp: Isp) -> None:
        self._isp = isp
        self._nas = NasIdentity(NAS_ADDRESS, "nas", SECRET.encode())
        self._answers: list[CoaAnswer] = []

    def send(self, requests: Sequence[CoaRequest]) -> dict[str, int]:
        """Carry each request to the NAS and keep its answer."""
        now = self._isp.world.now_ms()
        for number, request in enumerate(requests):
            packet, sent = encode_request(request, number % 256, now)
            reply = answer_change(packet, self._nas, self._isp.change_service)
            told = decode_answer(sent, reply) if reply is not None else None
            is_ack, cause = told or (False, None)
            self._answers.append(
                CoaAnswer(request.command_id, told is not None, is_ack, cause, now, 1)
            )
        return {request.command_id: n % 256 for n, request in enumerate(requests)}

    def poll(self, wait_ms: int) -> list[CoaAnswer]:
        """Return the answers."""
        answers, self._answers = self._answers, []
        return answers

    def close(self) -> None:
        """Nothing to free."""
